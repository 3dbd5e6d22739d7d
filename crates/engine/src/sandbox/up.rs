//! Bringing a sandbox up: records, namespaces with their network, shim and files, side by side. What fails half-way is
//! taken down like any other pod.

use std::ffi::CString;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_net::Attached;
use berth_sys::cgroup::Resources;
use berth_types::SandboxId;
use berth_types::lifecycle::pod::Message as ToPod;
use berth_types::lifecycle::sandbox::{Message as ToSandbox, State};
use berth_types::shim::{self, Request};
use rustix::fd::OwnedFd;
use rustix::mount::MountFlags;
use tokio::sync::mpsc;

use super::namespaces::{self, PodNamespaces};
use super::owner::Owner;
use super::teardown::Unmade;
use super::{Message, Report, moments, network_files};
use crate::container::adjust::{Heard, Moment, Unseen, What};
use crate::error::EngineError;
use crate::handler::Kernel;
use crate::host::layout::PodDir;
use crate::host::placement::PodCgroups;
use crate::host::record::{self, Phase, SandboxRecord};
use crate::host::shims;
use crate::host::stages::Timeline;
use crate::model::{NamespaceMode, Network, PidMode, SandboxConfig, SandboxView, UserNamespace};
use crate::oci;
use crate::shared::Shared;
use crate::shim::Shim;
use crate::shim::handshake::{Greeted, greet};

/// The time that a new shim has for its first answers.
const SHIM_LIMIT: Duration = Duration::from_secs(10);

/// A sandbox that is up.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) shim: Shim,
    pub(crate) shim_pid: i32,
    pub(crate) interface: Option<String>,
    pub(crate) addresses: Vec<IpAddr>,
    /// Until it is published.
    pub(crate) unseen: Option<Unseen>,
}

impl Owner {
    /// Starts the work of bringing the sandbox up.
    pub(crate) fn bring_up(&self) {
        let work = Work {
            shared: Arc::clone(&self.spawner.shared),
            id: self.id.clone(),
            config: Arc::clone(&self.config),
            cgroups: self.cgroups.clone(),
            created_at: self.created_at,
            dir: self.dir.clone(),
            notices: self.notices(),
            timeline: Timeline::begin(),
        };
        let not_up = |error| Report::Pod(ToPod::Sandbox(ToSandbox::NotUp(error)));
        let work = async move {
            match work.run().await {
                Ok(up) => Report::Up(Box::new(up)),
                Err(error) => not_up(error),
            }
        };
        // The caller does it, not the owner, which does not run yet.
        self.about().within(|| self.spawner.spawn(work, not_up));
    }
}

struct Work {
    shared: Arc<Shared>,
    id: SandboxId,
    config: Arc<SandboxConfig>,
    cgroups: PodCgroups,
    created_at: i64,
    dir: PodDir,
    notices: mpsc::Sender<Box<Message>>,
    timeline: Timeline,
}

impl Work {
    async fn run(self) -> Result<Up, EngineError> {
        match self.steps().await {
            Ok(up) => {
                self.shared.stages.add(&self.id, "run sandbox", &self.timeline);
                Ok(up)
            }
            Err(error) => {
                let (id, dir, pod) = (self.id.clone(), self.dir.clone(), self.cgroups.pod.clone());
                let unmade = Unmade { id, dir, cgroups: vec![pod.clone()], pod };
                // What fails is logged and tried again; the caller has the reason why it has no pod.
                drop(unmade.undo_or_later(&self.shared).await);
                Err(error)
            }
        }
    }

    async fn steps(&self) -> Result<Up, EngineError> {
        self.intend().await?;
        // All three end before a failure is handled: what each of them made is undone.
        let (space, shim, place) = tokio::join!(self.namespaces(), self.shim(), self.place());
        let ((namespaces, attached), (shim, shim_pid), ()) = (space?, shim?, place?);
        let Attached { interface, addresses, .. } = attached.clone();
        let (told, kept) = tokio::join!(self.tell(&shim, namespaces), self.complete(attached, shim_pid));
        told?;
        kept?;
        self.begin_kernel(&shim).await;
        let unseen = self.shared.unseen().await;
        if self.shared.has_plugins() {
            self.ask_plugins(shim_pid, interface.clone(), &addresses).await?;
        }
        Ok(Up { shim, shim_pid, interface, addresses, unseen })
    }

    /// Tells plugins of the pod, which one of them may refuse. Then it goes away again for all of them.
    async fn ask_plugins(
        &self,
        shim_pid: i32,
        interface: Option<String>,
        addresses: &[IpAddr],
    ) -> Result<(), EngineError> {
        let since = Instant::now();
        let own = self.config.namespaces.network != Network::Host;
        let pod = SandboxView {
            id: self.id.clone(),
            config: Arc::clone(&self.config),
            state: State::Starting,
            created_at: self.created_at,
            interface,
            addresses: addresses.to_vec(),
            netns: own.then(|| self.dir.netns()),
            cgroup: self.cgroups.parent.to_string(),
            shim_pid: Some(shim_pid),
            message: String::new(),
            containers: Vec::new(),
        };
        let tell = |what| -> Option<Heard> {
            self.shared.hear(Moment { what, pod: &pod, container: None, resources: None })
        };
        let allowed = moments::allowed(tell(What::PodUp)).await;
        if allowed.is_err() {
            drop((tell(What::PodDown), tell(What::PodRemoved)));
        }
        self.timeline.stage("plugins", since);
        allowed
    }

    fn record(&self, phase: Phase, attached: &Attached, shim_pid: Option<i32>) -> SandboxRecord {
        SandboxRecord {
            version: record::VERSION,
            id: self.id.clone(),
            phase,
            created_at: self.created_at,
            config: (*self.config).clone(),
            interface: attached.interface.clone(),
            addresses: attached.addresses.clone(),
            shim_pid,
            cgroup: self.cgroups.pod.to_string(),
            cgroup_parent: self.cgroups.parent.to_string(),
            resources: None,
        }
    }

    /// The intent is on disk before anything is made.
    async fn intend(&self) -> Result<(), EngineError> {
        let since = Instant::now();
        let (dir, record) = (self.dir.clone(), self.record(Phase::Making, &Attached::default(), None));
        Shared::blocking(move || {
            let failed = |e| EngineError::system("write the pod's record", e);
            private_dir(&dir.run).map_err(failed)?;
            private_dir(&dir.containers()).map_err(failed)?;
            record::write(&dir.record(), &record).map_err(failed)
        })
        .await?;
        self.timeline.stage("intent", since);
        Ok(())
    }

    /// The namespaces with the network in them.
    async fn namespaces(&self) -> Result<(PodNamespaces, Attached), EngineError> {
        let network = self.shared.networks.of(&self.config);
        let pin = self.dir.netns();
        let wanted = namespaces::Wanted::of(&self.config, &self.shared.facts, pin.clone());
        let (id, config, timeline) = (self.id.clone(), Arc::clone(&self.config), self.timeline.clone());
        let shared = Arc::clone(&self.shared);
        Shared::blocking(move || {
            let since = Instant::now();
            possible(&shared, &config)?;
            let made = namespaces::make(wanted)?;
            timeline.stage("namespaces", since);
            let since = Instant::now();
            let attached = match (network, &made.net) {
                (Some(network), Some(netns)) => {
                    let attached = network_files::attach(network.as_ref(), &id, netns, &pin, &config)?;
                    namespaces::set_of_interfaces(&config, netns)?;
                    attached
                }
                (Some(_), None) | (None, _) => Attached::default(),
            };
            timeline.stage("network", since);
            Ok((made, attached))
        })
        .await
    }

    /// The shim, which has answered.
    async fn shim(&self) -> Result<(Shim, i32), EngineError> {
        let since = Instant::now();
        let (shared, id, socket) = (Arc::clone(&self.shared), self.id.clone(), self.dir.socket());
        let handler = self.shared.handlers.of(&self.config.handler)?;
        let launched = Shared::blocking(move || {
            let cgroup = shared.placement.make_shim(&id)?;
            shared.launcher.launch(handler.program(), &cgroup, &id, &socket)
        });
        let launched = launched.await?;
        self.timeline.stage("shim spawned", since);
        let pid = launched.child.pid;
        let (shared, id) = (Arc::clone(&self.shared), self.id.clone());
        let adopted = Shared::blocking(move || shared.placement.adopt_shim(&id, pid));
        let greeted = greet(launched.connection, self.notices.clone(), SHIM_LIMIT);
        let (said, adopted) = tokio::join!(greeted, adopted);
        shims::reap_later(launched.child.pidfd, said.is_err() || adopted.is_err());
        self.timeline.stage("shim", since);
        adopted?;
        let Greeted { shim, .. } =
            said.map_err(|e| EngineError::failed("exchange versions with the shim", e))?;
        Ok((shim, pid))
    }

    /// The pod's cgroup where it has one of its own, and its /dev/shm.
    async fn place(&self) -> Result<(), EngineError> {
        let (shared, config, cgroups, dir) =
            (Arc::clone(&self.shared), Arc::clone(&self.config), self.cgroups.clone(), self.dir.clone());
        let (id, timeline) = (self.id.clone(), self.timeline.clone());
        Shared::blocking(move || {
            let since = Instant::now();
            let own = config.cgroup_parent.is_none() || config.namespaces.pid == PidMode::Pod;
            let limits = own.then(|| oci::resources::cgroup(&config.resources, Vec::new(), &shared.facts));
            shared.placement.make_pod(&id, &cgroups, limits.as_ref())?;
            timeline.stage("pod cgroup", since);
            let since = Instant::now();
            if config.namespaces.ipc == NamespaceMode::Pod {
                let failed = |e| EngineError::system("mount the pod's /dev/shm", e);
                mount_shm(&dir.shm(), config.namespaces.user).map_err(failed)?;
            }
            timeline.stage("shm", since);
            Ok(())
        })
        .await
    }

    /// Tells the shim about its pod.
    async fn tell(&self, shim: &Shim, namespaces: PodNamespaces) -> Result<(), EngineError> {
        let since = Instant::now();
        let PodNamespaces { user, net, ipc, uts } = namespaces;
        let flags = [net.is_some(), ipc.is_some(), uts.is_some()];
        self.keep(user.as_ref())?;
        let has_user = user.is_some();
        let fds: Vec<OwnedFd> = [user, net, ipc, uts].into_iter().flatten().collect();
        let dirs = self.shared.cgroups.open(&self.cgroups.pod).dirs();
        let pod = shim::Pod {
            sandbox: self.id.clone(),
            state_dir: text(&self.dir.records),
            namespaces: flags,
            shared_pid: self.config.namespaces.pid == PidMode::Pod,
            cgroup_dirs: dirs.iter().map(|dir| text(dir)).collect(),
        };
        let request = if has_user { Request::PodWithUser(pod) } else { Request::Pod(pod) };
        shim.tell(request, fds, SHIM_LIMIT)
            .await
            .map_err(|e| EngineError::failed("configure the shim for its pod", e))?;
        self.timeline.stage("shim told", since);
        Ok(())
    }

    /// Has the pod's own kernel begun, if it has one: it takes longer than all else. Where that fails, the first container begins it.
    async fn begin_kernel(&self, shim: &Shim) {
        let since = Instant::now();
        if let Err(error) = self.try_begin_kernel(shim).await {
            let (sandbox, error) = (self.id.short(), berth_types::error::chain(&error));
            tracing::warn!(sandbox, error, "failed to begin the pod's kernel before its first container");
        }
        self.timeline.stage("kernel", since);
    }

    async fn try_begin_kernel(&self, shim: &Shim) -> Result<(), EngineError> {
        let handler = self.shared.handlers.of(&self.config.handler)?;
        if !handler.has_own_kernel() || !shim.peer().abilities.has(shim::Abilities::BEGINS) {
            return Ok(());
        }
        let (shared, id, config) = (Arc::clone(&self.shared), self.id.clone(), Arc::clone(&self.config));
        let (path, dir, gofers) =
            (self.cgroups.kernel(&self.id)?, self.dir.kernel(), self.dir.gofers_netns());
        let plan = Shared::blocking(move || {
            let failed = |e| EngineError::failed("make the kernel's cgroup", e);
            // Its limits come with the containers.
            let cgroup = shared.cgroups.ensure(&path, &Resources::default()).map_err(failed)?;
            let kernel = Kernel {
                id: &id,
                cgroup: &cgroup,
                dir: &dir,
                gofers: &gofers,
                hostname: oci::hostname(&config, &shared.facts),
                sysctls: &config.sysctls,
                shares_pid: config.namespaces.pid == PidMode::Pod,
            };
            handler.begin(kernel, config.namespaces.network != Network::Host)
        });
        let Some(plan) = plan.await? else { return Ok(()) };
        let told = shim.tell(Request::Begin { plan }, Vec::new(), SHIM_LIMIT).await;
        told.map_err(|e| EngineError::failed("have the pod's kernel begun", e))
    }

    /// Remembers the pod's user namespace for its containers' layers.
    fn keep(&self, user: Option<&OwnedFd>) -> Result<(), EngineError> {
        if let (Some(user), Some(maps)) = (user, self.config.namespaces.user) {
            let user = user.try_clone().map_err(|e| EngineError::system("duplicate a descriptor", e))?;
            self.shared.user_namespaces.keep(maps, Arc::new(user));
        }
        Ok(())
    }

    /// The pod's files, and the record that it is made.
    async fn complete(&self, attached: Attached, shim_pid: i32) -> Result<(), EngineError> {
        let since = Instant::now();
        let record = self.record(Phase::Made, &attached, Some(shim_pid));
        let (shared, config, dir) = (Arc::clone(&self.shared), Arc::clone(&self.config), self.dir.clone());
        Shared::blocking(move || {
            network_files::write(&dir, &config, &shared.facts, &attached)?;
            record::write_both(&dir.record(), &dir.record_copy(), &record)
                .map_err(|e| EngineError::system("write the pod's record", e))
        })
        .await?;
        self.timeline.stage("files", since);
        Ok(())
    }
}

/// Refuses a user namespace that this host or the pod's handler does not have.
fn possible(shared: &Shared, config: &SandboxConfig) -> Result<(), EngineError> {
    if config.namespaces.user.is_none() {
        return Ok(());
    }
    let refuse = |message: String| Err(EngineError::unsupported("userns_options.mode", message));
    let handler = shared.handlers.of(&config.handler)?;
    if !handler.has_user_namespaces() {
        return refuse(format!("the handler {:?} has no user namespaces", handler.name()));
    }
    match &shared.user_namespaces.support(&shared.layout.root).containers {
        Ok(()) => Ok(()),
        Err(why) => refuse(why.clone()),
    }
}

/// In a user namespace it belongs to its root, and needs no maps: what a process makes in it has the host's ids of that.
fn mount_shm(path: &Path, user: Option<UserNamespace>) -> std::io::Result<()> {
    std::fs::create_dir(path)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let (uid, gid) = user.map_or((0, 0), UserNamespace::root);
    let options = CString::new(format!("mode=1777,size=65536k,uid={uid},gid={gid}"))?;
    Ok(rustix::mount::mount("shm", path, "tmpfs", flags, Some(options.as_c_str()))?)
}

/// A directory that only root may enter, with those above it.
fn private_dir(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
