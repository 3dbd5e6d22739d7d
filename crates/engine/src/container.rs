//! One container of a pod, as the pod's owner task knows it.
//!
//! ```text
//! create   image, snapshot, specification, plan, cgroup, prepared process     exit     how it ended, for callers
//! start    released by the shim                                              exec     further processes, attach
//! stop     its stop signal, then SIGKILL, by the shim or by the cgroup        session  their streams
//! remove   everything but its log                                            update   its limits
//!                                                                            pause    all of it, where it is
//! ```

pub(crate) mod adjust;
mod adjusted;
mod cdi;
mod create;
pub(crate) mod exec;
pub(crate) mod exit;
mod hooks;
pub(crate) mod kernel;
mod limits;
pub(crate) mod pause;
pub(crate) mod processes;
pub(crate) mod remove;
pub(crate) mod session;
pub(crate) mod start;
pub(crate) mod stop;
mod storage;
mod sub_paths;
pub(crate) mod update;
mod volumes;

use std::path::PathBuf;
use std::sync::Arc;

use berth_sys::cgroup::CgroupPath;
use berth_types::lifecycle::container::{Container, State};
use berth_types::{ContainerId, SandboxId};
use tokio::sync::Semaphore;

use crate::model::{ContainerConfig, ContainerUser, ContainerView, EnvVar, SeccompChoice};
use crate::oci::signal;
use crate::sandbox::Live;
pub(crate) use create::{Made, Work as Preparation, is_same};
use exit::Exit;
use update::Limits;
pub(crate) use volumes::detached;

/// What a container has from the beginning, whatever its state.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) config: Arc<ContainerConfig>,
    pub(crate) created_at: i64,
    /// The main process, as its shim told.
    pub(crate) pid: Option<i32>,
    pub(crate) limits: Limits,
    /// A turn for each exec session that is being begun.
    pub(crate) turns: Arc<Semaphore>,
}

/// What the preparation of a container found out.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) image_id: String,
    pub(crate) image_ref: String,
    pub(crate) log_path: Option<PathBuf>,
    pub(crate) user: ContainerUser,
    pub(crate) stop_signal: i32,
    /// None where the container has no group of its own.
    pub(crate) cgroup: Option<CgroupPath>,
    /// The process that exec sessions begin from.
    pub(crate) process: oci_spec::runtime::Process,
    pub(crate) raw_env: Vec<EnvVar>,
    /// The seccomp profile that plugins gave in the place of the one that was asked for.
    pub(crate) seccomp: Option<SeccompChoice>,
}

impl Item {
    pub(crate) fn new(config: Arc<ContainerConfig>, created_at: i64) -> Self {
        let limits = Limits::new(config.resources.clone());
        Self { config, created_at, pid: None, limits, turns: exec::turns() }
    }

    /// What callers see; None while it is being created.
    pub(crate) fn view(
        &self,
        id: &ContainerId,
        sandbox: &SandboxId,
        life: &Container<Live>,
    ) -> Option<ContainerView> {
        life.seen().listed()?;
        self.any_view(id, sandbox, life)
    }

    /// The same of one that is being removed, too.
    pub(crate) fn any_view(
        &self,
        id: &ContainerId,
        sandbox: &SandboxId,
        life: &Container<Live>,
    ) -> Option<ContainerView> {
        let state = life.seen();
        let facts = life.facts()?;
        let started_at = life.started_at();
        let runs = matches!(
            state,
            State::Created | State::Starting | State::Running | State::Stopping { .. } | State::Unknown
        );
        Some(ContainerView {
            id: id.clone(),
            sandbox: sandbox.clone(),
            config: Arc::clone(&self.config),
            state,
            created_at: self.created_at,
            started_at,
            exit: life.exit().map(|exit: &Exit| exit.view(started_at)),
            pid: self.pid.filter(|_| runs),
            image_id: facts.image_id.clone(),
            image_ref: facts.image_ref.clone(),
            log_path: facts.log_path.clone(),
            resources: self.limits.now().clone(),
            user: facts.user.clone(),
            stop_signal: signal::name(facts.stop_signal),
            cgroup: facts.cgroup.as_ref().map(ToString::to_string).unwrap_or_default(),
        })
    }
}
