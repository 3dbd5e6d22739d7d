//! The handle that callers hold. Methods that change something hand the work to the pod's owner
//! task and wait for its answer; dropping the future gives up the answer, never the work. Methods
//! that only read use the published views and never wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use berth_image::pull::{Progress, PullError, PullRequest, Puller};
use berth_image::{Image, Images, registry};
use berth_net::{Cidr, ParseCidrError};
use berth_types::lifecycle::pod::Pod;
use berth_types::{ContainerId, SandboxId};

use crate::config::{EngineConfig, Live};
use crate::container::exec::{self, Target};
use crate::container::processes::{self, Process};
use crate::container::session::{AttachSession, ExecRequest, ExecSession};
use crate::error::EngineError;
use crate::events::Events;
use crate::handler::Known;
use crate::host::{clock, doctor, purge, random};
use crate::model::{ContainerConfig, ContainerView, ExecOutput, Owner, SandboxConfig, SandboxView};
use crate::sandbox::dial::{self, Connection};
use crate::sandbox::{Caller, Command, Found, Handle, Owner as PodOwner, Reply, Running};
use crate::seams::{Driver, Seams};
use crate::shared::{Identity, Shared};
use crate::status::{Finding, HandlerFeatures, HandlerStatus, NetworkStatus, Stages};
use crate::{oci, open, services, validate};

mod limits;

/// The engine. Clones are cheap and share everything. Pods go on when the last clone, or the whole
/// process, is gone.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
    pub(crate) puller: Puller,
}

impl Engine {
    /// Opens the stores, finds the pods that run, and answers when all of them are known.
    ///
    /// # Errors
    /// A store, the cgroups or the network cannot be used, or another daemon uses the root directory. A pod that
    /// cannot be recovered is not an error; `doctor` reports it.
    pub async fn open(config: EngineConfig) -> Result<Engine, EngineError> {
        Self::open_with(config, Seams::default()).await
    }

    /// The same, with replacements for what the engine brings along.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub async fn open_with(config: EngineConfig, seams: Seams) -> Result<Engine, EngineError> {
        let (shared, puller) = open::open(config, seams).await?;
        Ok(Engine { shared, puller })
    }

    /// What the engine was opened with.
    pub fn config(&self) -> &EngineConfig {
        &self.shared.config
    }

    /// Pods, containers and pulls that are asked for from now on are made with this. What exists stays as it is.
    pub async fn change(&self, live: Live) {
        let Live { certs_dirs, short_name_hosts, cdi_dirs, hooks_dirs, cni } = live;
        let places = registry::Places { certs_dirs, unqualified_registries: short_name_hosts };
        self.puller.registry().look_in(places);
        self.shared.set_cdi_dirs(cdi_dirs);
        self.shared.set_hooks_dirs(hooks_dirs);
        let shared = Arc::clone(&self.shared);
        let moved = Shared::blocking(move || {
            shared.networks.move_cni(cni);
            Ok(())
        });
        if let Err(error) = moved.await {
            tracing::error!(error = berth_types::error::chain(&error), "the network was not changed");
        }
    }

    /// Who manages cgroups: what a kubelet must have too.
    pub fn cgroup_driver(&self) -> Driver {
        self.shared.placement.driver()
    }

    /// The cgroup for shims and for pods without a parent of their own.
    pub fn cgroup_root(&self) -> &str {
        match self.cgroup_driver() {
            Driver::Cgroupfs => &self.config().cgroup_root,
            Driver::Systemd => &self.config().cgroup_slice,
        }
    }

    /// Where services of local pods have their addresses; nothing where there can be none.
    pub fn service_network(&self) -> Option<services::ServiceNetwork> {
        self.shared.networks.service_network(Owner::Local)
    }

    /// Makes these the services of local pods, in one step. They stay as they are while no daemon runs.
    ///
    /// # Errors
    /// A host port is taken, or the kernel refuses; the services are as they were.
    pub async fn set_services(&self, services: services::Services) -> Result<(), services::NetError> {
        let shared = Arc::clone(&self.shared);
        let set = tokio::task::spawn_blocking(move || shared.networks.set_services(Owner::Local, &services));
        set.await.unwrap_or_else(|e| Err(services::NetError::Watch(std::io::Error::other(e))))
    }

    /// Makes a sandbox and answers when it is up, with its addresses. A second request with the
    /// same metadata and configuration gets the same answer.
    ///
    /// # Errors
    /// `AlreadyExists` for the same metadata with another configuration or on a stopped
    /// sandbox; `Invalid` or `Unsupported` with the field for what is not supported.
    pub async fn run_sandbox(&self, config: SandboxConfig) -> Result<SandboxId, EngineError> {
        validate::sandbox(&config, self.config(), &self.shared.facts)?;
        let shared = &self.shared;
        shared.handlers.ready(&config.handler).await?;
        let config = Arc::new(SandboxConfig { handler: shared.handlers.settled(&config.handler), ..config });
        let id = SandboxId::from_random(random::bytes());
        let cgroups = shared.placement.of_pod(&id, config.cgroup_parent.as_deref())?;
        let (reply, answer) = tokio::sync::oneshot::channel();
        let before = shared.views.newest_attempt(config.owner, &config.metadata);
        let mut made = None;
        let (handle, joined) = shared.pods.join_or(&Identity::of(&config), || {
            let found = Found {
                pod: Pod::starting(Caller::Sandbox(reply)),
                items: BTreeMap::new(),
                limits: config.resources.clone(),
                unreadable: Vec::new(),
                running: Running::default(),
            };
            let (owner, handle) = PodOwner::new(
                Arc::clone(shared),
                id.clone(),
                Arc::clone(&config),
                clock::after(before),
                shared.layout.pod(&id),
                cgroups,
                found,
            );
            owner.bring_up();
            made = Some(owner);
            (id.clone(), handle)
        });
        if joined {
            let asked = handle.ask(|reply| Command::Join { config: Box::new((*config).clone()), reply });
            // When the pod was removed between the lookup and the call, the caller asks again.
            return asked.await.unwrap_or(Err(EngineError::Closed));
        }
        made.map(|owner| tokio::spawn(owner.run()));
        answer.await.unwrap_or(Err(EngineError::Closed))
    }

    /// Ends every container at once and takes the network down. Stopping what is stopped is success.
    ///
    /// # Errors
    /// `NotFound`; or a part of the teardown failed, and may be tried again.
    pub async fn stop_sandbox(&self, id: &SandboxId) -> Result<(), EngineError> {
        let asked = self.pod(id)?.ask(|reply| Command::Stop { reply }).await;
        asked.unwrap_or_else(|| self.is_gone(id))
    }

    /// Stops what still runs and removes everything of the sandbox but its logs.
    ///
    /// # Errors
    /// As [`Engine::stop_sandbox`].
    pub async fn remove_sandbox(&self, id: &SandboxId) -> Result<(), EngineError> {
        let asked = self.pod(id)?.ask(|reply| Command::Remove { reply }).await;
        asked.unwrap_or_else(|| self.is_gone(id))
    }

    /// Prepares a container up to just before its `execve`. A second request with the same metadata
    /// and configuration gets the same answer.
    ///
    /// # Errors
    /// As [`Engine::run_sandbox`]; `Refused` when the sandbox is not ready.
    pub async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
    ) -> Result<ContainerId, EngineError> {
        let asked = self.pod(sandbox)?.ask(|reply| Command::Create { config: Box::new(config), reply }).await;
        asked.unwrap_or_else(|| Err(no_sandbox(sandbox)))
    }

    /// Releases a prepared container; answers when its command runs.
    ///
    /// # Errors
    /// `Command` when the command cannot be executed: the container is exited then, with reason StartError.
    pub async fn start_container(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.ask(id, |container, reply| Command::Start { container, reply }).await
    }

    /// Asks a container to end with its stop signal, kills it after `grace`, and answers when its
    /// processes and its cgroup are gone. Zero kills at once. A second call with a shorter time wins.
    ///
    /// # Errors
    /// `NotFound`; or its processes do not die.
    pub async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<(), EngineError> {
        self.ask(id, |container, reply| Command::StopContainer { container, grace, reply }).await
    }

    /// Kills a container if it runs and removes everything of it but its log.
    ///
    /// # Errors
    /// As [`Engine::stop_container`]; or a part of it cannot be removed, and may be tried again.
    pub async fn remove_container(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.ask(id, |container, reply| Command::RemoveContainer { container, reply }).await
    }

    /// Runs a command in a running container and gives its output. None waits forever.
    ///
    /// # Errors
    /// `Timeout` when the time ran out (the process is killed), `Command` when it cannot be executed; a status
    /// other than 0 is not an error.
    pub async fn exec_sync(
        &self,
        id: &ContainerId,
        argv: Vec<String>,
        timeout: Option<Duration>,
    ) -> Result<ExecOutput, EngineError> {
        let done = async {
            let target = self.entered(id).await?;
            exec::exec_sync(&self.shared, &target, argv, timeout).await
        };
        self.settled(id, done.await).await
    }

    /// Runs a command in a running container with its streams. Dropping the session kills it.
    ///
    /// # Errors
    /// `Command` when it cannot be executed.
    pub async fn exec(&self, id: &ContainerId, request: ExecRequest) -> Result<ExecSession, EngineError> {
        let begun = async {
            let target = self.entered(id).await?;
            exec::exec(&self.shared, &target, &request, None).await
        };
        self.settled(id, begun.await).await
    }

    /// Joins the stdio of a container that is created or running; with `stdin` to give input, too. A client without leaves
    /// the container's stdin as it is when it goes.
    ///
    /// # Errors
    /// `NotFound` or `Refused`.
    pub async fn attach(&self, id: &ContainerId, stdin: bool) -> Result<AttachSession, EngineError> {
        let attached = async { exec::attach(&self.target(id).await?, stdin).await };
        self.settled(id, attached.await).await
    }

    /// Sends a signal, by its name or number, to the main process of a container. One that has ended needs none.
    ///
    /// # Errors
    /// `NotFound` or `Refused`; `Invalid` for what is no signal.
    pub async fn signal_container(&self, id: &ContainerId, signal: &str) -> Result<(), EngineError> {
        let number = oci::signal::number(signal)
            .ok_or_else(|| EngineError::invalid("signal", format!("{signal:?} is not a signal")))?;
        let sent = async { exec::signal(&self.target(id).await?, number).await };
        self.settled(id, sent.await).await
    }

    /// The processes of a container that runs, as the machine sees them.
    ///
    /// # Errors
    /// `NotFound`; `Refused` when it does not run; `Unsupported` where they are another kernel's.
    pub async fn processes(&self, id: &ContainerId) -> Result<Vec<Process>, EngineError> {
        self.refuse_own_kernel(id, "processes").await?;
        processes::list(&self.shared, self.container(id.as_str())?).await
    }

    /// Connects to a port of a pod on `localhost` inside of it, by IPv4 or else by IPv6.
    ///
    /// # Errors
    /// `NotFound`; `Unreachable` when nothing listens there, or the sandbox is stopped.
    pub async fn connect(&self, id: &SandboxId, port: u16) -> Result<Connection, EngineError> {
        let view = self.sandbox(id.as_str())?;
        let handler = self.shared.handlers.of(&view.config.handler)?;
        dial::connect(&self.shared, view, handler, port).await
    }

    /// Opens a container's log file again by its path. On failure the old file stays in use.
    ///
    /// # Errors
    /// The file cannot be opened, or the container does not run.
    pub async fn reopen_log(&self, id: &ContainerId) -> Result<(), EngineError> {
        let opened = async { exec::reopen_log(&self.target(id).await?).await };
        self.settled(id, opened.await).await
    }

    /// The sandboxes of an owner, or all, newest first. Those that are still being created are not among them.
    pub fn sandboxes(&self, owner: Option<Owner>) -> Vec<Arc<SandboxView>> {
        self.shared.views.sandboxes(owner)
    }

    /// The containers of an owner's sandboxes, or all, newest first. Those that are still being created are not among them.
    pub fn containers(&self, owner: Option<Owner>) -> Vec<Arc<ContainerView>> {
        self.shared.views.containers(owner)
    }

    /// The sandbox with this id or unique prefix of an id.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`.
    pub fn sandbox(&self, key: &str) -> Result<Arc<SandboxView>, EngineError> {
        self.shared.views.sandbox(key)
    }

    /// The container with this id or unique prefix of an id.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`.
    pub fn container(&self, key: &str) -> Result<Arc<ContainerView>, EngineError> {
        self.shared.views.container(key)
    }

    /// The image store: lists, look-ups, removal, usage.
    pub fn images(&self) -> &Images {
        &self.shared.images
    }

    /// Pulls an image. The work goes on when the caller does not wait.
    ///
    /// # Errors
    /// Those of the registry and of the store.
    pub async fn pull(&self, request: PullRequest, progress: Progress) -> Result<Arc<Image>, PullError> {
        let pulled = self.puller.pull(request, progress).await;
        // What a pull took for its buffers is not needed until the next one.
        tokio::task::spawn_blocking(berth_sys::memory::give_back);
        pulled
    }

    /// Ids of images that containers of `owner`, or any, use, also as volumes. Those of local pods are to be reported as
    /// pinned to a kubelet, which knows nothing of these pods.
    pub fn images_in_use(&self, owner: Option<Owner>) -> BTreeSet<String> {
        self.containers(owner).iter().flat_map(|container| self.images_of(container)).collect()
    }

    /// Ids of the images that a container uses: its own, and those that it has as volumes.
    pub fn images_of(&self, container: &ContainerView) -> Vec<String> {
        let volumes = self.shared.images.volumes(&container.id).into_iter();
        volumes.map(|id| id.to_string()).chain([container.image_id.clone()]).collect()
    }

    /// Whether pods of `owner` can get their network.
    pub fn network_status(&self, owner: Owner) -> NetworkStatus {
        self.shared.networks.status(owner)
    }

    /// Tells the network of an owner's pods which blocks of addresses the cluster gives this node: none, or some
    /// in CIDR notation.
    ///
    /// # Errors
    /// `Invalid` for one that is no block.
    pub async fn set_pod_blocks(&self, owner: Owner, blocks: &[&str]) -> Result<(), EngineError> {
        let parse = |text: &&str| {
            text.parse().map_err(|e: ParseCidrError| EngineError::invalid("pod_cidr", e.to_string()))
        };
        let blocks = blocks.iter().map(parse).collect::<Result<Vec<Cidr>, _>>()?;
        let shared = Arc::clone(&self.shared);
        Shared::blocking(move || shared.networks.set_pod_blocks(owner, &blocks)).await
    }

    /// What a pod's network knows of it: the result of CNI plugins. None where it knows no more than the view.
    pub async fn network_details(&self, id: &SandboxId) -> Option<serde_json::Value> {
        let view = self.sandbox(id.as_str()).ok()?;
        let shared = Arc::clone(&self.shared);
        Shared::blocking(move || Ok(shared.networks.details(&view.config, &view.id))).await.ok()?
    }

    /// Whether mounts can be read-only with everything mounted below them: `mount_setattr`, Linux 5.12.
    pub fn has_recursive_read_only(&self) -> bool {
        berth_sys::kernel::version() >= (5, 12)
    }

    /// Whether pods of the native handler can have user namespaces, with every kind of volume that Kubernetes gives them.
    pub async fn has_user_namespaces(&self) -> bool {
        let shared = Arc::clone(&self.shared);
        let asked =
            Shared::blocking(move || Ok(shared.user_namespaces.support(&shared.layout.root).is_complete()));
        asked.await.unwrap_or(false)
    }

    /// Whether a pod may ask for a handler by this name, be it that it cannot be used on this machine.
    pub fn knows_handler(&self, name: &str) -> bool {
        self.shared.handlers.knows(name)
    }

    /// The handlers as they were last seen; what is new on the machine is checked in the background.
    pub async fn handlers(&self) -> Vec<HandlerStatus> {
        self.abilities(self.shared.handlers.look()).await
    }

    /// The same, after looking for all of them and checking those that have not been, or that failed: takes up to half a
    /// minute where a runtime does not answer.
    pub async fn examine_handlers(&self) -> Vec<HandlerStatus> {
        self.abilities(self.shared.handlers.look_closely().await).await
    }

    async fn abilities(&self, known: Vec<Known>) -> Vec<HandlerStatus> {
        let host = HandlerFeatures {
            recursive_read_only: self.has_recursive_read_only(),
            user_namespaces: self.has_user_namespaces().await,
            checkpoint: false,
        };
        let default = self.shared.handlers.default_name();
        known.into_iter().map(|one| one.status(host, default)).collect()
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        self.shared.views.watch()
    }

    /// Looks for everything that belongs to no pod, and pods that lack something.
    pub async fn doctor(&self) -> Vec<Finding> {
        doctor::examine(&self.shared).await
    }

    /// Stops and removes everything of this instance: pods, network, cgroups, directories. Goes on
    /// past failures and gives them all.
    pub async fn purge(self) -> Vec<EngineError> {
        let Engine { shared, puller } = self;
        drop(puller);
        purge::everything(shared).await
    }

    /// How long the stages of the last pieces of work took, newest last.
    pub fn stages(&self) -> Vec<Stages> {
        self.shared.stages.all()
    }

    /// An owner that does not answer has ended with its pod; one that ended otherwise has not.
    fn is_gone(&self, id: &SandboxId) -> Result<(), EngineError> {
        if self.shared.pods.get(id).is_none() { Ok(()) } else { Err(EngineError::Closed) }
    }

    fn pod(&self, id: &SandboxId) -> Result<Handle, EngineError> {
        self.shared.pods.get(id).ok_or_else(|| no_sandbox(id))
    }

    async fn ask<T>(
        &self,
        id: &ContainerId,
        command: impl FnOnce(ContainerId, Reply<T>) -> Command,
    ) -> Result<T, EngineError> {
        let gone = || EngineError::NotFound { thing: "container", key: id.to_string() };
        let view = self.shared.views.container(id.as_str())?;
        let pod = self.shared.pods.get(&view.sandbox).ok_or_else(gone)?;
        pod.ask(|reply| command(id.clone(), reply)).await.unwrap_or_else(|| Err(gone()))
    }

    pub(crate) async fn target(&self, id: &ContainerId) -> Result<Target, EngineError> {
        self.ask(id, |container, reply| Command::Target { container, reply }).await
    }

    /// What fails since the container or its pod is stopped meanwhile is no failure: the state tells. The container takes its
    /// processes, its cgroup and in the end its shim away.
    pub(crate) async fn settled<T>(
        &self,
        id: &ContainerId,
        result: Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        match result {
            Err(error) if error.can_be_of_an_end() => {
                self.ask(id, |container, reply| Command::Alive { container, reply }).await?;
                Err(error)
            }
            settled => settled,
        }
    }
}

fn no_sandbox(id: &SandboxId) -> EngineError {
    EngineError::NotFound { thing: "pod sandbox", key: id.to_string() }
}
