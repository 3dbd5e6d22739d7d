//! The writable layer of a container, and what lies below it.

use std::path::PathBuf;

use berth_types::ContainerId;

/// What an overlay of a container is mounted from. See [`berth_sys::overlay::mount`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Whose it is.
    pub container: ContainerId,
    /// The image's layers, **the uppermost first** (as overlayfs wants them), each directory once.
    pub lowers: Vec<PathBuf>,
    /// The writable layer.
    pub upper: PathBuf,
    /// overlayfs' own directory, on the same file system.
    pub work: PathBuf,
}

/// Disk used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes allocated.
    pub bytes: u64,
    /// Files, directories and links.
    pub inodes: u64,
}
