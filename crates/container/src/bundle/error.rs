//! Why a bundle could not be run.

use std::path::{Path, PathBuf};

use berth_sys::cgroup::CgroupError;
use berth_types::{Classify, Kind};

use crate::plan::PlanError;
use crate::run::RunError;
use crate::seccomp::SeccompError;

/// Why a bundle could not be run.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file of the bundle cannot be read.
    #[error("{action} {}", path.display())]
    Io {
        /// `open` or `read`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
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
    /// The container cannot be made or started.
    #[error("the container")]
    Run(#[source] RunError),
    /// The system refused something else.
    #[error("{action}")]
    System {
        /// What.
        action: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl BundleError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| BundleError::Io { action, path, source }
    }

    pub(super) fn system<E: Into<std::io::Error>>(action: &'static str) -> impl Fn(E) -> Self {
        move |e| BundleError::System { action, source: e.into() }
    }

    /// The exit status for a command line: 127 and 126 when the command cannot be executed, else 125.
    pub fn exit_code(&self) -> i32 {
        match self {
            BundleError::Run(RunError::Exec { failure, .. }) => failure.exit_code(),
            _ => 125,
        }
    }
}

impl Classify for BundleError {
    fn kind(&self) -> Kind {
        match self {
            BundleError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Kind::NotFound,
            BundleError::Io { .. } | BundleError::System { .. } => Kind::Internal,
            BundleError::Spec(e) => e.kind(),
            BundleError::Seccomp(e) => e.kind(),
            BundleError::Machine => Kind::Unsupported,
            BundleError::Cgroup(e) => e.kind(),
            BundleError::Run(e) => e.kind(),
        }
    }
}
