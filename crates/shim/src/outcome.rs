//! How a process ended, in the protocol's types.

use berth_container::run::RunError;
use berth_types::error::chain;
use berth_types::shim::{Exit, Failure, Reason};
use rustix::process::{WaitIdStatus, WaitStatus};

/// The exit status when the command never ran and the reason is not the command itself, as containerd has it.
const NOT_STARTED: i32 = 128;

/// How a child ended, from any of the wait calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    code: Option<i32>,
    signal: Option<i32>,
}

impl Ended {
    /// With this status.
    pub(crate) fn with(code: i32) -> Self {
        Self { code: Some(code), signal: None }
    }

    /// Killed by this signal.
    pub(crate) fn by(signal: rustix::process::Signal) -> Self {
        Self { code: None, signal: Some(signal.as_raw()) }
    }
}

impl From<WaitStatus> for Ended {
    fn from(status: WaitStatus) -> Self {
        Self { code: status.exit_status(), signal: status.terminating_signal() }
    }
}

impl From<WaitIdStatus> for Ended {
    fn from(status: WaitIdStatus) -> Self {
        Self { code: status.exit_status(), signal: status.terminating_signal() }
    }
}

/// The status as a shell gives it, and the signal if one ended the process.
pub(crate) fn code(ended: Ended) -> (i32, Option<i32>) {
    match (ended.code, ended.signal) {
        (_, Some(signal)) => (128 + signal, Some(signal)),
        (Some(code), None) => (code, None),
        // Neither: not an end at all; the kernel reports none when none is asked for.
        (None, None) => (255, None),
    }
}

/// The end of a process with this status at this time.
pub(crate) fn exit(ended: Ended, at: i64) -> Exit {
    let (code, signal) = code(ended);
    Exit { code, signal, at, oom_killed: false, message: String::new() }
}

/// The status of a process that SIGKILL ended, and of a shell whose command it ended.
const KILLED: i32 = 128 + 9;

/// The end of a container's main process where the kernel killed `kills` of the container's processes because memory
/// ran out: `killed` of them before the end was asked for by SIGKILL. `level` says which limit was met.
pub(crate) fn for_memory(
    mut exit: Exit,
    kills: u64,
    killed: Option<u64>,
    ran: bool,
    level: impl FnOnce() -> String,
) -> Exit {
    exit.oom_killed = kills > 0 && killed != Some(kills);
    // A message of one that never ran says why it could not be started.
    if exit.oom_killed && exit.code != 0 && ran && exit.message.is_empty() {
        exit.message = match exit.code {
            KILLED => format!("memory ran out: {}", level()),
            _ => format!("a process of the container was killed before, since memory ran out: {}", level()),
        };
    }
    exit
}

/// The end of a container that could not be started.
pub(crate) fn not_started(error: &RunError, at: i64) -> Exit {
    let code = match error {
        RunError::Exec { failure, .. } => failure.exit_code(),
        RunError::Plan { .. }
        | RunError::Step { .. }
        | RunError::Slow { .. }
        | RunError::Memory { .. }
        | RunError::Died { .. } => NOT_STARTED,
    };
    Exit { code, signal: None, at, oom_killed: false, message: chain(error) }
}

/// The answer to a Create or Start that failed.
pub(crate) fn refused(error: &RunError) -> Failure {
    // One that was killed had its pod stopped beside it, most likely.
    let reason = if matches!(error, RunError::Died { .. }) { Reason::State } else { Reason::Refused };
    Failure { reason, message: chain(error) }
}

/// The answer to an Exec that failed.
pub(crate) fn exec_refused(error: &RunError) -> Failure {
    let reason = match error {
        RunError::Exec { failure, .. } if failure.exit_code() == 127 => Reason::CommandNotFound,
        RunError::Exec { .. } => Reason::CommandDenied,
        RunError::Plan { .. }
        | RunError::Step { .. }
        | RunError::Slow { .. }
        | RunError::Memory { .. }
        | RunError::Died { .. } => Reason::Refused,
    };
    Failure { reason, message: chain(error) }
}

/// A failure of the system, with what was tried.
pub(crate) fn system(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure { reason: Reason::System, message: format!("{what}: {}", chain(error)) }
}

/// A failure with a reason and its text.
pub(crate) fn failure(reason: Reason, message: impl Into<String>) -> Failure {
    Failure { reason, message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_container::run::ExecFailure;

    fn failed(failure: ExecFailure) -> RunError {
        let source = std::io::ErrorKind::NotFound.into();
        RunError::Exec { command: "/nothing".to_owned(), failure, source }
    }

    /// contract 22: status 137 alone proves nothing, and a child that was killed does not make its parent killed.
    #[test]
    fn memory_is_the_reason_only_of_what_the_kernel_killed_for_it() {
        let killed = || exit(Ended::by(rustix::process::Signal::KILL), 1);
        let ended = |code| exit(Ended { code: Some(code), signal: None }, 1);
        let level = || "the level".to_owned();
        let judged = |exit, kills, asked, ran| {
            let exit = for_memory(exit, kills, asked, ran, level);
            (exit.oom_killed, exit.message)
        };
        assert_eq!(judged(killed(), 0, None, true), (false, String::new()));
        assert_eq!(judged(killed(), 1, None, true), (true, "memory ran out: the level".to_owned()));
        // Killed on request, long after a child was killed for memory, and the other way round.
        assert_eq!(judged(killed(), 1, Some(1), true), (false, String::new()));
        assert!(judged(killed(), 1, Some(0), true).0);
        let (oom, message) = judged(ended(3), 1, None, true);
        assert!(oom && message.starts_with("a process of the container was killed before"), "{message}");
        assert_eq!(judged(ended(0), 1, None, true), (true, String::new()));
        assert_eq!(judged(killed(), 1, None, false), (true, String::new()), "it never ran");
    }

    #[test]
    fn a_command_that_cannot_run_has_a_shells_status() {
        for (why, code, reason) in [
            (ExecFailure::NotFound, 127, Reason::CommandNotFound),
            (ExecFailure::Denied, 126, Reason::CommandDenied),
            (ExecFailure::Format, 126, Reason::CommandDenied),
            (ExecFailure::Other, 126, Reason::CommandDenied),
        ] {
            let exit = not_started(&failed(why), 5);
            assert_eq!((exit.code, exit.at), (code, 5));
            assert!(exit.message.contains("/nothing"), "{}", exit.message);
            assert_eq!(exec_refused(&failed(why)).reason, reason);
        }
        let died = RunError::Died { before: "exec" };
        assert_eq!(not_started(&died, 0).code, 128);
        assert_eq!(exec_refused(&died).reason, Reason::Refused);
    }
}
