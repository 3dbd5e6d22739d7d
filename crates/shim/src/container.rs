//! One container as the shim holds it.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Instant;

use berth_container::run::Prepared;
use berth_sys::cgroup::Cgroup;
use berth_types::ContainerId;
use berth_types::shim::{Exit, Failure, Known, Phase};

use crate::pump;
use crate::stage::Stage;

/// Whom to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    /// The connection.
    pub(crate) connection: u64,
    /// The request's number.
    pub(crate) number: u64,
}

/// One container.
#[derive(Debug)]
pub(crate) struct Container {
    /// How far it is.
    pub(crate) stage: Stage,
    /// The main process' id, for people and for the reaper.
    pub(crate) pid: i32,
    /// The main process.
    pub(crate) pidfd: OwnedFd,
    /// Until it is started.
    pub(crate) prepared: Option<Prepared>,
    /// Where all its processes are.
    pub(crate) cgroup: Cgroup,
    /// Its directory for records.
    pub(crate) dir: PathBuf,
    /// The master of its terminal, for its size; while it is alive.
    pub(crate) terminal: Option<OwnedFd>,
    /// Its stdio.
    pub(crate) pump: pump::Handle,
    /// When it was started (nanoseconds since 1970), or 0.
    pub(crate) started_at: i64,
    /// Who waits for its creation.
    pub(crate) creator: Option<Asker>,
    /// Who waits to hear that it could not be started.
    pub(crate) starter: Option<(Asker, Failure)>,
    /// Who wants it forgotten when it has ended.
    pub(crate) forgetters: Vec<Asker>,
    /// While it ends.
    pub(crate) ending: Option<Ending>,
    /// How it ended.
    pub(crate) exit: Option<Exit>,
}

/// What is still to be done for a container whose main process is gone.
#[derive(Debug)]
pub(crate) struct Ending {
    /// How the main process ended; what is found out on the way is added.
    pub(crate) exit: Exit,
    /// The step it is at.
    pub(crate) step: Step,
    /// When the step began.
    pub(crate) since: Instant,
    /// When to look again, if nothing else happens.
    pub(crate) again: Instant,
}

/// The steps of an ending, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Kill what is left in the cgroup.
    Kill,
    /// Wait until the output is in the log.
    Drain,
    /// Remove the cgroup.
    Remove,
}

impl Container {
    /// What a daemon is told of it. What has not ended in every respect has not ended.
    pub(crate) fn known(&self, id: &ContainerId) -> Known {
        let started_at = self.started_at;
        let phase = match (self.stage, &self.exit) {
            (_, Some(exit)) => Phase::Exited { started_at, exit: exit.clone() },
            (_, None) if started_at == 0 => Phase::Created,
            (_, None) => Phase::Running { started_at },
        };
        Known { container: id.clone(), pid: self.pid, phase }
    }
}
