//! From what is on disk about a pod to its owner task.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth_sys::cgroup::CgroupPath;
use berth_types::lifecycle::container::Message as ToContainer;
use berth_types::lifecycle::pod::{Message as ToPod, Pod};
use berth_types::lifecycle::sandbox::Message as ToSandbox;
use berth_types::{ContainerId, SandboxId};

use super::connect::{Outcome, Way, connect, dead};
use super::read::OnDisk;
use crate::container::exit::{self, Exit};
use crate::container::{Facts, Item, remove};
use crate::error::EngineError;
use crate::handler::Handler;
use crate::host::layout::PodDir;
use crate::host::placement::PodCgroups;
use crate::host::record::{ContainerRecord, Phase, SandboxRecord};
use crate::model::{ContainerUser, SandboxConfig};
use crate::sandbox::teardown::Unmade;
use crate::sandbox::{Command, Found, Handle, Owner, Report, Running};
use crate::shared::{Identity, Shared};
use crate::shim::Shim;

/// The time that a pod whose shim is dead has to be taken down before the engine is open.
const SETTLE_LIMIT: Duration = Duration::from_secs(15);
/// The time that a pod has to publish itself.
const PUBLISH_LIMIT: Duration = Duration::from_secs(2);

/// Removes what a killed daemon had partly created.
pub(super) async fn undo(
    shared: &Arc<Shared>,
    id: &SandboxId,
    dir: PodDir,
    found: Option<OnDisk>,
) -> Result<(), EngineError> {
    tracing::info!(sandbox = id.short(), "removing a partly created pod");
    let path = |text: &str| CgroupPath::new(text).map_err(|e| EngineError::failed("a pod's cgroup", e));
    let own = shared.placement.of_pod(id, None)?.pod;
    let pod = match &found {
        Some(found) => path(&found.sandbox.cgroup)?,
        None => own.clone(),
    };
    Unmade { id: id.clone(), dir, cgroups: vec![own, pod.clone()], pod }.undo_or_later(shared).await
}

/// Puts a pod into its state and starts its owner.
pub(super) async fn pod(
    shared: &Arc<Shared>,
    id: &SandboxId,
    dir: PodDir,
    on_disk: OnDisk,
) -> Result<(), EngineError> {
    let OnDisk { sandbox: record, containers, unreadable } = on_disk;
    let cgroups = cgroups(shared, id, &record)?;
    let config = Arc::new(record.config.clone());
    let (half_made, made): (Vec<_>, Vec<_>) =
        containers.into_iter().partition(|container| container.phase == Phase::Making);
    let (items, lives) = known(made)?;
    let stopped = record.phase == Phase::Stopped;
    let pod = if stopped { ended(&dir, lives.clone()) } else { recovered(&lives) };
    let running = if stopped {
        Running::default()
    } else {
        let (interface, addresses) = (record.interface.clone(), record.addresses.clone());
        Running { shim_pid: record.shim_pid, interface, addresses }
    };
    let ids: Vec<_> = items.keys().map(|id| (id.clone(), None)).collect();
    let limits = record.resources.clone().unwrap_or_else(|| config.resources.clone());
    let found = Found { pod, items, limits, unreadable, running };
    let created_at = record.created_at;
    let (mut owner, handle) = Owner::new(
        Arc::clone(shared),
        id.clone(),
        Arc::clone(&config),
        created_at,
        dir.clone(),
        cgroups,
        found,
    );
    let mut shim = None;
    let mut settles = false;
    if !stopped {
        for (id, life) in lives {
            // An end that was reported never changes, even if the shim finds out more later.
            let end = life.end.or_else(|| exit::read(&dir.container(&id)));
            if let Some((started_at, exit)) = end {
                owner.hear(Report::Container(id, ToContainer::Exited(started_at, exit)));
            }
        }
        let way = Way {
            shared: Arc::clone(shared),
            id: id.clone(),
            dir: dir.clone(),
            ends: owner.ends(),
            notices: owner.notices(),
            containers: ids,
        };
        (shim, settles) = meet(shared, &mut owner, way).await;
        settles |= check_lease(shared, &mut owner, &config, record).await?;
    }
    for record in half_made {
        let handler = shared.handlers.of(&config.handler).ok();
        undo_container(shared, &dir, shim.clone(), handler, &record).await;
    }
    serve(shared, id, &config, owner, handle, settles).await
}

/// Connects to the shim, if it lives. Whether the pod goes down.
async fn meet(shared: &Arc<Shared>, owner: &mut Owner, way: Way) -> (Option<Shim>, bool) {
    if shared.restarted {
        owner.hear(Report::Pod(ToPod::ShimDied(dead("the machine was restarted"))));
        return (None, true);
    }
    match way.first().await {
        Outcome::Connected(shim, reports) => {
            owner.hear(Report::Connected(shim.clone(), reports));
            (Some(shim), false)
        }
        Outcome::Dead => {
            let error = dead("the pod's shim had ended when the daemon started");
            owner.hear(Report::Pod(ToPod::ShimDied(error)));
            (None, true)
        }
        Outcome::Silent => {
            owner.hear(Report::Pod(ToPod::Silent));
            connect(way, &owner.spawner());
            (None, false)
        }
    }
}

/// A pod whose addresses its network does not know any more ends: they may be given to another pod at any
/// moment. Whether that is so.
async fn check_lease(
    shared: &Arc<Shared>,
    owner: &mut Owner,
    config: &Arc<SandboxConfig>,
    record: SandboxRecord,
) -> Result<bool, EngineError> {
    if record.addresses.is_empty() {
        return Ok(false);
    }
    let (asked, config) = (Arc::clone(shared), Arc::clone(config));
    let lost = Shared::blocking(move || Ok(asked.networks.has_lost(&config, &record.id))).await?;
    if lost {
        owner.trouble_is("the lease of the pod's addresses is lost");
        owner.hear(Report::Pod(ToPod::Sandbox(ToSandbox::Died)));
    }
    Ok(lost)
}

fn cgroups(shared: &Shared, id: &SandboxId, record: &SandboxRecord) -> Result<PodCgroups, EngineError> {
    let path = |text: &str| CgroupPath::new(text);
    match (path(&record.cgroup), path(&record.cgroup_parent)) {
        (Ok(pod), Ok(parent)) => Ok(PodCgroups { pod, parent }),
        _ => shared.placement.of_pod(id, record.config.cgroup_parent.as_deref()),
    }
}

/// What is known of a container that was made.
#[derive(Debug, Clone)]
struct Life {
    facts: Arc<Facts>,
    /// The end that no shim has recorded.
    end: Option<(Option<i64>, Exit)>,
}

type Known = (BTreeMap<ContainerId, Box<Item>>, BTreeMap<ContainerId, Life>);

fn known(records: Vec<ContainerRecord>) -> Result<Known, EngineError> {
    let (mut items, mut lives) = (BTreeMap::new(), BTreeMap::new());
    for record in records {
        let mut item = Item::new(Arc::new(record.config.clone()), record.created_at);
        item.limits = crate::container::update::Limits::new(record.resources.clone());
        items.insert(record.id.clone(), Box::new(item));
        let id = record.id.clone();
        lives.insert(id, life(record)?);
    }
    Ok((items, lives))
}

fn life(record: ContainerRecord) -> Result<Life, EngineError> {
    let path = Some(record.cgroup.as_str()).filter(|path| !path.is_empty()).map(CgroupPath::new);
    let cgroup = path.transpose().map_err(|e| EngineError::failed("cgroup in a record", e))?;
    let process = match record.process.map(serde_json::from_value) {
        Some(Ok(process)) => process,
        Some(Err(error)) => {
            let container = record.id.short();
            tracing::warn!(container, %error, "the process in a record cannot be read; exec uses the defaults of the image");
            oci_spec::runtime::Process::default()
        }
        None => oci_spec::runtime::Process::default(),
    };
    let facts = Facts {
        image_id: record.image_id,
        image_ref: record.image_ref,
        log_path: record.log_path,
        user: ContainerUser { uid: record.user.uid, gid: record.user.gid, groups: record.user.groups },
        stop_signal: record.stop_signal,
        cgroup,
        process,
        raw_env: record.raw_env,
        seccomp: record.seccomp,
    };
    let end = record.end.map(|end| (end.started_at, Exit::from(end)));
    Ok(Life { facts: Arc::new(facts), end })
}

fn recovered(lives: &BTreeMap<ContainerId, Life>) -> Pod<crate::sandbox::Live> {
    Pod::recovered(lives.iter().map(|(id, life)| (id.clone(), Arc::clone(&life.facts))).collect())
}

fn ended(dir: &PodDir, lives: BTreeMap<ContainerId, Life>) -> Pod<crate::sandbox::Live> {
    let ends = exit::Place { dir: dir.clone(), records: Arc::default() };
    let ended = lives.into_iter().map(|(id, life)| {
        let settle = || ends.settle(&id, None, "its pod was stopped");
        let (started_at, exit) = life.end.unwrap_or_else(settle);
        (id, life.facts, started_at, exit)
    });
    Pod::stopped(ended.collect())
}

/// Ends and removes a container that a killed daemon had partly created.
async fn undo_container(
    shared: &Arc<Shared>,
    dir: &PodDir,
    shim: Option<Shim>,
    handler: Option<Arc<dyn Handler>>,
    record: &ContainerRecord,
) {
    let id = record.id.clone();
    let cgroup = CgroupPath::new(&record.cgroup).ok();
    if let Some(shim) = &shim {
        remove::end_in_shim(shim, &id).await;
    }
    let parts = remove::Parts { id: id.clone(), shim: None, cgroup, dir: dir.clone(), handler };
    if let Err(error) = parts.remove(shared, &Arc::new(Mutex::new(()))).await {
        let error = berth_types::error::chain(&error);
        tracing::warn!(container = id.short(), error, "failed to remove a partly created container");
    }
}

async fn serve(
    shared: &Shared,
    id: &SandboxId,
    config: &SandboxConfig,
    owner: Owner,
    handle: Handle,
    settles: bool,
) -> Result<(), EngineError> {
    let kept = handle.clone();
    let identity = Identity::of(config);
    let (_, taken) = shared.pods.join_or(&identity, || (id.clone(), handle));
    if taken {
        let message = format!("two pods on disk have the identity {}", identity.words());
        return Err(EngineError::invalid("sandbox.json", message));
    }
    tokio::spawn(owner.run());
    // The views must not show half of a pod's end; but one pod does not hold up the others forever.
    // Waiting for anything the owner answers also means that it has published.
    let limit = if settles { SETTLE_LIMIT } else { PUBLISH_LIMIT };
    let seen = async {
        if settles {
            drop(kept.ask(|reply| Command::Stop { reply }).await);
        } else {
            drop(kept.ask(|reply| Command::Published { reply }).await);
        }
    };
    if tokio::time::timeout(limit, seen).await.is_err() {
        tracing::warn!(sandbox = id.short(), "the teardown of an ended pod has not finished yet");
    }
    Ok(())
}
