//! Local pods: play, down, stop, remove, wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_engine::model::{ContainerView, Owner, SandboxView};
use berth_engine::{EngineError, EngineEvent};
use berth_pod::controller::{Options, PodError, Progress, PullChoice, Then};
use berth_pod::manifest::{self, Named, Pod};
use berth_pod::plan::DEFAULT_GRACE;
use berth_pod::workload::Key;
use berth_types::lifecycle::container::{Listed, State};
use berth_types::{Classify, Kind};
use tokio::sync::mpsc;
use tonic::Status;

use super::target::{self, Target};
use super::{Service, refuse, services, views, workloads};
use crate::api;

/// How long a held container waits for its client.
const CLAIM: Duration = Duration::from_secs(30);

pub(super) type Sender = mpsc::Sender<Result<api::PlayEvent, Status>>;

fn event(event: api::play_event::Event) -> api::PlayEvent {
    api::PlayEvent { event: Some(event) }
}

/// Plays every pod of a manifest, one after another. A pod that failed is removed; the pods before it stay.
pub(super) async fn play(service: Service, request: api::PlayRequest, sender: Sender) {
    if let Err(status) = play_all(&service, request, &sender).await {
        // The client has disconnected when this fails.
        drop(sender.send(Err(status)).await);
    }
}

async fn play_all(service: &Service, request: api::PlayRequest, sender: &Sender) -> Result<(), Status> {
    let mut files: Vec<(&str, &[u8])> = Vec::new();
    if !request.manifest.is_empty() || request.files.is_empty() {
        files.push(("", &request.manifest));
    }
    files.extend(request.files.iter().map(|file| (file.name.as_str(), file.text.as_slice())));
    let manifest = manifest::parse_files(&files).map_err(refuse)?;
    let pull = match request.pull.as_str() {
        "" => None,
        "always" => Some(PullChoice::Always),
        "missing" => Some(PullChoice::Missing),
        "never" => Some(PullChoice::Never),
        other => {
            return Err(Status::invalid_argument(format!(
                "unknown pull policy {other:?}: expected always, missing or never"
            )));
        }
    };
    let auths: BTreeMap<_, _> =
        request.auths.into_iter().map(|given| (given.image.clone(), super::images::auth(given))).collect();
    // All of them before the first is made: a mistake in the last document is no reason to begin.
    service.pods.check(&manifest.pods).map_err(refuse)?;
    service.workloads.check(&manifest.workloads, request.replace).map_err(refuse)?;
    service.services.check(&manifest.services).await.map_err(refuse)?;
    for claim in &manifest.claims {
        let made = service.pods.make_claim(claim).map_err(refuse)?;
        workloads::note_claim(claim, made, sender).await;
    }
    // Before the pods: those are told of the DNS that knows the services.
    for wanted in manifest.services {
        services::play(service, wanted, request.replace, sender).await?;
    }
    for pod in manifest.pods {
        if request.replace {
            replace(service, &pod, sender).await?;
        }
        let options = Options {
            hold: (!request.hold.is_empty()).then(|| request.hold.clone()),
            waits: request.waits,
            remove: request.remove,
            pull,
            auths: auths.clone(),
            ..Options::default()
        };
        one(service, pod, options, sender).await?;
    }
    for workload in manifest.workloads {
        let options = Options { pull, auths: auths.clone(), ..Options::default() };
        workloads::play(service, workload, options, request.replace, sender).await?;
    }
    Ok(())
}

/// When it is said what is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

async fn replace(service: &Service, pod: &Pod, sender: &Sender) -> Result<(), Status> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    for view in service.engine.sandboxes(Some(Owner::Local)) {
        let metadata = &view.config.metadata;
        if metadata.name == pod.metadata.name && metadata.namespace == namespace {
            let mut down = std::pin::pin!(service.pods.down(&view, None, Then::Goes));
            let done = tokio::select! {
                done = &mut down => done,
                () = tokio::time::sleep(PATIENCE) => {
                    let seconds = pod.spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE);
                    let note = format!("waiting for the old pod {} to end, which was asked to and is killed after its grace ({seconds} s by the new manifest)", metadata.name);
                    drop(sender.send(Ok(event(api::play_event::Event::Note(note)))).await);
                    down.await
                }
            };
            done.map_err(refuse)?;
        }
    }
    Ok(())
}

async fn one(service: &Service, pod: Pod, options: Options, sender: &Sender) -> Result<(), Status> {
    let (watch, mut steps) = mpsc::channel(64);
    let held = options.hold.clone().filter(|_| !options.waits);
    let mut waits = super::waits::Waits::of(&pod);
    let mut work = std::pin::pin!(service.pods.play(pod, options, watch));
    let result = loop {
        tokio::select! {
            biased;
            Some(step) = steps.recv() => tell(sender, step).await,
            result = &mut work => break result,
            note = waits.next(service) => drop(sender.send(Ok(event(api::play_event::Event::Note(note)))).await),
        }
    };
    while let Ok(step) = steps.try_recv() {
        tell(sender, step).await;
    }
    let view = result.map_err(|e| target::by_pods_names(&service.engine, &refuse(e)))?;
    if let Some(held) = held {
        // A client that went away while its image was pulled never comes for its container.
        let delay = if sender.is_closed() { Duration::ZERO } else { CLAIM };
        tokio::spawn(unclaimed(service.clone(), view, held, delay));
    }
    Ok(())
}

/// Runs a pod once more, with no client that watches.
pub(super) async fn run_again(service: &Service, pod: Pod, options: Options) -> Result<(), Status> {
    let (watch, steps) = mpsc::channel(64);
    unwatched(service, service.pods.play(pod, options, watch), steps).await
}

/// Waits for a pod to start, whatever happens meanwhile.
pub(super) async fn unwatched(
    service: &Service,
    work: impl Future<Output = Result<Arc<SandboxView>, PodError>>,
    mut steps: mpsc::Receiver<Progress>,
) -> Result<(), Status> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            Some(_) = steps.recv() => {}
            result = &mut work => {
                return result.map(drop).map_err(|e| target::by_pods_names(&service.engine, &refuse(e)));
            }
        }
    }
}

/// Removes a pod whose held container was not released.
async fn unclaimed(service: Service, view: Arc<SandboxView>, held: String, delay: Duration) {
    tokio::time::sleep(delay).await;
    let Ok(view) = service.engine.sandbox(view.id.as_str()) else { return };
    let waits = |c: &Arc<ContainerView>| c.config.metadata.name == held && c.state == State::Created;
    if view.containers.iter().any(waits)
        && let Err(e) = service.pods.down(&view, Some(0), Then::Goes).await
    {
        tracing::warn!(pod = view.config.metadata.name, error = %berth_types::error::chain(&e), "failed to remove a pod that no client started");
    }
}

pub(super) async fn tell(sender: &Sender, step: Progress) {
    use api::play_event::Event;
    let message = match step {
        Progress::Pull(pull) => Event::Pull(super::images::progress(&pull.image, &pull.progress, pull.id)),
        Progress::Up(view) => {
            let pod = views::pod(&view);
            Event::Pod(api::PodUp { id: pod.id, name: pod.name, addresses: pod.addresses, ports: pod.ports })
        }
        Progress::Container(view) => Event::Container(views::container(&view)),
        Progress::Note(text) => Event::Note(text),
    };
    drop(sender.send(Ok(event(message))).await);
}

/// Takes pods and workloads down: those named, and those of a manifest.
pub(super) async fn down(service: &Service, request: api::DownRequest) -> Result<api::DownResponse, Status> {
    let (mut views, mut keys, mut claims) = (Vec::new(), Vec::new(), Vec::new());
    let mut wanted_services = Vec::new();
    for name in &request.pods {
        match workloads::named(service, name)? {
            Some(key) => keys.push(key),
            None => match target::pod(&service.engine, name) {
                Ok(view) => views.push(view),
                Err(missing) => wanted_services.push(services::named(service, name, missing).await?),
            },
        }
    }
    if !request.manifest.is_empty() {
        let objects = manifest::names(&request.manifest).map_err(refuse)?;
        let wanted = |view: &SandboxView| {
            let metadata = &view.config.metadata;
            let is = |object: &Named| object.name == metadata.name && object.namespace == metadata.namespace;
            objects.iter().any(|object| object.kind == "Pod" && is(object))
        };
        views.extend(service.engine.sandboxes(Some(Owner::Local)).into_iter().filter(|view| wanted(view)));
        keys.extend(objects.iter().filter_map(Key::named).filter(|key| service.workloads.has(key)));
        wanted_services.extend(objects.iter().filter_map(berth_pod::service::Key::named));
        if request.volumes {
            claims.extend(objects.into_iter().filter(|object| object.kind == "PersistentVolumeClaim"));
        }
    }
    let mut removed = Vec::new();
    for view in views {
        take_down(service, &view, grace(request.grace_seconds), Then::Goes).await?;
        removed.push(view.config.metadata.name.clone());
    }
    for key in keys {
        service.workloads.down(&key, grace(request.grace_seconds)).await.map_err(refuse)?;
        removed.push(workloads::word(&key));
    }
    for key in wanted_services {
        if service.services.down(&key).await.map_err(refuse)? {
            removed.push(services::word(&key));
        }
    }
    for claim in claims {
        let (pods, word) = (service.pods.clone(), format!("persistentvolumeclaim/{}", claim.name));
        let gone = tokio::task::spawn_blocking(move || pods.remove_claim(&claim.namespace, &claim.name));
        if gone.await.map_err(|e| Status::internal(e.to_string()))?.map_err(refuse)? {
            removed.push(word);
        }
    }
    Ok(api::DownResponse { removed })
}

/// Negative seconds ask the manifest.
pub(super) fn grace(seconds: i64) -> Option<u64> {
    u64::try_from(seconds).ok()
}

pub(super) async fn take_down(
    service: &Service,
    view: &SandboxView,
    grace: Option<u64>,
    then: Then,
) -> Result<(), Status> {
    match view.config.owner {
        Owner::Local => match service.pods.down(view, grace, then).await {
            // Its manifest was unreadable, so no task has it.
            Err(berth_pod::controller::PodError::NotFound(_)) => {
                directly(service, view, then != Then::Stays).await
            }
            result => result.map_err(refuse),
        },
        Owner::Cri => directly(service, view, then != Then::Stays).await,
    }
}

async fn directly(service: &Service, view: &SandboxView, remove: bool) -> Result<(), Status> {
    there(service.engine.stop_sandbox(&view.id).await)?;
    if remove {
        there(service.engine.remove_sandbox(&view.id).await)?;
    }
    Ok(())
}

/// It is a success when another client has just removed it.
fn there(result: Result<(), EngineError>) -> Result<(), Status> {
    match result {
        Err(e) if e.kind() != Kind::NotFound => Err(refuse(e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(super) fn outcome(target: &str, result: Result<(), Status>) -> api::Outcome {
    api::Outcome {
        target: target.to_owned(),
        error: result.err().map_or_else(String::new, |status| status.message().to_owned()),
        missing: false,
    }
}

/// Stops each target; goes on past failures.
pub(super) async fn stop(service: &Service, request: api::StopRequest) -> api::StopResponse {
    let mut outcomes = Vec::new();
    for name in &request.targets {
        outcomes.push(outcome(name, stop_one(service, name, grace(request.grace_seconds)).await));
    }
    api::StopResponse { outcomes }
}

pub(super) async fn stop_one(service: &Service, name: &str, grace: Option<u64>) -> Result<(), Status> {
    let container = match target::find(&service.engine, name)? {
        Target::Pod(view) => return take_down(service, &view, grace, Then::Stays).await,
        Target::Container(view) => view,
    };
    let pod = target::pod(&service.engine, container.sandbox.as_str())?;
    // A local pod is no more than its containers: without the only one it must stop, and not be restarted.
    if pod.config.owner == Owner::Local && target::current(&pod).len() == 1 {
        return take_down(service, &pod, grace, Then::Stays).await;
    }
    let grace = Duration::from_secs(grace.unwrap_or(10));
    there(service.engine.stop_container(&container.id, grace).await)
}

/// Removes each target; goes on past failures. Without force nothing that runs is removed, and with it what is not there
/// is as it should be.
pub(super) async fn remove(service: &Service, request: api::RemoveRequest) -> api::RemoveResponse {
    // Before the first is removed: with a pod all of its containers go, which may be named, too.
    let found: Vec<_> = request.targets.iter().map(|name| target::find(&service.engine, name)).collect();
    let mut outcomes = Vec::new();
    for (name, found) in request.targets.iter().zip(found) {
        outcomes.push(match found {
            Err(status) if request.force && status.code() == tonic::Code::NotFound => {
                api::Outcome { missing: true, ..outcome(name, Ok(())) }
            }
            Err(status) => outcome(name, Err(status)),
            Ok(found) => {
                let pod = target::pod_of(&service.engine, &found);
                let removed = remove_one(service, name, found, request.force).await;
                if let (true, true, Some(pod)) = (request.volumes, removed.is_ok(), pod) {
                    service.pods.remove_anonymous(&pod.config).await;
                }
                outcome(name, removed)
            }
        });
    }
    api::RemoveResponse { outcomes }
}

async fn remove_one(service: &Service, name: &str, found: Target, force: bool) -> Result<(), Status> {
    let runs = |view: &Arc<ContainerView>| view.state.listed() == Some(Listed::Running);
    let refused = |is_paused: bool| {
        let how = if is_paused { "paused" } else { "running" };
        Status::failed_precondition(format!(
            "{name} is {how} (hint: stop it first, or remove it with --force)"
        ))
    };
    let paused = |view: &Arc<ContainerView>| service.engine.is_paused(view);
    match found {
        Target::Pod(view) => {
            if !force && view.containers.iter().any(runs) {
                return Err(refused(view.containers.iter().any(paused)));
            }
            gone(take_down(service, &view, Some(0), Then::Goes).await)
        }
        Target::Container(view) => {
            if !force && runs(&view) {
                return Err(refused(paused(&view)));
            }
            let Ok(pod) = service.engine.sandbox(view.sandbox.as_str()) else { return Ok(()) };
            // A local pod is no more than its containers: with the last one it goes too.
            if pod.config.owner == Owner::Local && target::current(&pod).len() == 1 {
                return gone(take_down(service, &pod, Some(0), Then::Goes).await);
            }
            there(service.engine.remove_container(&view.id).await)
        }
    }
}

/// It may have gone with another target.
fn gone(result: Result<(), Status>) -> Result<(), Status> {
    match result {
        Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
        result => result,
    }
}

/// Waits for the end of a container.
pub(super) async fn wait(service: &Service, name: &str) -> Result<api::WaitResponse, Status> {
    // Before the look, so that an end between the two is not missed.
    let mut events = service.engine.events();
    let first = target::container(&service.engine, name)?;
    let id = first.id.clone();
    let mut view = first;
    loop {
        if let (State::Exited | State::Removing, Some(exit)) = (view.state, &view.exit) {
            return Ok(api::WaitResponse {
                exit_code: exit.code,
                reason: exit.reason.word().to_owned(),
                message: exit.message.clone(),
            });
        }
        let gone = || Status::not_found(format!("container {name} was removed"));
        view = loop {
            match events.next().await.ok_or_else(gone)?.event {
                EngineEvent::Container { now, .. } if now.id == id => break now,
                EngineEvent::ContainerRemoved { container, .. } if container == id => return Err(gone()),
                EngineEvent::Resync => break service.engine.container(id.as_str()).map_err(refuse)?,
                EngineEvent::Container { .. }
                | EngineEvent::Sandbox { .. }
                | EngineEvent::SandboxRemoved(_)
                | EngineEvent::ContainerRemoved { .. } => {}
            }
        };
    }
}
