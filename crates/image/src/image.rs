//! An image in the store, as callers see it.

use std::sync::Arc;

use berth_types::Digest;

use crate::config::ImageConfig;

/// A complete image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The image's id: the digest of its configuration.
    pub id: Digest,
    /// The digest of the manifest it was made from.
    pub manifest: Digest,
    /// Complete references with a tag: `docker.io/library/busybox:1.36`. Sorted.
    pub tags: Vec<String>,
    /// Complete references with a manifest digest. Sorted.
    pub repo_digests: Vec<String>,
    /// Bytes that its layers have on disk (file sizes), shared layers included.
    pub size: u64,
    /// Files, directories and links in its layers.
    pub inodes: u64,
    /// When it was committed here (nanoseconds since 1970).
    pub created_at: i64,
    /// Asked to be kept: advice for collectors of garbage such as the kubelet; an explicit
    /// removal respects anyway.
    pub pinned: bool,
    /// What the image says about running it.
    pub config: Arc<ImageConfig>,
    /// Its layers, the lowest first. The same layer may stand here twice.
    pub layers: Vec<LayerId>,
}

/// The name of a layer's directory in the store.
///
/// A layer that says everything about its directories is known by its diff id and shared by every
/// image with it. One that leaves directory entries out takes their mode and owner from the
/// layers below, so it is known by its chain id and shared only on top of the same layers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum LayerId {
    /// By the digest of its tar.
    Diff(Digest),
    /// By the digest of its tar and all below it, as the OCI image specification chains them.
    Chain(Digest),
}

impl LayerId {
    /// The directory's name.
    pub fn dir_name(&self) -> String {
        match self {
            Self::Diff(digest) => format!("diff-{}", digest.hex()),
            Self::Chain(digest) => format!("chain-{}", digest.hex()),
        }
    }
}

/// The names under which an image becomes known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// Complete references with a tag. An image that had one of them loses it.
    pub tags: Vec<String>,
    /// Complete references with a digest.
    pub repo_digests: Vec<String>,
}
