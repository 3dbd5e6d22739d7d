//! How a container ended.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use berth_types::shim::record as shim_record;
use berth_types::{ContainerId, shim};

use crate::host::clock;
use crate::host::layout::PodDir;
use crate::host::record::{self, EndRecord};
use crate::model::{ExitReason, ExitView};
use crate::oci::signal;

/// How a container ended, as it was reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exit {
    /// By its shim, which has recorded it.
    Told(shim::Exit),
    /// Without its shim: when it was noticed (nanoseconds since 1970), and why nothing more is known.
    Noticed {
        /// When.
        at: i64,
        /// Why.
        message: String,
    },
}

impl Exit {
    /// The end that no process saw, noticed now.
    pub(crate) fn noticed(message: impl Into<String>) -> Self {
        Exit::Noticed { at: clock::now(), message: message.into() }
    }

    /// The end of a container whose command could not be executed, when the shim told no more than that.
    pub(crate) fn not_started(message: String) -> Self {
        Exit::Told(shim::Exit { code: 128, signal: None, at: clock::now(), oom_killed: false, message })
    }

    /// How it looks to callers. One that never ran and says why could not be started.
    pub(crate) fn view(&self, started_at: Option<i64>) -> ExitView {
        match self {
            Exit::Told(exit) => told(exit, started_at.is_none()),
            Exit::Noticed { at, message } => ExitView {
                code: 255,
                finished_at: *at,
                reason: ExitReason::Unknown,
                message: message.clone(),
            },
        }
    }
}

impl From<EndRecord> for Exit {
    fn from(end: EndRecord) -> Self {
        Exit::Noticed { at: end.at, message: end.message }
    }
}

/// The status of a process that SIGKILL ended, and of a shell whose command it ended.
const KILLED: i32 = 128 + signal::KILL;

fn told(exit: &shim::Exit, never_ran: bool) -> ExitView {
    let failed_to_start = never_ran && !exit.message.is_empty();
    let reason = if failed_to_start {
        ExitReason::StartError
    } else if exit.code == 0 {
        // A child that ran out of memory did not make the container fail.
        ExitReason::Completed
    } else if exit.oom_killed && exit.code == KILLED {
        ExitReason::OomKilled
    } else {
        ExitReason::Error
    };
    let code = if failed_to_start && exit.code == 0 { 128 } else { exit.code };
    ExitView { code, finished_at: exit.at, reason, message: exit.message.clone() }
}

/// The end in a container's directory as its shim has written it: when it was started, and how it ended. None when
/// there is none that can be read.
pub(crate) fn read(dir: &Path) -> Option<(Option<i64>, Exit)> {
    let bytes = record::read_bytes(&dir.join(shim_record::EXIT)).ok()??;
    let record: shim_record::Exited = shim_record::decode(&bytes).ok()?;
    Some((Some(record.started_at).filter(|at| *at != 0), Exit::Told(record.exit)))
}

/// Where the end of a container is looked for, and recorded when no shim has.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) dir: PodDir,
    /// Held by the one that changes a record.
    pub(crate) records: Arc<Mutex<()>>,
}

impl Place {
    /// How a container ended of which nothing lives: as its shim has written it, as it was noticed before, or for `why`. An
    /// end that is noticed now is recorded before it is reported. `started_at` is what is known so far.
    pub(crate) fn settle(&self, id: &ContainerId, started_at: Option<i64>, why: &str) -> (Option<i64>, Exit) {
        if let Some(told) = read(&self.dir.container(id)) {
            return told;
        }
        let noticed = EndRecord { started_at, at: clock::now(), message: why.to_owned() };
        let _one_writer = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let end = record::keep_end(&self.dir.container_record(id), noticed.clone());
        let end = end.unwrap_or_else(|error| {
            tracing::warn!(container = id.short(), %error, "failed to record the end of a container");
            noticed
        });
        (end.started_at, Exit::from(end))
    }
}

#[cfg(test)]
mod tests;
