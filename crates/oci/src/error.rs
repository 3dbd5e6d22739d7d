//! Why a command failed.
//!
//! Callers look for some of the words: containerd's shim and CRI-O for "does not exist", "container not running" and "process
//! already finished", podman and docker for "executable file not found", "no such file or directory" and "permission denied".

use std::path::{Path, PathBuf};

use berth_container::hook::HookError;
use berth_container::plan::PlanError;
use berth_container::run::{ExecFailure, RunError};
use berth_container::seccomp::SeccompError;
use berth_sys::cgroup::CgroupError;
use berth_types::{Classify, Kind};

use crate::record::Status;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// There is no container of that name.
    #[error("container {id:?} does not exist")]
    NotFound {
        /// The name.
        id: String,
    },
    /// The name is taken.
    #[error("container with id exists already: {id:?}")]
    Exists {
        /// The name.
        id: String,
    },
    /// The command is not for a container in this state.
    #[error("cannot {verb} container {id:?}: it is {status}, not {needed}")]
    State {
        /// What was to be done.
        verb: &'static str,
        /// The container.
        id: String,
        /// How it is.
        status: Status,
        /// How it has to be.
        needed: &'static str,
    },
    /// Nothing is there to be signalled.
    #[error("container not running: {id:?} is {status}: process already finished")]
    NotRunning {
        /// The container.
        id: String,
        /// How it is.
        status: Status,
    },
    /// Another command works on it.
    #[error("container {id:?} is busy: another command has worked on it for {seconds} seconds")]
    Busy {
        /// The container.
        id: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Its process does not react.
    #[error(
        "container {id:?}: its process has let nobody in for {seconds} seconds; is it stopped by a signal?"
    )]
    Silent {
        /// The container.
        id: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Something that this program does not do.
    #[error("{what} is not supported: {why}")]
    Refused {
        /// The option or setting.
        what: &'static str,
        /// Why, and what to do.
        why: &'static str,
    },
    /// A wrong value.
    #[error("{what}: {problem}")]
    Invalid {
        /// The option or file.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// ps(1) does not do what it is asked for.
    #[error("ps: {problem}")]
    Ps {
        /// Its words.
        problem: String,
    },
    /// The command is not in the container.
    #[error("exec {command:?}: executable file not found in $PATH")]
    NoCommand {
        /// The command.
        command: String,
    },
    /// The command is no program.
    #[error("exec {command:?}: permission denied")]
    NoProgram {
        /// The command.
        command: String,
    },
    /// A hook failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// A file or directory cannot be used.
    #[error("{action} {}", path.display())]
    Io {
        /// `open`, `read` and so on.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The system refused something else.
    #[error("{action}")]
    System {
        /// What.
        action: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// No program may be executed from memory.
    #[error("make a sealed memfd (the sysctl vm.memfd_noexec must not be 2)")]
    NoMemfd(#[source] std::io::Error),
    /// The specification is not supported.
    #[error("config.json")]
    Spec(#[from] PlanError),
    /// The seccomp profile is not supported.
    #[error("config.json: linux.seccomp")]
    Seccomp(#[from] SeccompError),
    /// There is no seccomp for this machine.
    #[error("config.json: linux.seccomp: not known for this machine's architecture")]
    Machine,
    /// The cgroup cannot be made, used or removed.
    #[error("the container's cgroup")]
    Cgroup(#[from] CgroupError),
    /// The container, or a process in it, cannot be made or started.
    #[error("the container")]
    Run(#[from] RunError),
}

impl OciError {
    pub(crate) fn io<E: Into<std::io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |e| OciError::Io { action, path, source: e.into() }
    }

    pub(crate) fn system<E: Into<std::io::Error>>(action: &'static str) -> impl Fn(E) -> Self {
        move |e| OciError::System { action, source: e.into() }
    }

    pub(crate) fn invalid(what: impl Into<String>, problem: impl std::fmt::Display) -> Self {
        OciError::Invalid { what: what.into(), problem: problem.to_string() }
    }

    /// The exit status for a command line: 127 and 126 when the command cannot be executed, else 1.
    pub fn exit_code(&self) -> i32 {
        match self {
            OciError::Run(RunError::Exec { failure, .. }) => failure.exit_code(),
            OciError::NoCommand { .. } => ExecFailure::NotFound.exit_code(),
            OciError::NoProgram { .. } => ExecFailure::Denied.exit_code(),
            _ => 1,
        }
    }
}

impl Classify for OciError {
    fn kind(&self) -> Kind {
        match self {
            OciError::NotFound { .. } | OciError::NoCommand { .. } => Kind::NotFound,
            OciError::Exists { .. } => Kind::AlreadyExists,
            OciError::NoProgram { .. } => Kind::Denied,
            OciError::State { .. } | OciError::NotRunning { .. } => Kind::Precondition,
            OciError::Busy { .. } | OciError::Silent { .. } => Kind::Timeout,
            OciError::Refused { .. } | OciError::Machine | OciError::NoMemfd(_) => Kind::Unsupported,
            OciError::Invalid { .. } => Kind::Invalid,
            OciError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Kind::NotFound,
            OciError::Hook { .. } | OciError::Ps { .. } | OciError::Io { .. } | OciError::System { .. } => {
                Kind::Internal
            }
            OciError::Spec(e) => e.kind(),
            OciError::Seccomp(e) => e.kind(),
            OciError::Cgroup(e) => e.kind(),
            OciError::Run(e) => e.kind(),
        }
    }
}
