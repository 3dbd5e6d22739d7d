//! Archives of images: OCI image layouts and docker's, in one tar file.
//!
//! What is saved is both at once, as docker has written it since version 25: `index.json` and
//! `oci-layout` for readers of OCI layouts, `manifest.json` for readers of docker
//! archives, over the same blobs. Layers are written as plain tars, made again from the unpacked
//! tree by their recipes (docs/adr/0028-layer-recipes.md), so configuration and image id stay.

use std::path::PathBuf;

use berth_types::{Classify, Kind};

use crate::error::StoreError;

mod contents;
mod documents;
mod inflate;
mod layout;
mod load;
pub(crate) mod rebuild;
mod save;

pub(crate) use inflate::temporary as temporary_file;
pub use load::LoadProgress;
pub(crate) use load::{off_runtime, seekable as inflate_archive};
pub(crate) use save::write_layer as rebuild_layer;

/// Why an archive could not be loaded or saved.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file is not an archive, or is damaged.
    #[error("image archive: {0}")]
    Malformed(String),
    /// A document in it is invalid.
    #[error("image archive: {path}: {reason}")]
    Document {
        /// Which.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// No image for this platform.
    #[error("image archive: no image for {0}")]
    NoPlatform(String),
    /// Reading or writing the file failed.
    #[error("image archive: {operation}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A layer in the store has changed.
    #[error("layer {layer}: {reason}")]
    Layer {
        /// Its directory.
        layer: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The policy lets no such archive in.
    #[error(transparent)]
    Refused(#[from] berth_trust::Refused),
    /// There is a policy, and what it says is not known.
    #[error(transparent)]
    Policy(#[from] berth_trust::PolicyError),
    /// An instruction that changes a configuration is wrong.
    #[error(transparent)]
    Change(crate::commit::ChangeError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for ArchiveError {
    fn kind(&self) -> Kind {
        match self {
            Self::Malformed(_) | Self::Document { .. } | Self::Change(_) => Kind::Invalid,
            Self::NoPlatform(_) => Kind::NotFound,
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => Kind::Exhausted,
            Self::Io { .. } => Kind::Internal,
            Self::Layer { .. } => Kind::Corrupt,
            Self::Refused(_) | Self::Policy(_) => Kind::Untrusted,
            Self::Store(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Layer { .. } => Some("remove the image and pull it again".into()),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}

pub(crate) fn io(operation: &'static str) -> impl FnOnce(std::io::Error) -> ArchiveError {
    move |source| ArchiveError::Io { operation, source }
}
