//! Named volumes, as docker has them: directories under the root directory that outlive the pods which use them, until they are removed.
//!
//! ```text
//! <root>/volumes/NAME/volume    what is known of it, as JSON
//! <root>/volumes/NAME/data      what containers mount
//! <root>/volumes/NAME/fill      what is copied out of an image, until it is complete
//! ```

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The most volumes.
pub const MAX_VOLUMES: usize = 1000;
/// The longest name.
const MAX_NAME: usize = 200;
const DOCUMENT: &str = "volume";
const DATA: &str = "data";
const FILL: &str = "fill";
/// The data of one that is being removed.
const GONE: &str = "gone";

/// What is known of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Document {
    /// When it was made (nanoseconds since 1970).
    pub created_at: i64,
    /// What its maker says of it.
    pub labels: BTreeMap<String, String>,
    /// Whether nobody gave it a name.
    pub anonymous: bool,
}

/// A volume that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// Its directory.
    pub path: PathBuf,
    /// What is known of it.
    pub document: Document,
}

/// Why a volume is not made, filled or removed.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// It cannot have that name.
    #[error(
        "{0:?} is not a volume's name: 2 to {MAX_NAME} letters, digits, '_', '.' and '-', a letter or digit first"
    )]
    Name(String),
    /// Its directory cannot be made, filled or removed.
    #[error("volume {name}: {path}")]
    Disk {
        /// Which.
        name: String,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is none.
    #[error("no volume {0:?}")]
    NotFound(String),
    /// Pods have it.
    #[error("volume {name} is used by {}", .pods.join(", "))]
    Used {
        /// Which.
        name: String,
        /// By which: `pod web`.
        pods: Vec<String>,
    },
    /// There are as many as there may be.
    #[error("the limit of {MAX_VOLUMES} volumes is reached")]
    TooMany,
}

impl berth_types::Classify for VolumeError {
    fn kind(&self) -> berth_types::Kind {
        match self {
            Self::Name(_) => berth_types::Kind::Invalid,
            Self::Disk { .. } => berth_types::Kind::Internal,
            Self::NotFound(_) => berth_types::Kind::NotFound,
            Self::Used { .. } => berth_types::Kind::Precondition,
            Self::TooMany => berth_types::Kind::Exhausted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound(_) => Some("berth volume ls lists them".to_owned()),
            Self::Used { .. } => Some("remove what uses it first, as by berth rm".to_owned()),
            Self::TooMany => Some("berth volume prune -a removes those that nothing uses".to_owned()),
            Self::Name(_) | Self::Disk { .. } => None,
        }
    }
}

/// Whether docker would take the name; it is that of a directory.
pub fn is_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let begins = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    begins && (2..=MAX_NAME).contains(&text.len()) && text.bytes().all(inner)
}

/// What containers mount of a volume. `dir` is `<root>/volumes`.
pub fn data(dir: &Path, name: &str) -> PathBuf {
    dir.join(name).join(DATA)
}

/// Makes a volume; one that is there stays as it is. True when it is new.
pub fn make(dir: &Path, name: &str, document: &Document) -> Result<bool, VolumeError> {
    if !is_name(name) {
        return Err(VolumeError::Name(name.to_owned()));
    }
    let path = data(dir, name);
    if path.is_dir() {
        return Ok(false);
    }
    if names(dir).len() >= MAX_VOLUMES {
        return Err(VolumeError::TooMany);
    }
    one(&path, document).map_err(|source| VolumeError::Disk { name: name.to_owned(), path, source })?;
    Ok(true)
}

/// The directories above keep others out: there may be programs in it that are setuid.
fn one(path: &Path, document: &Document) -> io::Result<()> {
    let mut private = fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    let above = path.parent().unwrap_or(path);
    private.create(above)?;
    fs::write(above.join(DOCUMENT), serde_json::to_vec(document)?)?;
    private.create(path)?;
    // As docker makes it: what is to write in it as another user is given it by the image.
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// Fills a volume that is empty. `copy` writes into an empty directory, and says whether there was something to copy.
pub fn fill<E>(
    dir: &Path,
    name: &str,
    copy: impl FnOnce(&Path) -> Result<bool, E>,
) -> Result<Result<(), E>, VolumeError> {
    let path = data(dir, name);
    let failed = |source| VolumeError::Disk { name: name.to_owned(), path: path.clone(), source };
    if fs::read_dir(&path).map_err(failed)?.next().is_some() {
        return Ok(Ok(()));
    }
    // An earlier one may not have been completed.
    let aside = path.with_file_name(FILL);
    berth_engine::remove_tree(&aside).map_err(failed)?;
    fs::DirBuilder::new().mode(0o700).create(&aside).map_err(failed)?;
    match copy(&aside) {
        Ok(true) => take_over(&aside, &path).map_err(failed).map(Ok),
        Ok(false) => fs::remove_dir(&aside).map_err(failed).map(Ok),
        Err(e) => {
            berth_engine::remove_tree(&aside).map_err(failed)?;
            Ok(Err(e))
        }
    }
}

/// Puts what was copied in the place of the volume's directory. One that has nothing in it gives its owner and mode alone: another pod
/// may have the directory already.
fn take_over(aside: &Path, path: &Path) -> io::Result<()> {
    if fs::read_dir(aside)?.next().is_some() {
        // It is never filled again: not even after a loss of power may there be less in it.
        berth_engine::sync_filesystem(aside)?;
        return fs::rename(aside, path);
    }
    let meta = fs::metadata(aside)?;
    std::os::unix::fs::chown(path, Some(meta.uid()), Some(meta.gid()))?;
    fs::set_permissions(path, Permissions::from_mode(meta.mode() & 0o7777))?;
    fs::remove_dir(aside)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| is_name(name) && data(dir, name).is_dir());
    names.sort();
    names
}

/// The volume of this name, if it is kept.
pub fn find(dir: &Path, name: &str) -> Option<Kept> {
    let path = data(dir, name);
    if !is_name(name) || !path.is_dir() {
        return None;
    }
    let document = fs::read(path.with_file_name(DOCUMENT)).ok();
    // A volume whose document is lost is still one.
    let document = document.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    Some(Kept { name: name.to_owned(), path, document })
}

/// Every volume that is kept, by name.
pub fn all(dir: &Path) -> Vec<Kept> {
    names(dir).iter().filter_map(|name| find(dir, name)).collect()
}

/// Removes a volume with all that is in it.
pub fn remove(dir: &Path, name: &str) -> Result<(), VolumeError> {
    if find(dir, name).is_none() {
        return Err(VolumeError::NotFound(name.to_owned()));
    }
    let path = dir.join(name);
    // What is left when this is interrupted is no volume.
    drop(berth_engine::remove_tree(&path.join(GONE)));
    drop(fs::rename(path.join(DATA), path.join(GONE)));
    berth_engine::remove_tree(&path).map_err(|source| VolumeError::Disk {
        name: name.to_owned(),
        path,
        source,
    })
}

#[cfg(test)]
mod tests;
