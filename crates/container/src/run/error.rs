//! Why a plan could not be executed.

use berth_sys::cgroup::Cgroup;
use berth_types::{Classify, Kind};

/// Why `create`, `start` or `exec` failed. Nothing of the container is left behind then.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan refers to something that was not given, or has values that no kernel accepts.
    #[error("the plan cannot be executed: {what}")]
    Plan {
        /// What is wrong.
        what: String,
    },
    /// A step failed, in the parent or in the new process.
    #[error("{step}")]
    Step {
        /// The step with its subject: `mount tmpfs on /dev`.
        step: String,
        /// Why.
        source: std::io::Error,
    },
    /// The command cannot be executed.
    #[error("exec {command:?}: {failure}")]
    Exec {
        /// The command as the plan has it.
        command: String,
        /// Which way.
        failure: ExecFailure,
        /// Why.
        source: std::io::Error,
    },
    /// The new process did not get ready in time, most likely because of a disk or file server that hangs. It was killed.
    #[error("the process was not prepared within {seconds} seconds")]
    Slow {
        /// How long it had.
        seconds: u64,
    },
    /// The kernel's out-of-memory killer ended the new process.
    #[error("the memory limit of {limit} bytes is too small to start the container")]
    Memory {
        /// The limit of its cgroup, in bytes.
        limit: u64,
    },
    /// The new process ended before it was prepared and without a report: killed, most likely.
    #[error("the process ended before {before} (killed?)")]
    Died {
        /// What was waited for.
        before: &'static str,
    },
}

/// The failures of `execve` that callers distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecFailure {
    /// There is no such file (or its interpreter is missing).
    NotFound,
    /// It may not be executed.
    Denied,
    /// It is not an executable for this machine.
    Format,
    /// Anything else.
    Other,
}

impl ExecFailure {
    /// The exit status that shells and docker give: 127 when it was not found, 126 otherwise.
    pub fn exit_code(self) -> i32 {
        match self {
            ExecFailure::NotFound => 127,
            ExecFailure::Denied | ExecFailure::Format | ExecFailure::Other => 126,
        }
    }
}

impl std::fmt::Display for ExecFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ExecFailure::NotFound => "not found in the container",
            ExecFailure::Denied => "permission denied",
            ExecFailure::Format => "not an executable for this machine",
            ExecFailure::Other => "failed",
        })
    }
}

impl RunError {
    /// What a container that could not be created died of, where its new cgroup tells more: the memory limit.
    #[must_use]
    pub fn because_of(self, cgroup: &Cgroup) -> Self {
        let no_memory = match &self {
            RunError::Died { .. } => true,
            RunError::Step { source, .. } => {
                source.raw_os_error() == Some(rustix::io::Errno::NOMEM.raw_os_error())
            }
            RunError::Plan { .. }
            | RunError::Exec { .. }
            | RunError::Slow { .. }
            | RunError::Memory { .. } => false,
        };
        let limit = || cgroup.memory_limit().ok()?;
        match no_memory && cgroup.oom_kills().is_ok_and(|kills| kills > 0) {
            true => limit().map_or(self, |limit| RunError::Memory { limit }),
            false => self,
        }
    }
}

impl Classify for RunError {
    fn kind(&self) -> Kind {
        match self {
            RunError::Plan { .. } | RunError::Memory { .. } => Kind::Invalid,
            RunError::Slow { .. } => Kind::Timeout,
            RunError::Step { .. } | RunError::Died { .. } => Kind::Internal,
            RunError::Exec { failure, .. } => match failure {
                ExecFailure::NotFound => Kind::NotFound,
                ExecFailure::Denied => Kind::Denied,
                ExecFailure::Format => Kind::Invalid,
                ExecFailure::Other => Kind::Internal,
            },
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            RunError::Step { source, .. }
                if source.raw_os_error() == Some(rustix::io::Errno::NOSYS.raw_os_error()) =>
            {
                Some("this needs Linux 5.12 or newer".into())
            }
            RunError::Exec { failure: ExecFailure::NotFound, .. } => {
                Some("check the command, the PATH of the image, and the interpreter of a script".into())
            }
            RunError::Memory { .. } => Some("a small program needs about 2 MiB; set a higher limit".into()),
            RunError::Plan { .. }
            | RunError::Step { .. }
            | RunError::Exec { .. }
            | RunError::Slow { .. }
            | RunError::Died { .. } => None,
        }
    }
}
