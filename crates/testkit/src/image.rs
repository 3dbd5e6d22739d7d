//! Images made in memory: layers, configs, manifests and indexes, reproducible to the byte.

pub mod big;
mod build;
pub mod debian;
mod layer;
pub mod standin;

pub use build::{Built, Format, Image, Index, architecture};
pub use layer::{Blob, Compression, Content, Layer, Node};

pub use berth_types::Digest;
use sha2::{Digest as _, Sha256};

/// The digest of some bytes.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(bytes).into())
}
