//! The writable layer of a container, and what lies below it.

use std::path::PathBuf;

use berth_types::{ContainerId, Digest};

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
    /// The images that are mounted as volumes, in the order asked for.
    pub volumes: Vec<VolumeImage>,
}

/// An image whose layers a container keeps for a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeImage {
    /// The image's id.
    pub id: Digest,
    /// Its layers, the uppermost first.
    pub lowers: Vec<PathBuf>,
}

/// Disk used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes allocated.
    pub bytes: u64,
    /// Files, directories and links.
    pub inodes: u64,
}
