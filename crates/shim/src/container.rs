//! One container as the shim holds it.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use berth_container::run::Prepared;
use berth_sys::cgroup::{Cgroup, OomWatch};
use berth_types::ContainerId;
use berth_types::shim::{Exit, Failure, Known, Phase};
use rustix::process::{Signal, pidfd_send_signal};

use crate::driver::{Driver, Unclaimed};
use crate::outcome::{self, Ended};
use crate::pump;
use crate::stage::Stage;

/// Where an answer goes.
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
    /// The main process; None until it is prepared.
    pub(crate) main: Option<Main>,
    /// Where all its processes are.
    pub(crate) cgroup: Cgroup,
    /// Whether memory ran out in it; None until it is prepared, and on a host that does not count.
    pub(crate) oom: Option<OomWatch>,
    /// How many of its processes had been killed for memory when its end was asked for by SIGKILL.
    pub(crate) killed: Option<u64>,
    /// Its directory for records.
    pub(crate) dir: PathBuf,
    /// What makes it, if it is not this program.
    pub(crate) driver: Option<Arc<dyn Driver>>,
    /// The master of its terminal, for its size; while it is alive.
    pub(crate) terminal: Option<OwnedFd>,
    /// Its stdio.
    pub(crate) pump: pump::Handle,
    /// When it was started (nanoseconds since 1970), or 0.
    pub(crate) started_at: i64,
    /// The caller that waits for its creation.
    pub(crate) creator: Option<Asker>,
    /// When to kill what is prepared of it once more, when it is being aborted.
    pub(crate) abort_retry: Option<Instant>,
    /// Its start, from the release to the answer.
    pub(crate) start: Option<Start>,
    /// The caller that wants it forgotten when it has ended.
    pub(crate) forgetters: Vec<Asker>,
    /// While it ends.
    pub(crate) ending: Option<Ending>,
    /// How it ended.
    pub(crate) exit: Option<Exit>,
    /// What was done to make and start it.
    pub(crate) steps: Vec<Timed>,
}

/// Something that was done, from when to when by [`clock`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timed(pub(crate) &'static str, pub(crate) u64, pub(crate) u64);

/// Nanoseconds of CLOCK_MONOTONIC, which the daemon has too.
pub(crate) fn clock() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// The main process.
#[derive(Debug)]
pub(crate) struct Main {
    /// Its id, for users and for the reaper.
    pub(crate) pid: i32,
    /// The process.
    pub(crate) pidfd: OwnedFd,
    /// Until its `execve` succeeded, or it is reaped. One that another made has none.
    pub(crate) prepared: Option<Prepared>,
}

/// What the thread that makes a container hands over.
#[derive(Debug)]
pub(crate) struct Made {
    /// The process, prepared.
    pub(crate) main: Main,
    /// Ends it, if another made it, until this container is taken over.
    pub(crate) unclaimed: Option<Unclaimed>,
    /// The master of its terminal.
    pub(crate) terminal: Option<OwnedFd>,
    /// What was done otherwise, for users.
    pub(crate) notes: Vec<String>,
    /// What watches its memory.
    pub(crate) oom: Option<OomWatch>,
    /// When it was begun, when there was a process, and when that was recorded.
    pub(crate) times: [u64; 3],
}

/// A start under way.
#[derive(Debug)]
pub(crate) struct Start {
    /// The caller that waits for it.
    pub(crate) asker: Asker,
    /// When it was asked for, by [`clock`].
    pub(crate) since: u64,
    /// When it has taken too long. None where another starts it, which has a limit of its own.
    pub(crate) deadline: Option<Instant>,
    /// Why it failed, and how that is told as an end; then the process' end is waited for.
    pub(crate) failed: Option<(Failure, Exit)>,
    /// How the process ended before what starts it said that it had.
    pub(crate) ended: Option<Ended>,
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
    /// The last report of what lives on.
    pub(crate) lingers: Option<String>,
}

/// The steps of an ending, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Kill what is left in the cgroup.
    Kill,
    /// Wait until the output is in the log.
    Drain,
    /// Wait until what made it has deleted it.
    Delete,
    /// Remove the cgroup.
    Remove,
}

impl Container {
    /// What a daemon is told of it: it has ended only when everything of it has.
    pub(crate) fn known(&self, id: &ContainerId) -> Known {
        let started_at = self.started_at;
        let phase = match (self.stage, &self.exit) {
            (_, Some(exit)) => Phase::Exited { started_at, exit: exit.clone() },
            (_, None) if started_at == 0 => Phase::Created,
            (_, None) => Phase::Running { started_at },
        };
        Known { container: id.clone(), pid: self.main.as_ref().map_or(0, |main| main.pid), phase }
    }

    /// The main process, while it is not known to be gone.
    pub(crate) fn pidfd(&self) -> Option<&OwnedFd> {
        self.main.as_ref().filter(|_| self.stage.is_alive()).map(|main| &main.pidfd)
    }

    /// Whether its processes are none of the host's.
    pub(crate) fn is_inside(&self) -> bool {
        self.driver.as_ref().is_some_and(|driver| driver.is_inside())
    }

    /// Its end is asked for by SIGKILL: from here on only what the kernel kills afterwards is killed for memory.
    pub(crate) fn is_killed(&mut self) {
        let kills = self.oom.as_ref().and_then(|oom| oom.kills().ok()).unwrap_or(0);
        self.killed.get_or_insert(kills);
    }

    /// The end of the main process with what its group tells of memory. It is read at once: who removes a group that is
    /// empty takes the counter along.
    pub(crate) fn judged(&self, exit: Exit) -> Exit {
        let Some(oom) = &self.oom else { return exit };
        let kills = oom.kills().unwrap_or(0);
        outcome::for_memory(exit, kills, self.killed, self.started_at != 0, || oom.level().to_string())
    }

    /// Kills the main process, if there is one; its end is told when it is reaped.
    pub(crate) fn kill_main(&mut self) {
        self.is_killed();
        if let (Stage::Starting, Some(driver)) = (self.stage, &self.driver) {
            driver.cancel();
        }
        if let Some(pidfd) = self.pidfd() {
            // A process that cannot be signalled has ended.
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
    }

    /// Whether a thread is making it.
    pub(crate) fn is_being_made(&self) -> bool {
        self.main.is_none() && self.stage.is_alive()
    }

    /// When something is to be done even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let start =
            self.start.as_ref().filter(|start| start.failed.is_none()).and_then(|start| start.deadline);
        self.ending.as_ref().map(|ending| ending.again).into_iter().chain(self.abort_retry).chain(start).min()
    }
}
