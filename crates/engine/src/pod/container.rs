//! What a pod's owner knows of one container.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use berth_sys::cgroup::CgroupPath;
use berth_types::lifecycle::container::{Event, State, next};
use berth_types::shim::Exit;
use berth_types::{ContainerId, SandboxId};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Waiter;
use crate::error::EngineError;
use crate::model::{ContainerConfig, ContainerUser, ContainerView, EnvVar, ExitReason, ExitView, Resources};
use crate::oci::signal;
use crate::record::EndRecord;

/// A container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    pub(crate) config: Arc<ContainerConfig>,
    pub(crate) state: State,
    pub(crate) created_at: i64,
    pub(crate) started_at: Option<i64>,
    pub(crate) exit: Option<ExitView>,
    pub(crate) pid: Option<i32>,
    /// What creation found out; None while it is being created.
    pub(crate) facts: Option<Arc<Facts>>,
    pub(crate) resources: Resources,
    pub(crate) work: Work,
}

/// What the creation of a container found out.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) image_id: String,
    pub(crate) image_ref: String,
    pub(crate) log_path: Option<PathBuf>,
    pub(crate) user: ContainerUser,
    pub(crate) stop_signal: i32,
    pub(crate) cgroup: CgroupPath,
    /// The process that exec sessions begin from.
    pub(crate) process: oci_spec::runtime::Process,
    pub(crate) raw_env: Vec<EnvVar>,
}

/// Work in flight for a container, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) creating: Option<Vec<Waiter<ContainerId>>>,
    /// The end, when it was told before the creation was over: its pod was stopped meanwhile, say.
    pub(crate) ended: Option<Exit>,
    pub(crate) starting: Option<Starting>,
    pub(crate) stopping: Option<Stopping>,
    pub(crate) removing: Option<Vec<Waiter<()>>>,
    /// Changes of limits that wait for the one in flight; None when there is none.
    pub(crate) updating: Option<VecDeque<(Box<Resources>, Waiter<()>)>>,
}

/// A start in flight.
#[derive(Debug)]
pub(crate) struct Starting {
    pub(crate) waiters: Vec<Waiter<()>>,
    /// The end, when it was told before the answer to the start: the answer says what kind of end it is.
    pub(crate) ended: Option<Exit>,
}

/// A stop in flight.
#[derive(Debug)]
pub(crate) struct Stopping {
    pub(crate) waiters: Vec<Waiter<()>>,
    /// When it is killed; a later stop may bring it forward.
    pub(crate) deadline: watch::Sender<Instant>,
}

impl Container {
    /// One that is being created.
    pub(crate) fn creating(
        id: ContainerId,
        config: Arc<ContainerConfig>,
        created_at: i64,
        waiter: Waiter<ContainerId>,
    ) -> Self {
        let resources = config.resources.clone();
        Self {
            id,
            config,
            state: State::Creating,
            created_at,
            started_at: None,
            exit: None,
            pid: None,
            facts: None,
            resources,
            work: Work { creating: Some(vec![waiter]), ..Work::default() },
        }
    }

    /// Asks the table and takes the new state.
    pub(crate) fn apply(&mut self, event: Event) -> Result<State, EngineError> {
        let to = next(self.state, event).map_err(|refused| EngineError::Refused {
            thing: "container",
            id: self.id.short().to_owned(),
            refused,
        })?;
        if to != self.state {
            tracing::debug!(
                container = self.id.short(),
                from = self.state.word(),
                to = to.word(),
                "container"
            );
        }
        self.state = to;
        Ok(to)
    }

    /// Whether processes of it may exist.
    pub(crate) fn alive(&self) -> bool {
        match self.state {
            State::Created | State::Starting | State::Running | State::Stopping { .. } | State::Unknown => {
                true
            }
            State::Creating | State::Exited | State::Removing | State::Gone => false,
        }
    }

    /// What callers see; None while it is being created.
    pub(crate) fn view(&self, sandbox: &SandboxId) -> Option<ContainerView> {
        self.state.listed()?;
        let facts = self.facts.as_ref()?;
        Some(ContainerView {
            id: self.id.clone(),
            sandbox: sandbox.clone(),
            config: Arc::clone(&self.config),
            state: self.state,
            created_at: self.created_at,
            started_at: self.started_at,
            exit: self.exit.clone(),
            pid: self.pid.filter(|_| self.alive()),
            image_id: facts.image_id.clone(),
            image_ref: facts.image_ref.clone(),
            log_path: facts.log_path.clone(),
            resources: self.resources.clone(),
            user: facts.user.clone(),
            stop_signal: signal::name(facts.stop_signal),
            cgroup: facts.cgroup.to_string(),
        })
    }
}

/// The status of a process that SIGKILL ended, and of a shell whose command it ended.
const KILLED: i32 = 128 + signal::KILL;

/// How an end looks to callers. One that never ran and says why could not be started.
pub(crate) fn exit_view(exit: &Exit, never_ran: bool) -> ExitView {
    let reason = if never_ran && !exit.message.is_empty() {
        ExitReason::StartError
    } else if exit.code == 0 {
        // A child that ran out of memory did not make the container fail.
        ExitReason::Completed
    } else if exit.oom_killed && exit.code == KILLED {
        ExitReason::OomKilled
    } else {
        ExitReason::Error
    };
    ExitView { code: exit.code, finished_at: exit.at, reason, message: exit.message.clone() }
}

/// The end that nobody saw: the shim is gone and left no record.
pub(crate) fn unknown_exit(message: &str) -> ExitView {
    ExitView {
        code: 255,
        finished_at: crate::clock::now(),
        reason: ExitReason::Unknown,
        message: message.to_owned(),
    }
}

/// The end that nobody saw, as it was written down when it was noticed.
pub(crate) fn noted_exit(end: &EndRecord) -> ExitView {
    ExitView { finished_at: end.at, ..unknown_exit(&end.message) }
}

/// The end of a container as its shim's record on disk has it.
#[derive(Debug)]
pub(crate) struct ExitOf {
    pub(crate) started_at: Option<i64>,
    pub(crate) view: ExitView,
}

impl ExitOf {
    /// Reads the record in a container's directory; None when there is none that can be read.
    pub(crate) fn read(dir: &std::path::Path) -> Option<Self> {
        use berth_types::shim::record as shim_record;
        let bytes = crate::record::read_bytes(&dir.join(shim_record::EXIT)).ok()??;
        let record: shim_record::Exited = shim_record::decode(&bytes).ok()?;
        let started_at = Some(record.started_at).filter(|at| *at != 0);
        Some(Self { started_at, view: exit_view(&record.exit, started_at.is_none()) })
    }
}

#[cfg(test)]
mod tests;
