//! What can go wrong with a control group.

use std::io;
use std::path::PathBuf;

use berth_types::{Classify, Kind};

/// Why an operation on control groups failed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A path for a cgroup that is not relative, plain and bounded.
    #[error("cgroup path {path:?}: {why}")]
    Path {
        /// The path as it was given (shortened).
        path: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// The host has no control groups that can be used.
    #[error("control groups of this host: {why}")]
    Host {
        /// What is missing or malformed.
        why: String,
    },
    /// A setting that this host does not support.
    #[error("{setting} is not supported: {why}")]
    Unsupported {
        /// The setting, as the OCI runtime specification names it.
        setting: String,
        /// What is missing.
        why: String,
    },
    /// A setting with an invalid value.
    #[error("{setting} {value:?}: {why}")]
    Invalid {
        /// The setting, as the OCI runtime specification names it.
        setting: String,
        /// The value as it was given (shortened).
        value: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// A call on a cgroup's file or directory failed.
    #[error("{action} {}", path.display())]
    Io {
        /// `make`, `open`, `read`, ...
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The kernel refused a value.
    #[error("write {value:?} to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The value.
        value: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A file of the kernel does not look as documented.
    #[error("{}: unexpected content {text:?}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was read (shortened).
        text: String,
    },
    /// Processes are still in the group when the time is up.
    #[error("{left} processes are still in {} after killing them", path.display())]
    NotEmpty {
        /// A directory of the group.
        path: PathBuf,
        /// How many processes were seen last.
        left: usize,
    },
    /// Not every process stopped before the time was up.
    #[error("not all processes in {} could be frozen", path.display())]
    NotFrozen {
        /// The directory of the group.
        path: PathBuf,
    },
    /// There are too many groups below one to look at all of them.
    #[error("more than {limit} groups are below {}", path.display())]
    Groups {
        /// The directory of the group.
        path: PathBuf,
        /// The most that are looked at.
        limit: usize,
    },
    /// Loading or attaching the device program failed.
    #[error("device rules of {}", path.display())]
    Devices {
        /// The directory of the group.
        path: PathBuf,
        /// The reason.
        source: crate::bpf::BpfError,
    },
    /// Several steps of a teardown failed; the others were done.
    #[error("{}", join(.0))]
    Several(Vec<CgroupError>),
}

fn join(errors: &[CgroupError]) -> String {
    errors.iter().map(|e| berth_types::error::chain(e)).collect::<Vec<_>>().join("; ")
}

impl CgroupError {
    /// Shortens what others wrote before it goes into a message.
    pub(crate) fn short(text: &str) -> String {
        text.chars().take(100).collect()
    }

    /// The same error with other paths.
    pub(crate) fn with_paths(mut self, to: &dyn Fn(PathBuf) -> PathBuf) -> CgroupError {
        match &mut self {
            CgroupError::Io { path, .. }
            | CgroupError::Write { path, .. }
            | CgroupError::Content { path, .. }
            | CgroupError::NotEmpty { path, .. }
            | CgroupError::NotFrozen { path }
            | CgroupError::Groups { path, .. }
            | CgroupError::Devices { path, .. } => *path = to(std::mem::take(path)),
            CgroupError::Several(errors) => {
                let others = std::mem::take(errors).into_iter().map(|error| error.with_paths(to));
                *errors = others.collect();
            }
            CgroupError::Path { .. }
            | CgroupError::Host { .. }
            | CgroupError::Unsupported { .. }
            | CgroupError::Invalid { .. } => {}
        }
        self
    }

    /// One error for a list of them, or success.
    pub(crate) fn all(mut errors: Vec<CgroupError>) -> Result<(), CgroupError> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(CgroupError::Several(errors)),
        }
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(rustix::io::Errno) -> CgroupError {
        let path = path.into();
        move |errno| CgroupError::Io { action, path, source: errno.into() }
    }
}

impl Classify for CgroupError {
    fn kind(&self) -> Kind {
        match self {
            CgroupError::Path { .. } | CgroupError::Invalid { .. } => Kind::Invalid,
            CgroupError::Host { .. } => Kind::Precondition,
            CgroupError::Unsupported { .. } => Kind::Unsupported,
            CgroupError::Write { source, .. } | CgroupError::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Kind::NotFound,
                io::ErrorKind::InvalidInput => Kind::Invalid,
                io::ErrorKind::PermissionDenied => Kind::Denied,
                _ => Kind::Internal,
            },
            CgroupError::Groups { .. } => Kind::Exhausted,
            CgroupError::NotEmpty { .. } | CgroupError::NotFrozen { .. } => Kind::Timeout,
            CgroupError::Content { .. } | CgroupError::Devices { .. } => Kind::Internal,
            CgroupError::Several(errors) => errors.first().map_or(Kind::Internal, Classify::kind),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            CgroupError::Host { .. } => Some("is /sys/fs/cgroup mounted?".to_owned()),
            CgroupError::Write { path, source, .. }
                if path.ends_with("cgroup.subtree_control") && source.raw_os_error() == Some(libc::EBUSY) =>
            {
                Some("the cgroup has processes of its own: move them to a child of it".to_owned())
            }
            _ => None,
        }
    }
}
