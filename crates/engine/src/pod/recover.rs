//! Finding the pods again after the daemon was restarted.
//!
//! ```text
//! record Making   -> undone: nobody was told of it
//! record Stopped  -> not ready, as it was
//! record Made     -> connect to the shim, Hello
//!    answers      -> what it says is so
//!    gone         -> its processes are killed, its containers ended 255 Unknown, the sandbox not ready
//!    no answer    -> its containers are Unknown until it answers or somebody stops them
//! record damaged  -> ended and removed: whoever asked for the pod asks for another
//! record of a newer Berth, or that cannot be read now -> left alone
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use berth_sys::cgroup::CgroupPath;
use berth_types::lifecycle::container::State as ContainerState;
use berth_types::lifecycle::sandbox::{Event, State};
use berth_types::shim::{Known, Phase as ShimPhase, Request};
use berth_types::{ContainerId, SandboxId};

use super::container::{Container, ExitOf, Facts, Work, exit_view, noted_exit, unknown_exit};
use super::down::end_cgroup;
use super::owner::{Link, Owner, PodCgroups};
use super::{Command, Handle, create, namespaces, procs, remove, stray};
use crate::error::EngineError;
use crate::layout::PodDir;
use crate::model::{ContainerUser, Network};
use crate::oci::signal;
use crate::record::{self, ContainerRecord, Phase, SandboxRecord};
use crate::shared::{Identity, Shared};
use crate::shim::{Shim, ShimError, spawn};

/// The time that a shim has to say hello. A healthy one answers within a millisecond.
const HELLO_LIMIT: Duration = Duration::from_secs(2);
/// The time that a pod whose shim is gone has to be taken down before the engine is open.
const SETTLE_LIMIT: Duration = Duration::from_secs(15);
/// Pods looked at side by side.
const AT_ONCE: usize = 32;

/// Finds all pods of the state directory; gives those that are left alone.
pub(crate) async fn all(shared: &Arc<Shared>) -> Result<HashSet<SandboxId>, EngineError> {
    let dirs = pod_dirs(shared)?;
    let permits = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut pods = tokio::task::JoinSet::new();
    for id in dirs {
        let (shared, permits) = (Arc::clone(shared), Arc::clone(&permits));
        pods.spawn(async move {
            let _permit = permits.acquire().await.expect("the semaphore is never closed");
            let error = one(&shared, &id).await.err()?;
            tracing::error!(
                sandbox = id.short(),
                error = berth_types::error::chain(&error),
                "pod not found again, and left alone"
            );
            Some(id)
        });
    }
    let mut left = HashSet::new();
    while let Some(result) = pods.join_next().await {
        left.extend(result.ok().flatten());
    }
    Ok(left)
}

fn pod_dirs(shared: &Shared) -> Result<Vec<SandboxId>, EngineError> {
    let failed = |e| EngineError::system("read the pods' directory", e);
    let entries = std::fs::read_dir(shared.layout.pods()).map_err(failed)?;
    // What is not named by an id is not a pod; `doctor` tells of it.
    Ok(entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect())
}

/// What is on disk about a pod.
struct Found {
    sandbox: SandboxRecord,
    containers: Vec<ContainerRecord>,
    /// Containers whose records are damaged.
    damaged: Vec<ContainerId>,
}

async fn one(shared: &Arc<Shared>, id: &SandboxId) -> Result<(), EngineError> {
    let dir = shared.layout.pod(id);
    let reading = dir.clone();
    let found = Shared::blocking(move || read(&reading)).await?;
    match found {
        None => undo(shared, id, None).await,
        Some(found) if found.sandbox.phase == Phase::Making => undo(shared, id, Some(found)).await,
        Some(found) => rebuild(shared, &dir, found).await,
    }
}

fn read(dir: &PodDir) -> Result<Option<Found>, EngineError> {
    let failed = |e| EngineError::system(format!("read the records in {}", dir.path().display()), e);
    if let Some(version) = record::version(&dir.record()).map_err(failed)?
        && version > record::VERSION
    {
        return Err(failed(std::io::Error::other(format!("record version {version} is of a newer Berth"))));
    }
    let sandbox = match record::read::<SandboxRecord>(&dir.record()) {
        Ok(Some(sandbox)) => sandbox,
        Ok(None) => return Ok(None),
        Err(error) if record::is_damaged(&error) => {
            let dir = dir.path().display();
            tracing::error!(%dir, %error, "the record of a pod is damaged; the pod is ended");
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let entries = match std::fs::read_dir(dir.containers()) {
        Ok(entries) => entries.flatten().collect(),
        // Killed while it removed the pod: what is left is a stopped pod without containers.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(failed(e)),
    };
    let (mut containers, mut damaged) = (Vec::new(), Vec::new());
    for entry in entries {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<ContainerId>().ok()) else {
            continue;
        };
        match record::read::<ContainerRecord>(&dir.container_record(&id)) {
            Ok(Some(record)) => containers.push(record),
            // A directory before its record: nothing else was made yet.
            Ok(None) => drop(record::remove(&dir.container(&id))),
            Err(error) if record::is_damaged(&error) => {
                tracing::error!(container = id.short(), %error, "a container's record is damaged; it is ended");
                damaged.push(id);
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(Some(Found { sandbox, containers, damaged }))
}

/// Removes what a daemon that was killed had half made.
async fn undo(shared: &Arc<Shared>, id: &SandboxId, found: Option<Found>) -> Result<(), EngineError> {
    tracing::info!(sandbox = id.short(), "a half-made pod is undone");
    let root = CgroupPath::new(&shared.config.cgroup_root).and_then(|root| root.child(id.as_str()));
    let named = found.as_ref().map(|found| CgroupPath::new(&found.sandbox.cgroup));
    let cgroups: Vec<CgroupPath> = [Some(root), named].into_iter().flatten().flatten().collect();
    let (shared, id) = (Arc::clone(shared), id.clone());
    Shared::blocking(move || {
        let dir = shared.layout.pod(&id);
        stray::end_shim(&shared, &id)?;
        for cgroup in &cgroups {
            end_cgroup(&shared, cgroup)?;
        }
        if let Some(network) = &shared.network {
            network.detach(&id).map_err(|e| EngineError::failed("disconnect the pod", e))?;
        }
        namespaces::unpin(&dir.netns())?;
        namespaces::unmount(&dir.shm())?;
        record::remove(dir.path()).map_err(|e| EngineError::system("remove the pod's directory", e))
    })
    .await
}

/// What became of the shim.
enum Contact {
    /// It answered with what it knows.
    Talks(Shim, HashMap<ContainerId, Known>),
    /// It is gone.
    Gone,
    /// It is there and does not answer.
    Silent,
    /// The pod was stopped and has none.
    None,
}

async fn rebuild(shared: &Arc<Shared>, dir: &PodDir, found: Found) -> Result<(), EngineError> {
    let Found { sandbox: record, containers, damaged } = found;
    let path = |text: &str| CgroupPath::new(text).map_err(|e| EngineError::failed("cgroup in a record", e));
    let cgroups = PodCgroups { pod: path(&record.cgroup)?, parent: path(&record.cgroup_parent)? };
    let stopped = record.phase == Phase::Stopped;
    let state = if stopped { State::NotReady } else { State::Ready };
    let config = Arc::new(record.config);
    let (mut owner, handle) = Owner::new(
        Arc::clone(shared),
        record.id.clone(),
        Arc::clone(&config),
        cgroups,
        state,
        record.created_at,
    );
    let contact = if stopped { Contact::None } else { contact(owner.notices(), dir).await };
    owner.link = Link { shim: None, shim_pid: record.shim_pid, addresses: record.addresses };
    for record in containers {
        if record.phase == Phase::Making {
            undo_container(shared, dir, &contact, &record.id, CgroupPath::new(&record.cgroup).ok()).await;
        } else {
            let container = container_of(dir, record, &contact)?;
            owner.containers.insert(container.id.clone(), container);
        }
    }
    for id in damaged {
        let cgroup = create::cgroup(shared, &owner.cgroups.parent, &id).ok();
        undo_container(shared, dir, &contact, &id, cgroup).await;
    }
    let leaves = !stopped && lost_address(shared, &owner);
    let gone = leaves || matches!(contact, Contact::Gone);
    match contact {
        Contact::Talks(shim, _) => owner.link.shim = Some(shim),
        Contact::Gone => owner.end_without_shim("the pod's shim had ended when the daemon started"),
        Contact::Silent => {
            "the pod's shim does not answer".clone_into(&mut owner.message);
            owner.ask_on();
        }
        Contact::None => {}
    }
    if leaves {
        // Its addresses may be given to another pod at any moment.
        "the lease of the pod's addresses is lost".clone_into(&mut owner.message);
        owner.apply(Event::Stop)?;
    }
    serve(shared, &record.id, &Identity::of(&config), owner, handle, gone).await
}

/// Whether the pod was connected to the built-in network, which knows nothing of it any more.
fn lost_address(shared: &Shared, owner: &Owner) -> bool {
    let connected = owner.config.namespaces.network == Network::Pod && !owner.link.addresses.is_empty();
    let network = shared.network.as_ref().filter(|_| connected);
    network.is_some_and(|network| network.find(&owner.id).is_none())
}

async fn serve(
    shared: &Shared,
    id: &SandboxId,
    identity: &Identity,
    owner: Owner,
    handle: Handle,
    gone: bool,
) -> Result<(), EngineError> {
    let kept = handle.clone();
    let (_, taken) = shared.pods.join_or(identity, || (id.clone(), handle));
    if taken {
        let identity = format!("{} is the identity of two pods on disk", identity.words());
        return Err(EngineError::invalid("sandbox.json", identity));
    }
    tokio::spawn(owner.run());
    // A picture with half of a pod's end is not complete; but one pod does not hold up the others for ever.
    // Waiting for anything the owner answers also means that it has published.
    let limit = if gone { SETTLE_LIMIT } else { HELLO_LIMIT };
    let seen = async {
        if gone {
            drop(kept.ask(|reply| Command::Stop { reply }).await);
        } else {
            drop(kept.ask(|reply| Command::Published { reply }).await);
        }
    };
    if tokio::time::timeout(limit, seen).await.is_err() {
        tracing::warn!(sandbox = id.short(), "a pod whose shim is gone is not down yet");
    }
    Ok(())
}

async fn contact(notices: tokio::sync::mpsc::Sender<super::Message>, dir: &PodDir) -> Contact {
    let connection = match spawn::connect(&dir.socket()) {
        Ok(connection) => connection,
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Contact::Silent,
        Err(_) => return Contact::Gone,
    };
    let Ok(shim) = connection.serve(notices) else { return Contact::Silent };
    match shim.hello(HELLO_LIMIT).await {
        Ok(greeting) => Contact::Talks(
            shim,
            greeting.containers.into_iter().map(|known| (known.container.clone(), known)).collect(),
        ),
        Err(ShimError::Lost) => Contact::Gone,
        Err(
            ShimError::Timeout { .. }
            | ShimError::Failed(_)
            | ShimError::Codec(_)
            | ShimError::Unexpected { .. }
            | ShimError::NotSent(_),
        ) => Contact::Silent,
    }
}

/// A container as its record and its shim have it.
fn container_of(dir: &PodDir, record: ContainerRecord, contact: &Contact) -> Result<Container, EngineError> {
    let cgroup = CgroupPath::new(&record.cgroup).map_err(|e| EngineError::failed("cgroup in a record", e))?;
    let facts = Facts {
        image_id: record.image_id,
        image_ref: record.image_ref,
        log_path: record.log_path,
        user: ContainerUser { uid: record.user.uid, gid: record.user.gid, groups: record.user.groups },
        stop_signal: record.stop_signal,
        cgroup,
        process: record.process.unwrap_or_default(),
        raw_env: record.raw_env,
    };
    let mut container = Container {
        id: record.id.clone(),
        config: Arc::new(record.config),
        state: ContainerState::Created,
        created_at: record.created_at,
        started_at: None,
        exit: None,
        pid: None,
        facts: Some(Arc::new(facts)),
        resources: record.resources,
        work: Work::default(),
    };
    let known = match contact {
        Contact::Talks(_, known) => known.get(&record.id),
        Contact::Gone | Contact::Silent | Contact::None => None,
    };
    match (record.end, known) {
        // What was told once is told for ever, even if the shim finds out more later.
        (Some(end), _) => {
            container.state = ContainerState::Exited;
            container.started_at = end.started_at;
            container.exit = Some(noted_exit(&end));
        }
        (None, Some(known)) => take(&mut container, known),
        (None, None) => {
            let exit = ExitOf::read(&dir.container(&record.id));
            // Of one that ended before its shim did, the record tells how; the rest is ended with the pod.
            if exit.is_none() && matches!(contact, Contact::Silent) {
                container.state = ContainerState::Unknown;
            } else if exit.is_some() || !matches!(contact, Contact::Gone) {
                container.state = ContainerState::Exited;
                let view = || unknown_exit("its shim does not know it");
                container.started_at = exit.as_ref().and_then(|exit| exit.started_at);
                container.exit = Some(exit.map_or_else(view, |exit| exit.view));
            }
        }
    }
    Ok(container)
}

/// Takes what a shim says of a container that runs or has ended.
pub(crate) fn take(container: &mut Container, known: &Known) {
    container.pid = Some(known.pid).filter(|pid| *pid > 0);
    match &known.phase {
        ShimPhase::Created => container.state = ContainerState::Created,
        ShimPhase::Running { started_at } => {
            container.state = ContainerState::Running;
            container.started_at = Some(*started_at);
        }
        ShimPhase::Exited { started_at, exit } => {
            container.state = ContainerState::Exited;
            container.started_at = Some(*started_at).filter(|at| *at != 0);
            container.exit = Some(exit_view(exit, *started_at == 0));
        }
    }
}

/// Ends and removes a container that a killed daemon had half made, or whose record is damaged.
async fn undo_container(
    shared: &Arc<Shared>,
    dir: &PodDir,
    contact: &Contact,
    id: &ContainerId,
    cgroup: Option<CgroupPath>,
) {
    let shim = match contact {
        Contact::Talks(shim, _) => Some(shim.clone()),
        Contact::Gone | Contact::Silent | Contact::None => None,
    };
    if let Some(shim) = &shim {
        let kill = Request::Signal { container: id.clone(), signal: signal::KILL, all: true };
        // One that the shim was never told of is not there.
        drop(shim.ask(kill, Vec::new(), HELLO_LIMIT).await);
    }
    if let Some(path) = cgroup.clone() {
        let shared = Arc::clone(shared);
        drop(Shared::blocking(move || end_cgroup(&shared, &path)).await);
    }
    if let Err(error) = remove::files(shared, shim, id, cgroup, dir.container(id)).await {
        let error = berth_types::error::chain(&error);
        tracing::warn!(container = id.short(), error, "a half-made container is not undone");
    }
}

/// Removes what belongs to no pod: shims, cgroups, leases and snapshots of pods that are gone. Those in `left`
/// are not.
pub(crate) async fn sweep(shared: &Arc<Shared>, left: &HashSet<SandboxId>) {
    let mut known: HashSet<SandboxId> = shared.pods.ids().into_iter().collect();
    let mut containers: HashSet<ContainerId> =
        shared.board.containers(None).iter().map(|c| c.id.clone()).collect();
    for id in left {
        let entries = std::fs::read_dir(shared.layout.pod(id).containers()).into_iter().flatten().flatten();
        containers.extend(entries.filter_map(|e| e.file_name().to_str()?.parse::<ContainerId>().ok()));
    }
    known.extend(left.iter().cloned());
    for id in shared.images.snapshots().into_iter().filter(|id| !containers.contains(id)) {
        if let Err(error) = shared.images.remove_snapshot(&id).await {
            let error = berth_types::error::chain(&error);
            tracing::warn!(container = id.short(), error, "a snapshot without a container is not removed");
        }
    }
    let shared = Arc::clone(shared);
    let swept = Shared::blocking(move || {
        for (_, sandbox) in procs::shims(shared.launcher.cgroup()) {
            if !known.contains(&sandbox)
                && let Err(error) = stray::end_shim(&shared, &sandbox)
            {
                let error = berth_types::error::chain(&error);
                tracing::warn!(
                    sandbox = sandbox.short(),
                    error,
                    "a shim without a pod is not ended with all of its"
                );
            }
        }
        stray::groups_of_none(&shared, &known)?;
        if let Some(network) = &shared.network {
            network.sweep(&known).map_err(|e| EngineError::failed("sweep the network", e))?;
        }
        Ok(())
    });
    if let Err(error) = swept.await {
        tracing::warn!(error = berth_types::error::chain(&error), "left-overs not removed");
    }
}
