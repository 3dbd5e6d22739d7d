//! Where things are on disk.
//!
//! ```text
//! <root>/images/            0700
//!   lock                    held by the process that has the store open
//!   format                  the version of the store; see record.rs
//!   blobs/sha256/<hex>      manifests and configurations
//!   layers/<layer id>/      fs: the tree as overlayfs wants it, recipe: to make the tar again
//!   records/<config hex>    one for each image; the last thing written, the first removed
//!   staging/                layers on their way; emptied when the store is opened
//!   trash/                  what is being deleted; emptied when the store is opened
//!   empty/                  what lies below the containers of an image without layers
//! <root>/snapshots/<container id>/{record,upper,work}
//! ```

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use berth_sys::fs::spread_below;
use berth_types::{ContainerId, Digest};

use crate::error::StoreError;
use crate::image::LayerId;
use crate::store::places::Places;

/// The mode of every directory of the store.
const PRIVATE: u32 = 0o700;
/// How the names of layers begin that were set aside.
pub(crate) const ASIDE: &str = "aside-";
/// The name of the empty tree.
const EMPTY: &str = "empty";

/// The paths of one root.
#[derive(Debug)]
pub(crate) struct Layout {
    images: PathBuf,
    snapshots: PathBuf,
    serial: AtomicU64,
    places: Places,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        let (images, snapshots) = (root.join("images"), root.join("snapshots"));
        // What could not be removed keeps its name: those of one process are not another's.
        let serial = AtomicU64::new(u64::try_from(berth_sys::clock::now() / 1000).unwrap_or_default());
        Self { images, snapshots, serial, places: Places::default() }
    }

    /// Makes the directories that are missing. Those that hold what images and containers wrote are for root alone, also
    /// where an older program made them: a file with setuid in them must not be reachable for the host's users.
    pub(crate) fn create(&self) -> Result<(), StoreError> {
        make_dir(&self.images)?;
        for name in ["blobs", "blobs/sha256", "layers", "records", "staging", "trash", EMPTY] {
            make_dir(&self.images.join(name))?;
        }
        // A hint for speed: most file systems do not have it.
        spread_below(&self.staging()).ok();
        make_dir(&self.snapshots)
    }

    pub(crate) fn images(&self) -> &Path {
        &self.images
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.images.join("lock")
    }

    pub(crate) fn format(&self) -> PathBuf {
        self.images.join("format")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.images.join("blobs/sha256")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.images.join("layers")
    }

    pub(crate) fn layer(&self, id: &LayerId) -> PathBuf {
        self.layers().join(id.dir_name())
    }

    pub(crate) fn layer_fs(&self, id: &LayerId) -> PathBuf {
        self.layer(id).join("fs")
    }

    /// What a layer's tar is made again from; a file of an artifact has none.
    pub(crate) fn recipe(&self, id: &LayerId) -> PathBuf {
        self.layer(id).join("recipe")
    }

    /// A tree with nothing in it.
    pub(crate) fn empty(&self) -> PathBuf {
        self.images.join(EMPTY)
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.images.join("records")
    }

    pub(crate) fn record(&self, image: &Digest) -> PathBuf {
        self.records().join(image.hex())
    }

    /// The order in which images were used.
    pub(crate) fn uses(&self) -> PathBuf {
        self.images.join("uses")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.images.join("staging")
    }

    /// A new directory for what is on its way.
    pub(crate) fn stage(&self) -> std::io::Result<PathBuf> {
        self.places.make_apart(&self.staging().join(self.number().to_string()))
    }

    /// A number that names nothing else in the staging and trash directories.
    pub(crate) fn number(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn trash(&self) -> PathBuf {
        self.images.join("trash")
    }

    pub(crate) fn snapshots(&self) -> &Path {
        &self.snapshots
    }

    pub(crate) fn snapshot(&self, container: &ContainerId) -> PathBuf {
        self.snapshots.join(container.as_str())
    }

    /// Takes a layer's directory out of its place without deleting it: a container may be mounted over it.
    pub(crate) fn set_aside(&self, path: &Path) -> Result<(), StoreError> {
        let target = self.layers().join(format!("{ASIDE}{}", self.number()));
        match std::fs::rename(path, &target) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::io("set aside", path)(e)),
            _ => Ok(()),
        }
    }

    /// Takes something out of its place in one step, to be deleted later. `None` when it does not exist.
    pub(crate) fn discard(&self, path: &Path) -> Result<Option<PathBuf>, StoreError> {
        self.places.deleted(path);
        let target = self.trash().join(self.number().to_string());
        match std::fs::rename(path, &target) {
            Ok(()) => Ok(Some(target)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StoreError::io("move to the trash", path)(e)),
        }
    }
}

/// Makes a directory and its parents, for root only; one that is there is closed to others.
fn make_dir(path: &Path) -> Result<(), StoreError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE)
        .create(path)
        .map_err(StoreError::io("make directory", path))?;
    make_private(path)
}

/// Closes a directory to everyone but its owner.
pub(crate) fn make_private(dir: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let meta = std::fs::symlink_metadata(dir).map_err(StoreError::io("stat", dir))?;
    if meta.is_dir() && meta.mode() & 0o7777 != PRIVATE {
        let mode = std::fs::Permissions::from_mode(PRIVATE);
        std::fs::set_permissions(dir, mode).map_err(StoreError::io("set the mode of", dir))?;
    }
    Ok(())
}

/// Whether a directory exists; an error leaves it open.
pub(crate) fn is_dir(path: &Path) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) => Ok(meta.is_dir()),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(e) => Err(e),
    }
}

/// The entries of a directory by name.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let failed = || StoreError::io("read directory", dir);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed())? {
        names.push(entry.map_err(failed())?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}
