//! Bringing a sandbox up: records, namespaces with their network, shim and files, side by side.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_sys::cgroup::CgroupPath;
use berth_types::SandboxId;
use berth_types::lifecycle::sandbox::{Event, State};
use berth_types::shim::{self, Request};
use rustix::fd::OwnedFd;
use rustix::mount::MountFlags;
use tokio::sync::mpsc;

use super::namespaces::{self, PodNamespaces};
use super::owner::{Owner, PodCgroups, SandboxWork};
use super::{Message, Report, network_files, procs};
use crate::config::CgroupDriver;
use crate::error::EngineError;
use crate::layout::PodDir;
use crate::model::{NamespaceMode, Network, PidMode, SandboxConfig};
use crate::oci;
use crate::record::{self, Phase, SandboxRecord};
use crate::shared::Shared;
use crate::shim::Shim;
use crate::stages::Timeline;
use crate::undo::Undo;

/// The time that a new shim has for its first answers.
const SHIM_LIMIT: Duration = Duration::from_secs(10);

/// A sandbox that is up.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) shim: Shim,
    pub(crate) shim_pid: i32,
    pub(crate) addresses: Vec<IpAddr>,
}

impl Owner {
    /// Starts the work of bringing the sandbox up.
    pub(crate) fn bring_up(&mut self, waiter: super::Waiter<SandboxId>) {
        self.waiting.run.push(waiter);
        self.waiting.work = SandboxWork::Up;
        let work = Work {
            shared: Arc::clone(&self.desk.shared),
            id: self.id.clone(),
            config: Arc::clone(&self.config),
            cgroups: self.cgroups.clone(),
            created_at: self.created_at,
            notices: self.notices(),
            timeline: Timeline::begin(),
        };
        self.desk.spawn(async move { Report::Up(work.run().await.map(Box::new)) });
    }

    /// The work of bringing it up is over.
    pub(crate) fn is_up(&mut self, result: Result<Box<Up>, EngineError>) {
        self.waiting.work = SandboxWork::Idle;
        let waiters = std::mem::take(&mut self.waiting.run);
        match result {
            Ok(up) => {
                self.link.shim = Some(up.shim);
                self.link.shim_pid = Some(up.shim_pid);
                self.link.addresses = up.addresses;
                if self.state == State::Starting {
                    self.apply(Event::RunOk).expect("the table takes RunOk while starting");
                    let id = self.id.clone();
                    self.answer_all(waiters, &Ok(id));
                    // The word that it is gone may have come before it was known here.
                    if self.link.shim.as_ref().is_some_and(Shim::is_gone) {
                        self.shim_lost();
                    }
                } else {
                    // Asked to stop meanwhile: the follow-up takes it down.
                    let refused = next_refused(self.state);
                    let id = self.id.short().to_owned();
                    self.answer_all(
                        waiters,
                        &Err(EngineError::Refused { thing: "pod sandbox", id, refused }),
                    );
                }
            }
            Err(error) => {
                // Everything was undone, so whatever was asked for meanwhile is done too.
                self.state = State::Gone;
                self.answer_all(waiters, &Err(error));
                let stops = std::mem::take(&mut self.waiting.stop);
                self.answer_all(stops, &Ok(()));
                let removes = std::mem::take(&mut self.waiting.remove);
                self.answer_all(removes, &Ok(()));
            }
        }
    }
}

fn next_refused(state: State) -> berth_types::lifecycle::Refused {
    berth_types::lifecycle::Refused { thing: "pod sandbox", event: Event::RunOk.word(), state: state.word() }
}

/// The pod's place among the cgroups. A parent that the caller gives is the caller's: the containers
/// are made directly in it, as its tools expect, and nothing is made beside it.
pub(crate) fn cgroups(
    shared: &Shared,
    id: &SandboxId,
    config: &SandboxConfig,
) -> Result<PodCgroups, EngineError> {
    let failed = |e| EngineError::failed("cgroup_parent", e);
    match config.cgroup_parent.as_deref().filter(|p| !p.trim_matches('/').is_empty()) {
        Some(parent) => {
            let base = parent.rsplit('/').find(|part| !part.is_empty()).unwrap_or_default();
            let slice = shared.config.cgroup_driver == CgroupDriver::Systemd && base.ends_with(".slice");
            let parent = if slice {
                berth_sys::cgroup::systemd::slice_path(base).map_err(failed)?
            } else {
                CgroupPath::new(parent).map_err(failed)?
            };
            Ok(PodCgroups { pod: parent.child(id.as_str()).map_err(failed)?, parent })
        }
        None => {
            let root = CgroupPath::new(&shared.config.cgroup_root).map_err(failed)?;
            let pod = root.child(id.as_str()).map_err(failed)?;
            Ok(PodCgroups { parent: pod.clone(), pod })
        }
    }
}

struct Work {
    shared: Arc<Shared>,
    id: SandboxId,
    config: Arc<SandboxConfig>,
    cgroups: PodCgroups,
    created_at: i64,
    notices: mpsc::Sender<Message>,
    timeline: Timeline,
}

impl Work {
    async fn run(self) -> Result<Up, EngineError> {
        let mut undo = Undo::new();
        match self.steps(&mut undo).await {
            Ok(up) => {
                undo.release();
                self.shared.stages.add(&self.id, "run sandbox", &self.timeline);
                Ok(up)
            }
            Err(error) => {
                undo.run().await;
                Err(error)
            }
        }
    }

    fn dir(&self) -> PodDir {
        self.shared.layout.pod(&self.id)
    }

    async fn steps(&self, undo: &mut Undo) -> Result<Up, EngineError> {
        self.intend(undo).await?;
        let (space, shim, place) = tokio::join!(self.namespaces(), self.shim(), self.place());
        // All three are over; what each of them made is undone whichever failed.
        let space = space.inspect(|_| self.undo_namespaces(undo));
        let shim = shim.inspect(|(_, pid)| self.undo_shim(*pid, undo));
        let place = place.inspect(|()| self.undo_place(undo));
        let ((namespaces, addresses), (shim, shim_pid), ()) = (space?, shim?, place?);
        let (told, kept) =
            tokio::join!(self.tell(&shim, namespaces), self.complete(addresses.clone(), shim_pid));
        told?;
        kept?;
        Ok(Up { shim, shim_pid, addresses })
    }

    fn record(&self, phase: Phase, addresses: Vec<IpAddr>, shim_pid: Option<i32>) -> SandboxRecord {
        SandboxRecord {
            version: record::VERSION,
            id: self.id.clone(),
            phase,
            created_at: self.created_at,
            config: (*self.config).clone(),
            addresses,
            shim_pid,
            cgroup: self.cgroups.pod.to_string(),
            cgroup_parent: self.cgroups.parent.to_string(),
        }
    }

    /// The intent is on disk before anything is made.
    async fn intend(&self, undo: &mut Undo) -> Result<(), EngineError> {
        let since = Instant::now();
        let dir = self.dir();
        let record = self.record(Phase::Making, Vec::new(), None);
        let path = dir.path().to_owned();
        undo.push("pod directory", async move {
            Shared::blocking(move || {
                record::remove(&path).map_err(|e| EngineError::system("remove the pod's directory", e))
            })
            .await
        });
        Shared::blocking(move || {
            let failed = |e| EngineError::system("write the pod's record", e);
            std::fs::create_dir_all(dir.containers()).map_err(failed)?;
            record::write(&dir.record(), &record).map_err(failed)
        })
        .await?;
        self.timeline.stage("intent", since);
        Ok(())
    }

    /// The namespaces with the network in them.
    async fn namespaces(&self) -> Result<(PodNamespaces, Vec<IpAddr>), EngineError> {
        let connected = self.config.namespaces.network == Network::Pod
            && self.shared.builtin(self.config.owner).is_some();
        let wanted = namespaces::Wanted::of(&self.config, &self.shared.facts, connected, self.dir().netns());
        let (shared, id, config, timeline) =
            (Arc::clone(&self.shared), self.id.clone(), Arc::clone(&self.config), self.timeline.clone());
        Shared::blocking(move || {
            let since = Instant::now();
            let made = namespaces::make(wanted)?;
            timeline.stage("namespaces", since);
            let network = shared.builtin(config.owner).filter(|_| config.namespaces.network == Network::Pod);
            let since = Instant::now();
            let addresses = match (network, &made.net) {
                (Some(network), Some(netns)) => {
                    network_files::attach(network, &id, netns, &config).and_then(|addresses| {
                        let set = namespaces::set_of_interfaces(&config, netns);
                        set.inspect_err(|_| drop(network.detach(&id))).map(|()| addresses)
                    })
                }
                (Some(_), None) | (None, _) => Ok(Vec::new()),
            };
            timeline.stage("network", since);
            match addresses {
                Ok(addresses) => Ok((made, addresses)),
                Err(error) => {
                    drop(namespaces::unpin(&shared.layout.pod(&id).netns()));
                    Err(error)
                }
            }
        })
        .await
    }

    fn undo_namespaces(&self, undo: &mut Undo) {
        let (shared, id, owner) = (Arc::clone(&self.shared), self.id.clone(), self.config.owner);
        undo.push("network", async move {
            Shared::blocking(move || {
                if let Some(network) = shared.builtin(owner) {
                    network.detach(&id).map_err(|e| EngineError::failed("disconnect the pod", e))?;
                }
                namespaces::unpin(&shared.layout.pod(&id).netns())
            })
            .await
        });
    }

    /// The shim, which has answered.
    async fn shim(&self) -> Result<(Shim, i32), EngineError> {
        let since = Instant::now();
        let (shared, id, socket) = (Arc::clone(&self.shared), self.id.clone(), self.dir().socket());
        let launched = Shared::blocking(move || shared.launcher.launch(&id, &socket)).await?;
        self.timeline.stage("shim spawned", since);
        let pid = launched.child.pid;
        let pidfd = launched.child.pidfd;
        let connection = launched.connection;
        let said = async {
            let shim = connection
                .serve(self.notices.clone())
                .map_err(|e| EngineError::system("serve the shim's connection", e))?;
            match shim.hello(SHIM_LIMIT).await {
                Ok(_) => Ok(shim),
                Err(error) => Err(EngineError::failed("say hello to the shim", error)),
            }
        }
        .await;
        procs::reap_later(pidfd, said.is_err());
        self.timeline.stage("shim", since);
        Ok((said?, pid))
    }

    fn undo_shim(&self, pid: i32, undo: &mut Undo) {
        let (shared, id) = (Arc::clone(&self.shared), self.id.clone());
        undo.push("shim", async move {
            Shared::blocking(move || {
                procs::kill_shim(&shared, &id);
                Ok(())
            })
            .await?;
            tracing::debug!(pid, "shim of a failed start ended");
            Ok(())
        });
    }

    /// The pod's cgroup where it has one of its own, and its /dev/shm.
    async fn place(&self) -> Result<(), EngineError> {
        let (shared, config, cgroups, dir) =
            (Arc::clone(&self.shared), Arc::clone(&self.config), self.cgroups.clone(), self.dir());
        let timeline = self.timeline.clone();
        Shared::blocking(move || {
            let since = Instant::now();
            if config.cgroup_parent.is_none() || config.namespaces.pid == PidMode::Pod {
                let limits = oci::resources::cgroup(&config.resources, Vec::new(), &shared.facts);
                shared
                    .cgroups
                    .create(&cgroups.pod, &limits)
                    .map_err(|e| EngineError::failed("make the pod's cgroup", e))?;
            }
            timeline.stage("pod cgroup", since);
            let since = Instant::now();
            if config.namespaces.ipc == NamespaceMode::Pod
                && let Err(error) = mount_shm(&dir.shm())
            {
                drop(shared.cgroups.open(&cgroups.pod).remove());
                return Err(EngineError::system("mount the pod's /dev/shm", error));
            }
            timeline.stage("shm", since);
            Ok(())
        })
        .await
    }

    fn undo_place(&self, undo: &mut Undo) {
        let (shared, cgroups, dir) = (Arc::clone(&self.shared), self.cgroups.clone(), self.dir());
        undo.push("pod cgroup and /dev/shm", async move {
            Shared::blocking(move || {
                namespaces::unmount(&dir.shm())?;
                shared
                    .cgroups
                    .open(&cgroups.pod)
                    .remove()
                    .map_err(|e| EngineError::failed("remove the pod's cgroup", e))
            })
            .await
        });
    }

    /// Tells the shim about its pod.
    async fn tell(&self, shim: &Shim, namespaces: PodNamespaces) -> Result<(), EngineError> {
        let since = Instant::now();
        let PodNamespaces { net, ipc, uts } = namespaces;
        let flags = [net.is_some(), ipc.is_some(), uts.is_some()];
        let fds: Vec<OwnedFd> = [net, ipc, uts].into_iter().flatten().collect();
        let dirs = self.shared.cgroups.open(&self.cgroups.pod).dirs();
        let pod = shim::Pod {
            sandbox: self.id.clone(),
            state_dir: text(self.dir().path()),
            namespaces: flags,
            shared_pid: self.config.namespaces.pid == PidMode::Pod,
            cgroup_dirs: dirs.iter().map(|dir| text(dir)).collect(),
        };
        shim.tell(Request::Pod(pod), fds, SHIM_LIMIT)
            .await
            .map_err(|e| EngineError::failed("tell the shim about its pod", e))?;
        self.timeline.stage("shim told", since);
        Ok(())
    }

    /// The pod's files, and the record that it is made.
    async fn complete(&self, addresses: Vec<IpAddr>, shim_pid: i32) -> Result<(), EngineError> {
        let since = Instant::now();
        let record = self.record(Phase::Made, addresses.clone(), Some(shim_pid));
        let (shared, config, dir) = (Arc::clone(&self.shared), Arc::clone(&self.config), self.dir());
        Shared::blocking(move || {
            network_files::write(&dir, &config, &shared.facts, &addresses)?;
            record::write(&dir.record(), &record)
                .map_err(|e| EngineError::system("write the pod's record", e))
        })
        .await?;
        self.timeline.stage("files", since);
        Ok(())
    }
}

fn mount_shm(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir(path)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(rustix::mount::mount("shm", path, "tmpfs", flags, Some(c"mode=1777,size=65536k"))?)
}

pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
