//! What can go wrong in the store.

use std::path::PathBuf;

use berth_types::{Classify, Digest, Kind};

/// An operation of the store failed. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has this store open.
    #[error("image store {0}: another process has it open")]
    Locked(PathBuf),
    /// A system call failed.
    #[error("{operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A record or blob on disk is damaged.
    #[error("image store: {path} is damaged: {reason}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Written by a newer Berth, in a format that this one would misread.
    #[error("image store: {path} is of version {version}, this program knows up to {known}")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// No such image.
    #[error("image {0:?} not found")]
    NotFound(String),
    /// A prefix that several images have, or a short name that several repositories have.
    #[error("{name:?} is ambiguous: it matches {candidates}")]
    Ambiguous {
        /// What was asked.
        name: String,
        /// What it could be.
        candidates: String,
    },
    /// The image's configuration is not acceptable.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// Manifest and configuration do not fit together, or a digest is wrong.
    #[error("image: {0}")]
    Invalid(String),
    /// A blob is not what its digest or size says.
    #[error("blob {digest}: {reason}")]
    Blob {
        /// The digest expected.
        digest: Digest,
        /// What arrived instead.
        reason: String,
    },
    /// A layer cannot be unpacked.
    #[error("layer {blob}: {reason}")]
    Layer {
        /// The blob.
        blob: Digest,
        /// The entry and what is wrong with it.
        reason: String,
        /// What a caller may act on.
        kind: Kind,
    },
    /// The container has no snapshot.
    #[error("container {0} has no snapshot")]
    NoSnapshot(berth_types::ContainerId),
    /// The container has a snapshot already.
    #[error("container {0} has a snapshot already")]
    SnapshotExists(berth_types::ContainerId),
}

impl StoreError {
    /// Makes an error of a failed system call: for `map_err`.
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }
}

/// Whether the machine or the process ran out of what every operation needs: that says nothing of the file.
pub(crate) fn is_short_of_resources(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::AGAIN))
}

impl Classify for StoreError {
    fn kind(&self) -> Kind {
        match self {
            Self::Locked(_) | Self::Newer { .. } => Kind::Precondition,
            Self::Io { source, .. } if is_short_of_resources(source) => Kind::Exhausted,
            Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Kind::Exhausted,
                _ => Kind::Internal,
            },
            Self::Damaged { .. } => Kind::Corrupt,
            Self::NotFound(_) | Self::NoSnapshot(_) => Kind::NotFound,
            Self::Ambiguous { .. } | Self::Config(_) | Self::Invalid(_) => Kind::Invalid,
            Self::Blob { .. } => Kind::Corrupt,
            Self::Layer { kind, .. } => *kind,
            Self::SnapshotExists(_) => Kind::AlreadyExists,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Locked(_) => {
                Some("give the second daemon a root of its own with --instance or --root".into())
            }
            Self::Damaged { .. } => Some("remove the image and pull it again".into()),
            Self::Newer { .. } => Some(
                "nothing was changed: start the newer Berth again, or give this one a root of its own with --root"
                    .into(),
            ),
            Self::Io { source, .. } if is_short_of_resources(source) => {
                Some("nothing was removed: raise the limit of open files or free memory, and try again".into())
            }
            Self::Ambiguous { .. } => Some("use the full name or more digits of the id".into()),
            _ => None,
        }
    }
}
