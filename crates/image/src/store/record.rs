//! Records on disk: versioned JSON below a line with its own sha256 sum.
//!
//! Rules of change (docs/adr/0073-changes-of-the-store.md):
//!
//! - Fields are only added, each with `#[serde(default)]`; unknown ones are ignored. That needs no new version.
//! - A record that a program of an older version would misread gets a higher `version`, and in `min_reader` the
//!   oldest version that may read it anyway. A program reads every version up to its own.
//! - A program that is older than `min_reader` refuses to open the store, and changes nothing in it.
//! - `tests/fixtures/v<version>` holds a store of each version, which every later program must read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_sys::fs::{Durability, write_atomic};
use berth_types::{ContainerId, Digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::config::ImageConfig;
use crate::error::StoreError;
use crate::image::{Image, LayerId};

/// The version of the records this program writes.
const VERSION: u32 = 1;
/// The most bytes of a record.
const MAX_BYTES: u64 = 16 << 20;

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    pub(crate) id: Digest,
    pub(crate) manifest: Digest,
    pub(crate) tags: Vec<Tag>,
    pub(crate) repo_digests: Vec<String>,
    pub(crate) created_at: i64,
    pub(crate) pinned: bool,
    pub(crate) layers: Vec<LayerRecord>,
}

/// A tag. When a crash left it with two images, the one with the higher number has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) sequence: u64,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) id: LayerId,
    pub(crate) diff_id: Digest,
    pub(crate) tar_bytes: u64,
    pub(crate) file_bytes: u64,
    pub(crate) inodes: u64,
    /// Whether it hides everything below.
    pub(crate) opaque: bool,
    /// Whether it says mode and owner of the root directory.
    pub(crate) describes_root: bool,
    /// Whether its tar can be made again.
    pub(crate) reproducible: bool,
}

/// The snapshot of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotRecord {
    pub(crate) container: ContainerId,
    pub(crate) image: Digest,
    /// Its layers, the uppermost first, each once; then those that only its volumes have.
    pub(crate) layers: Vec<LayerRecord>,
    /// The images that are mounted as volumes, in the order of the mounts.
    #[serde(default)]
    pub(crate) volumes: Vec<Digest>,
    /// The project of its directories in the file system's quotas; 0 is none.
    #[serde(default)]
    pub(crate) project: u32,
}

/// What the store as a whole is: `<root>/images/format`. A program raises it before it writes the first thing that
/// an older one would misread, in a record or beside the records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Format {}

#[derive(Serialize)]
struct Written<'a, T> {
    version: u32,
    min_reader: u32,
    record: &'a T,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
    /// Older records without it are for readers of their own version on.
    min_reader: Option<u32>,
}

#[derive(Deserialize)]
struct Contents<T> {
    record: T,
}

/// Writes a record.
pub(crate) fn write<T: Serialize>(path: &Path, record: &T, durability: Durability) -> Result<(), StoreError> {
    let json = serde_json::to_vec(&Written { version: VERSION, min_reader: VERSION, record })
        .expect("records are plain data with string keys");
    let mut bytes = sum(&json).hex().as_bytes().to_vec();
    bytes.push(b'\n');
    bytes.extend_from_slice(&json);
    write_atomic(path, &bytes, durability).map_err(StoreError::io("write record", path))
}

/// Reads a record.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
    let bytes = read_bounded(path, MAX_BYTES)?;
    let end = bytes.iter().position(|b| *b == b'\n').ok_or_else(|| damaged("it has no sum".into()))?;
    let (line, json) = (&bytes[..end], &bytes[end + 1..]);
    if line != sum(json).hex().as_bytes() {
        return Err(damaged("its sum is wrong".into()));
    }
    let Version { version, min_reader } = serde_json::from_slice(json).map_err(|e| damaged(e.to_string()))?;
    if min_reader.unwrap_or(version) > VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), version, known: VERSION });
    }
    let contents: Contents<T> = serde_json::from_slice(json).map_err(|e| damaged(e.to_string()))?;
    Ok(contents.record)
}

/// Reads a file that must not be larger than `limit` bytes.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    berth_sys::fs::read_bounded(path, limit).map_err(|error| match error.kind() {
        std::io::ErrorKind::FileTooLarge => {
            StoreError::Damaged { path: path.to_owned(), reason: error.to_string() }
        }
        _ => StoreError::io("read", path)(error),
    })
}

/// The digest of bytes.
pub(crate) fn sum(bytes: &[u8]) -> Digest {
    Digest::from_sha256(sha2::Sha256::digest(bytes).into())
}

impl ImageRecord {
    /// The image as callers see it.
    pub(crate) fn image(&self, config: Arc<ImageConfig>) -> Image {
        let mut tags: Vec<_> = self.tags.iter().map(|tag| tag.name.clone()).collect();
        tags.sort();
        let mut repo_digests = self.repo_digests.clone();
        repo_digests.sort();
        Image {
            id: self.id.clone(),
            manifest: self.manifest.clone(),
            tags,
            repo_digests,
            size: self.layers.iter().fold(0, |all: u64, l| all.saturating_add(l.file_bytes)).max(1),
            inodes: self.layers.iter().fold(0, |all: u64, l| all.saturating_add(l.inodes)),
            created_at: self.created_at,
            pinned: self.pinned,
            config,
            layers: self.layers.iter().map(|l| l.id.clone()).collect(),
        }
    }

    /// The layers of a container's overlay: the uppermost first, each once, nothing below an opaque one.
    pub(crate) fn lowers(&self) -> Vec<LayerRecord> {
        lowers(&self.layers)
    }

    /// The layer that says mode and owner of the root directory.
    pub(crate) fn root_layer(&self) -> Option<&LayerRecord> {
        self.layers.iter().rev().find(|layer| layer.describes_root)
    }
}

/// What of `layers` (the lowest first) an overlay is made of: the uppermost first, each once, nothing below an
/// opaque one. A layer that is there twice counts at its higher place: it hides its lower self.
pub(crate) fn lowers(layers: &[LayerRecord]) -> Vec<LayerRecord> {
    let mut lowers: Vec<LayerRecord> = Vec::new();
    for layer in layers.iter().rev() {
        if !lowers.iter().any(|known| known.id == layer.id) {
            lowers.push(layer.clone());
        }
        if layer.opaque {
            break;
        }
    }
    lowers
}

/// Removes what a killed process left of atomic writes.
pub(crate) fn remove_temporary(dir: &Path) -> Result<(), StoreError> {
    for name in super::layout::names(dir)? {
        if name.ends_with(".tmp") {
            let path: PathBuf = dir.join(name);
            std::fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
        }
    }
    Ok(())
}
