//! The handle that callers hold. Methods that change something hand the work to the pod's owner
//! task and wait for its answer; dropping the future gives up the answer, never the work. Methods
//! that look read published snapshots and never wait.

use std::sync::Arc;
use std::time::Duration;

use berth_types::{ContainerId, SandboxId};

use crate::config::EngineConfig;
use crate::error::EngineError;
use crate::events::Events;
use crate::model::{
    ContainerConfig, ContainerView, ExecOutput, Owner, Resources, SandboxConfig, SandboxView,
};
use crate::session::{AttachSession, ExecRequest, ExecSession};
use crate::status::{Finding, NetworkStatus, Stages};

/// The engine. Clones are cheap and share everything.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: EngineConfig,
    events: tokio::sync::broadcast::Sender<crate::events::Stamped>,
}

fn later<T>() -> Result<T, EngineError> {
    Err(EngineError::unsupported("engine", "not built yet"))
}

impl Engine {
    /// Opens the stores, finds the pods that run, and answers when the picture is complete.
    pub async fn open(config: EngineConfig) -> Result<Engine, EngineError> {
        let (events, _) = tokio::sync::broadcast::channel(crate::events::CAPACITY);
        Ok(Engine { inner: Arc::new(Inner { config, events }) })
    }

    /// What the engine was opened with.
    pub fn config(&self) -> &EngineConfig {
        &self.inner.config
    }

    /// Makes a sandbox and answers when it is up, with its addresses. A second request with the
    /// same metadata and configuration gets the same answer.
    ///
    /// Errors: `AlreadyExists` for the same metadata with another configuration or on a stopped
    /// sandbox; `Invalid` or `Unsupported` with the field for what cannot be obeyed.
    pub async fn run_sandbox(&self, _config: SandboxConfig) -> Result<SandboxId, EngineError> {
        later()
    }

    /// Ends every container and takes the network down. Stopping what is stopped is success.
    pub async fn stop_sandbox(&self, _id: &SandboxId) -> Result<(), EngineError> {
        later()
    }

    /// Stops what still runs and removes everything of the sandbox but its logs.
    pub async fn remove_sandbox(&self, _id: &SandboxId) -> Result<(), EngineError> {
        later()
    }

    /// Prepares a container up to just before its `execve`. A second request with the same metadata
    /// and configuration gets the same answer.
    pub async fn create_container(
        &self,
        _sandbox: &SandboxId,
        _config: ContainerConfig,
    ) -> Result<ContainerId, EngineError> {
        later()
    }

    /// Releases a prepared container; answers when its command runs. When the command cannot be
    /// executed the error is `Command` and the container is exited with reason StartError.
    pub async fn start_container(&self, _id: &ContainerId) -> Result<(), EngineError> {
        later()
    }

    /// Asks a container to end with its stop signal, kills it after `grace`, and answers when its
    /// processes and its cgroup are gone. Zero kills at once. A second call with a shorter time wins.
    pub async fn stop_container(&self, _id: &ContainerId, _grace: Duration) -> Result<(), EngineError> {
        later()
    }

    /// Kills a container if it runs and removes everything of it but its log.
    pub async fn remove_container(&self, _id: &ContainerId) -> Result<(), EngineError> {
        later()
    }

    /// Changes limits. Unset fields keep their value.
    pub async fn update_resources(
        &self,
        _id: &ContainerId,
        _resources: Resources,
    ) -> Result<(), EngineError> {
        later()
    }

    /// Runs a command in a running container and gives its output. None waits for ever.
    ///
    /// Errors: `Timeout` when the time ran out (the process is killed); a status other than 0 is
    /// not an error.
    pub async fn exec_sync(
        &self,
        _id: &ContainerId,
        _argv: Vec<String>,
        _timeout: Option<Duration>,
    ) -> Result<ExecOutput, EngineError> {
        later()
    }

    /// Runs a command in a running container with its streams. Dropping the session kills it.
    pub async fn exec(&self, _id: &ContainerId, _request: ExecRequest) -> Result<ExecSession, EngineError> {
        later()
    }

    /// Joins the stdio of a running container.
    pub async fn attach(&self, _id: &ContainerId) -> Result<AttachSession, EngineError> {
        later()
    }

    /// Opens a container's log file again by its path. On failure the old file stays in use.
    pub async fn reopen_log(&self, _id: &ContainerId) -> Result<(), EngineError> {
        later()
    }

    /// The sandboxes of an owner, or all, newest first. Half-made ones are not among them.
    pub fn sandboxes(&self, _owner: Option<Owner>) -> Vec<Arc<SandboxView>> {
        Vec::new()
    }

    /// The containers of an owner's sandboxes, or all, newest first. Half-made ones are not among them.
    pub fn containers(&self, _owner: Option<Owner>) -> Vec<Arc<ContainerView>> {
        Vec::new()
    }

    /// The sandbox with this id or beginning of an id.
    pub fn sandbox(&self, key: &str) -> Result<Arc<SandboxView>, EngineError> {
        Err(EngineError::NotFound { thing: "pod sandbox", key: key.to_owned() })
    }

    /// The container with this id or beginning of an id.
    pub fn container(&self, key: &str) -> Result<Arc<ContainerView>, EngineError> {
        Err(EngineError::NotFound { thing: "container", key: key.to_owned() })
    }

    /// Whether pods of `owner` can get their network.
    pub fn network_status(&self, _owner: Owner) -> NetworkStatus {
        NetworkStatus { ready: true, reason: String::new(), message: String::new() }
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        Events::new(self.inner.events.subscribe())
    }

    /// Looks for everything that belongs to no pod, and pods that lack something.
    pub async fn doctor(&self) -> Vec<Finding> {
        Vec::new()
    }

    /// Stops and removes everything of this instance: pods, network, cgroups, directories. Goes on
    /// past failures and gives them all.
    pub async fn purge(self) -> Vec<EngineError> {
        Vec::new()
    }

    /// How long the stages of the last pieces of work took, newest last.
    pub fn stages(&self) -> Vec<Stages> {
        Vec::new()
    }
}
