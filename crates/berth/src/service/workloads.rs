//! Workloads: played, found by name, listed.

use berth_pod::claims::Kept;
use berth_pod::controller::{Options, Progress};
use berth_pod::manifest::{Claim, Workload};
use berth_pod::workload::{Applied, Key, Shown};
use tokio::sync::mpsc;
use tonic::Status;

use super::pods::{Sender, tell};
use super::{Service, refuse};
use crate::api;

/// `deployment/web`
pub(super) fn word(key: &Key) -> String {
    format!("{}/{}", key.kind.word().to_lowercase(), key.name)
}

/// Makes or changes a workload, and reports the pods that it makes meanwhile.
pub(super) async fn play(
    service: &Service,
    workload: Workload,
    options: Options,
    replace: bool,
    sender: &Sender,
) -> Result<(), Status> {
    let key = Key::of(&workload);
    if replace && service.workloads.has(&key) {
        service.workloads.down(&key, None).await.map_err(refuse)?;
    }
    let (watch, mut steps) = mpsc::channel(64);
    let mut work = std::pin::pin!(service.workloads.apply(workload, options, watch));
    let result = loop {
        tokio::select! {
            biased;
            Some(step) = steps.recv() => tell(sender, step).await,
            result = &mut work => break result,
        }
    };
    while let Ok(step) = steps.try_recv() {
        tell(sender, step).await;
    }
    let applied = result.map_err(refuse)?;
    let shown = service.workloads.list().into_iter().find(|shown| shown.key == key);
    tell(sender, Progress::Note(note(&key, applied, shown.as_ref()))).await;
    Ok(())
}

/// Says what a claim is here.
pub(super) async fn note_claim(claim: &Claim, made: bool, sender: &Sender) {
    let what = if made { "made" } else { "unchanged" };
    let text = format!(
        "persistentvolumeclaim/{} {what}: a directory of this machine, of any size and for any pod; down --volumes removes it",
        claim.name
    );
    tell(sender, Progress::Note(text)).await;
}

/// What is said of it at the end.
fn note(key: &Key, applied: Applied, shown: Option<&Shown>) -> String {
    let what = match applied {
        Applied::Made => "made",
        Applied::Changed => "changed",
        Applied::Same => "unchanged",
    };
    let state = shown.map_or_else(String::new, |shown| format!(", {}", shown.state));
    format!("{} {what}{state} (berth workloads)", word(key))
}

/// The workload that a name means; nothing where a pod has that name, or no workload has.
pub(super) fn named(service: &Service, name: &str) -> Result<Option<Key>, Status> {
    if service.engine.sandboxes(None).iter().any(|view| view.config.metadata.name == name) {
        return Ok(None);
    }
    let mut found = service.workloads.named(name);
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => {
            let all: Vec<_> = found.iter().map(word).collect();
            let all = all.join(", ");
            Err(Status::invalid_argument(format!("{name:?} is ambiguous: {all} (hint: KIND/NAME names one)")))
        }
    }
}

/// All of them.
pub(super) fn list(service: &Service) -> api::WorkloadsResponse {
    let message = |shown: Shown| api::Workload {
        kind: shown.key.kind.word().to_owned(),
        name: shown.key.name,
        namespace: shown.key.namespace,
        uid: shown.uid,
        created_at: shown.created_at,
        wanted: shown.wanted,
        done: shown.done,
        current: shown.current,
        state: shown.state,
        message: shown.message,
        next_at: shown.next_at,
    };
    let claim = |kept: Kept| api::Workload {
        kind: "PersistentVolumeClaim".to_owned(),
        name: kept.name,
        namespace: kept.namespace,
        state: "kept".to_owned(),
        message: kept.path.display().to_string(),
        ..api::Workload::default()
    };
    let claims = service.pods.claims().into_iter().map(claim);
    let workloads = service.workloads.list().into_iter().map(message).chain(claims).collect();
    api::WorkloadsResponse { workloads }
}
