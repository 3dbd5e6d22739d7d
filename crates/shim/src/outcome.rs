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
    Failure { reason: Reason::Refused, message: chain(error) }
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
