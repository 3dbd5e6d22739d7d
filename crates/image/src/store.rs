//! The store: images, layers, snapshots, and the one writer of their records.

pub(crate) mod ingest;

use std::path::Path;
use std::sync::Arc;

use berth_types::{ContainerId, Digest};

use crate::error::StoreError;
use crate::image::{Image, Names};
use crate::snapshot::{Snapshot, Usage};
use crate::{Config, Ingest, Source};

/// All images and snapshots of one root. Cheap to clone; every clone is the same store.
#[derive(Debug, Clone)]
pub struct Images {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
}

impl Images {
    /// Opens the store of a root, making it if need be: takes the root's lock, removes what a
    /// killed process left half done, and reads the records. Damaged records do not fail it; see
    /// [`Images::damaged`].
    pub async fn open(config: Config) -> Result<Self, StoreError> {
        Ok(Self { inner: Arc::new(Inner { config }) })
    }

    /// How it was opened.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Every image, by id.
    pub fn list(&self) -> Vec<Arc<Image>> {
        unimplemented!()
    }

    /// What is damaged: one error for each record that cannot be used.
    pub fn damaged(&self) -> Vec<String> {
        unimplemented!()
    }

    /// The image with this name: a reference with a tag or digest, a short reference, an id
    /// (with or without `sha256:`), a manifest's digest, or the beginning of an id.
    pub fn find(&self, _name: &str) -> Result<Option<Arc<Image>>, StoreError> {
        unimplemented!()
    }

    /// The bytes of a manifest or configuration in the store, checked against the digest.
    pub async fn blob(&self, _digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        unimplemented!()
    }

    /// Begins to add an image. Checks that manifest and configuration belong together. What the
    /// returned lease finds or adds stays until it is committed or dropped.
    pub async fn ingest(&self, _source: Source) -> Result<Ingest, StoreError> {
        unimplemented!()
    }

    /// Gives an image more names. An image that had one of the tags loses it.
    pub async fn tag(&self, _id: &Digest, _names: Names) -> Result<Arc<Image>, StoreError> {
        unimplemented!()
    }

    /// Sets whether the image is pinned.
    pub async fn pin(&self, _id: &Digest, _pinned: bool) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Removes an image with all its names, whatever name is given, as the CRI's RemoveImage.
    /// `false` when there was none. What nothing else uses is freed when this returns.
    pub async fn remove(&self, _name: &str) -> Result<bool, StoreError> {
        unimplemented!()
    }

    /// Removes a name, and the image with its last tag, as `docker rmi`. An id or digest stands
    /// for the whole image.
    pub async fn untag(&self, _name: &str) -> Result<Removed, StoreError> {
        unimplemented!()
    }

    /// Makes the snapshot of a container over an image. The image's layers stay until the snapshot is
    /// removed, even if the image is not. Not synced: it need not survive a reboot.
    pub async fn snapshot(&self, _container: &ContainerId, _image: &Digest) -> Result<Snapshot, StoreError> {
        unimplemented!()
    }

    /// The snapshot of a container.
    pub fn find_snapshot(&self, _container: &ContainerId) -> Option<Snapshot> {
        unimplemented!()
    }

    /// Every container with a snapshot.
    pub fn snapshots(&self) -> Vec<ContainerId> {
        unimplemented!()
    }

    /// Removes the snapshot of a container and what it kept alive; nothing to do when there is none. The
    /// overlay must be unmounted. The files are deleted in the background.
    pub async fn remove_snapshot(&self, _container: &ContainerId) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// What the writable layer of a container takes.
    pub async fn snapshot_usage(&self, _container: &ContainerId) -> Result<Usage, StoreError> {
        unimplemented!()
    }

    /// What all images take (not snapshots).
    pub fn usage(&self) -> Usage {
        unimplemented!()
    }

    /// The directory that [`Images::usage`] is about: the mount point for the CRI's ImageFsInfo.
    pub fn dir(&self) -> &Path {
        unimplemented!()
    }

    /// Reads a file of an image without mounting it: through the layers from the uppermost down, by overlayfs'
    /// rules. Symlinks are followed inside the image. `None` when there is no such file; an error
    /// when it is over `limit` bytes or not a regular file.
    pub async fn read_file(
        &self,
        _image: &Digest,
        _path: &str,
        _limit: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        unimplemented!()
    }
}

/// What [`Images::untag`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// There was no such name.
    Nothing,
    /// A name was taken from an image that has others.
    Untagged(String),
    /// The image was removed, with these names.
    Image {
        /// Its id.
        id: Digest,
        /// The tags it had.
        tags: Vec<String>,
    },
}
