//! Unpacking of layers, in two processes with few rights.
//!
//! ```text
//! daemon (trusted)                    berth-unpack (two for each layer)
//!   hashes the blob ----- pipe ----->   inflate: decompresses; no rights, nothing but its pipes
//!   hashes the tar  <---- pipe ------
//!                   ----- pipe ----->   unpack: tar -> files; its root directory is the layer's
//!   Job, descriptors --- sockets --->
//!                   <---- Outcome ---   counts, and what only the daemon may do
//! ```
//!
//! A hostile layer reaches neither the daemon's memory nor its rights, and its diff id is what the daemon saw pass: neither
//! the decompressor nor the reader of tars can claim another, for a tree that other images share. What needs rights that
//! the process gave up (`trusted.overlay.opaque`, devices) or the layers below (owners of implied directories, hard
//! links downwards) is reported, and done by the store: see `store/complete.rs`. What a layer may cost is in
//! `Bounds`. See docs/adr/0074-two-processes-for-a-layer.md.

use std::io;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

mod bounds;
mod changes;
pub(crate) mod decompress;
mod extract;
pub(crate) mod paths;
pub(crate) mod pipeline;
pub(crate) mod process;
pub(crate) mod recipe;
pub(crate) mod tar;
mod tree;
mod worker;

pub(crate) use bounds::{Bounds, Budget};
use paths::Paths;
pub use worker::worker_main;

/// The name (`argv[0]`) under which the unpacker is executed.
pub const PROGRAM: &str = "berth-unpack";

/// What one layer may contain; more is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of the decompressed tar, and of the files it makes.
    pub bytes: u64,
    /// Entries of the tar, with the directories that they imply. A small blob has fewer: an entry that is compressed to
    /// less than two bytes is not one that a tool writes.
    pub entries: u64,
    /// Bytes of tar for each compressed byte, once [`Limits::ratio_from`] bytes were made.
    pub ratio: u64,
    /// Bytes of tar below which the ratio does not matter.
    pub ratio_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 256 << 30, entries: 5_000_000, ratio: 1000, ratio_from: 1 << 30 }
    }
}

/// What the process is told. With it come two descriptors: its root directory, and what to write to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) task: Task,
    pub(crate) bounds: Bounds,
}

/// What it is to do.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Task {
    /// To unpack a tar into the directory, and write its recipe to the file.
    Unpack,
    /// To write what comes, decompressed, to the file or pipe.
    Inflate,
}

/// What the process answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Done(Report),
    Refused(Refusal),
}

/// Why a layer was not unpacked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) cause: Cause,
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Cause {
    /// The layer is malformed.
    Malformed,
    /// It is over a limit.
    Limit,
    /// The disk is full.
    Full,
    /// The process that takes what this one makes is gone.
    Closed,
    /// The system refused what should have worked.
    System,
}

/// An unpacked layer, as the process tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Bytes of the files.
    pub(crate) file_bytes: u64,
    /// Files, directories and links.
    pub(crate) inodes: u64,
    /// Directories without an entry of their own, sorted.
    pub(crate) implied: Paths,
    /// Directories that hide what is below, sorted; an empty path is the root.
    pub(crate) opaque: Paths,
    /// Hard links into lower layers: path, target, path, target...
    pub(crate) links: Paths,
    /// Devices: in their places are empty files.
    pub(crate) devices: Vec<Device>,
    /// Whether there is an entry for the root directory.
    pub(crate) describes_root: bool,
    /// Whether the recipe makes the same tar from the tree.
    pub(crate) reproducible: bool,
}

/// A character or block device of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) path: Vec<u8>,
    pub(crate) block: bool,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
}

/// Why a layer was refused, inside the process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error(transparent)]
    Tar(#[from] tar::TarError),
    #[error("entry {path:?}")]
    Entry { path: String, source: EntryError },
    #[error("writing the recipe")]
    Recipe(#[source] io::Error),
    #[error("{step}")]
    Confine { step: &'static str, source: io::Error },
    #[error("the process that reads the tar has ended")]
    Closed,
}

/// What is wrong with one entry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EntryError {
    #[error("{0}")]
    Refused(String),
    #[error("the layer has {0}")]
    Limit(String),
    #[error("{step}")]
    System {
        step: &'static str,
        #[source]
        errno: Errno,
    },
}

/// Names the step that an error number comes from.
pub(crate) trait Step {
    fn at(self, step: &'static str) -> EntryError;
}

impl Step for Errno {
    fn at(self, step: &'static str) -> EntryError {
        EntryError::System { step, errno: self }
    }
}

/// Marks an error of the decompressed stream as a limit that was reached.
#[derive(Debug, thiserror::Error)]
#[error("the layer has {0}")]
pub(crate) struct OverLimit(pub(crate) String);

impl UnpackError {
    fn cause(&self) -> Cause {
        match self {
            Self::Closed => Cause::Closed,
            Self::Tar(tar::TarError::Read(error)) => of_io(error),
            Self::Tar(tar::TarError::Truncated(_) | tar::TarError::Header { .. }) => Cause::Malformed,
            Self::Entry { source: EntryError::Refused(_), .. } => Cause::Malformed,
            Self::Entry { source: EntryError::Limit(_), .. } => Cause::Limit,
            Self::Entry { source: EntryError::System { errno, .. }, .. } => match *errno {
                Errno::NOSPC | Errno::DQUOT => Cause::Full,
                Errno::MLINK => Cause::Limit,
                Errno::NAMETOOLONG | Errno::LOOP | Errno::INVAL | Errno::FBIG | Errno::NOTDIR => {
                    Cause::Malformed
                }
                _ => Cause::System,
            },
            Self::Recipe(error) | Self::Confine { source: error, .. } => of_io(error),
        }
    }
}

fn of_io(error: &io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Cause::Full,
        _ if error.get_ref().is_some_and(|inner| inner.is::<OverLimit>()) => Cause::Limit,
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            Cause::Malformed
        }
        io::ErrorKind::Other => Cause::Malformed,
        _ => Cause::System,
    }
}
