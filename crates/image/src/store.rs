//! The store: images, layers, snapshots, and the one writer of their records.
//!
//! Two locks, always taken in this order: the writer's (one change of records at a time; held during
//! system calls) and the state's (held for moments).

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_sys::fs::{Durability, remove_tree};
use berth_sys::lock::Lock;
use berth_types::Digest;

use crate::config::ImageConfig;
use crate::error::StoreError;
use crate::image::{Image, LayerId, Names};
use crate::snapshot::Usage;
use crate::{Config, Ingest, Source};
use ingest::writer::Staged;
use layout::Layout;
use record::{ImageRecord, LayerRecord, Tag};
use state::{Layer, State, Stored};

mod changes;
mod collect;
mod complete;
mod files;
mod find;
mod history;
pub(crate) mod ingest;
pub(crate) mod layout;
pub(crate) mod lookup;
mod open;
mod places;
mod published;
mod quota;
pub(crate) mod record;
pub(crate) mod remove;
mod snapshots;
mod state;
mod trash;
mod usage;
mod volume;

pub use changes::Change;
pub use collect::Collected;
pub use files::{ArtifactFile, Contents};
pub use history::Step;
pub use remove::Removed;
pub use usage::Measured;
pub use volume::{Volume, VolumeError};

/// How long a store that another process has open is waited for: a killed daemon releases it at once, a
/// process that it was just starting a moment later.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// All images and snapshots of one root. Cheap to clone; every clone is the same store.
#[derive(Debug, Clone)]
pub struct Images {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    layout: Layout,
    writer: Mutex<()>,
    state: Mutex<State>,
    published: published::Publication,
    trash: trash::Trash,
    usages: usage::Usages,
    uses: collect::Uses,
    quotas: quota::Quotas,
    #[cfg(test)]
    on_step: Mutex<Option<tests::Hook>>,
    _lock: Lock,
}

impl Images {
    /// Opens the store of a root, making it if need be: takes the root's lock, removes what a
    /// killed process left half done, and reads the records. Damaged records do not fail it; see
    /// [`Images::damaged`].
    pub async fn open(config: Config) -> Result<Self, StoreError> {
        blocking(move || {
            let layout = Layout::new(&config.root);
            layout.create()?;
            let path = layout.lock();
            let lock = Lock::acquire_within(&path, LOCK_WAIT).map_err(StoreError::io("lock", &path))?;
            let lock = lock.ok_or_else(|| StoreError::Locked(layout.images().to_owned()))?;
            let state = open::open(&layout)?;
            let uses = collect::Uses::read(&layout);
            let quotas = quota::Quotas::of(layout.snapshots());
            Ok(Self {
                inner: Arc::new(Inner {
                    config,
                    layout,
                    writer: Mutex::default(),
                    published: published::Publication::of(&state),
                    state: Mutex::new(state),
                    trash: trash::Trash::default(),
                    usages: usage::Usages::default(),
                    uses,
                    quotas,
                    #[cfg(test)]
                    on_step: Mutex::default(),
                    _lock: lock,
                }),
            })
        })
        .await
    }

    /// How it was opened.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Every image, by id.
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.published().values().cloned().collect()
    }

    /// What is damaged: one line for each record that cannot be used. Such an image is neither listed nor found; pulling
    /// it again repairs it, and [`Images::remove`] with its id removes it.
    pub fn damaged(&self) -> Vec<String> {
        let state = self.state();
        let line = |(name, damaged): (&String, &state::Damaged)| {
            format!("image {name}: {}", berth_types::error::chain(&damaged.error))
        };
        state.damaged.iter().map(line).collect()
    }

    /// Snapshots that cannot be read: one line for each. They stay, with everything that may belong to them, until
    /// [`Images::remove_snapshot`]; a container that runs over one is not affected.
    pub fn unreadable_snapshots(&self) -> Vec<String> {
        let state = self.state();
        let line = |(id, error): (&berth_types::ContainerId, &StoreError)| {
            format!("snapshot {id}: {}", berth_types::error::chain(error))
        };
        state.unreadable.iter().map(line).collect()
    }

    /// Begins to add an image. Checks that manifest and configuration belong together. What the
    /// returned lease finds or adds stays until it is committed or dropped.
    pub async fn ingest(&self, source: Source) -> Result<Ingest, StoreError> {
        let this = self.clone();
        blocking(move || Ingest::new(this, source, Vec::new())).await
    }

    /// The same for layers that are no archives: each is one file, kept as it comes, at this path of its layer.
    pub(crate) async fn ingest_files(
        &self,
        source: Source,
        files: Vec<PathBuf>,
    ) -> Result<Ingest, StoreError> {
        let this = self.clone();
        blocking(move || Ingest::new(this, source, files)).await
    }

    /// Gives an image more names. An image that had one of the tags loses it.
    pub async fn tag(&self, id: &Digest, names: Names) -> Result<Arc<Image>, StoreError> {
        let (this, id) = (self.clone(), id.clone());
        blocking(move || {
            let _writer = this.writer();
            let record = this.record(&id)?;
            this.put(record, &names)
        })
        .await
    }

    /// Sets whether the image is pinned.
    pub async fn pin(&self, id: &Digest, pinned: bool) -> Result<(), StoreError> {
        let (this, id) = (self.clone(), id.clone());
        blocking(move || {
            let _writer = this.writer();
            let record = ImageRecord { pinned, ..this.record(&id)? };
            this.put(record, &Names::default()).map(drop)
        })
        .await
    }

    /// What all images take (not snapshots): shared layers count once.
    pub fn usage(&self) -> Usage {
        let (bytes, inodes) = self.state().usage();
        Usage { bytes, inodes }
    }

    /// The directory that [`Images::usage`] is about: the mount point for the CRI's ImageFsInfo.
    pub fn dir(&self) -> &Path {
        self.inner.layout.images()
    }

    /// Reads a file of an image without mounting it: through the layers from the uppermost down, by overlayfs'
    /// rules. Symlinks are followed inside the image. `None` when there is no such file; an error
    /// when it is over `limit` bytes or not a regular file.
    pub async fn read_file(
        &self,
        image: &Digest,
        path: &str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let lowers = self.lower_dirs(&self.record(image)?.lowers());
        let path = PathBuf::from(path);
        blocking(move || snapshots::read_file(&lowers, &path, limit)).await
    }

    // What the parts of the store share.

    pub(crate) fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    fn writer(&self) -> MutexGuard<'_, ()> {
        lock(&self.inner.writer)
    }

    /// The record of an image.
    pub(crate) fn record(&self, id: &Digest) -> Result<ImageRecord, StoreError> {
        let state = self.state();
        let stored = state.images.get(id).ok_or_else(|| StoreError::NotFound(id.to_string()))?;
        Ok(stored.record.clone())
    }

    /// The trees of these layers; an empty one for an image without layers, which is a valid image.
    pub(crate) fn lower_dirs(&self, layers: &[LayerRecord]) -> Vec<PathBuf> {
        if layers.is_empty() {
            return vec![self.layout().empty()];
        }
        layers.iter().map(|layer| self.layout().layer_fs(&layer.id)).collect()
    }

    fn begin_lease(&self, blobs: [Digest; 2]) -> u64 {
        let mut state = self.state();
        let lease = state.next_lease;
        state.next_lease += 1;
        state.leases.insert(lease, HashSet::new());
        state.blob_leases.insert(lease, blobs.into());
        lease
    }

    /// Ends a pull: what it added and nothing else uses is removed.
    fn end_lease(&self, lease: u64, blobs: &[Digest]) {
        let trash = {
            let mut state = self.state();
            state.leases.remove(&lease);
            state.blob_leases.remove(&lease);
            for blob in state.unused_blobs(blobs) {
                // Under the lock: a pull that begins now must not count on it. Not there when this one failed
                // early; what stays is removed when the store is opened.
                let _stays = std::fs::remove_file(self.layout().blob(&blob));
            }
            state.collect_layers(self.layout())
        };
        self.delete_later(trash);
    }

    /// Puts an unpacked layer in its place and makes it known.
    fn keep_layer(
        &self,
        lease: u64,
        id: LayerId,
        staged: Staged,
        diff_id: Digest,
    ) -> Result<LayerRecord, StoreError> {
        let report = &staged.unpacked.report;
        let record = LayerRecord {
            id: id.clone(),
            diff_id,
            tar_bytes: staged.unpacked.tar_bytes,
            file_bytes: report.file_bytes,
            inodes: report.inodes,
            opaque: report.opaque.iter().any(|path| path.is_empty()),
            describes_root: report.describes_root,
            reproducible: report.reproducible,
        };
        let mut state = self.state();
        let known = state.layers.get(&id).map(|layer| layer.record.clone());
        let record = match known {
            // Another pull was faster with the same chain: ours is dropped.
            Some(known) => known,
            None => {
                let target = self.layout().layer(&id);
                // A directory without a record of a layer: damaged, or of a record that cannot be read.
                if state.may_be_mounted(&id) {
                    self.layout().set_aside(&target)?;
                } else if let Some(old) = self.layout().discard(&target)? {
                    self.delete_later(vec![old]);
                }
                staged.keep(&target)?;
                state.layers.insert(id.clone(), Layer { record: record.clone(), synced: false });
                record
            }
        };
        state.leases.entry(lease).or_default().insert(id);
        Ok(record)
    }

    pub(crate) fn delete_later(&self, paths: Vec<PathBuf>) {
        self.inner.trash.delete_later(paths);
    }

    /// Writes the record of a pulled image, whose layers and blobs are on disk.
    fn commit(
        &self,
        id: &Digest,
        manifest: &Digest,
        config: &Arc<ImageConfig>,
        layers: Vec<LayerRecord>,
        names: &Names,
    ) -> Result<Arc<Image>, StoreError> {
        let _writer = self.writer();
        self.note_use(id);
        let old = self.state().images.get(id).map(|stored| stored.record.clone());
        let record = ImageRecord {
            id: id.clone(),
            manifest: manifest.clone(),
            tags: old.as_ref().map(|r| r.tags.clone()).unwrap_or_default(),
            repo_digests: old.as_ref().map(|r| r.repo_digests.clone()).unwrap_or_default(),
            created_at: old.as_ref().map_or_else(berth_sys::clock::now, |r| r.created_at),
            pinned: old.as_ref().is_some_and(|r| r.pinned),
            layers,
        };
        {
            // `put` finds the configuration with the image.
            let mut state = self.state();
            for layer in &record.layers {
                if let Some(layer) = state.layers.get_mut(&layer.id) {
                    layer.synced = true;
                }
            }
        }
        self.put_with(record, config.clone(), names)
    }

    /// Writes a changed record of a known image, with more names. The writer's lock is held.
    fn put(&self, record: ImageRecord, names: &Names) -> Result<Arc<Image>, StoreError> {
        let config = {
            let state = self.state();
            let stored = state.images.get(&record.id);
            stored.ok_or_else(|| StoreError::NotFound(record.id.to_string()))?.image.config.clone()
        };
        self.put_with(record, config, names)
    }

    fn put_with(
        &self,
        mut record: ImageRecord,
        config: Arc<ImageConfig>,
        names: &Names,
    ) -> Result<Arc<Image>, StoreError> {
        let mut losers = Vec::new();
        {
            let mut state = self.state();
            for name in &names.tags {
                let holder = state.tagged(name).map(|stored| stored.record.id.clone());
                if holder.as_ref() == Some(&record.id) && record.tags.iter().any(|t| t.name == *name) {
                    continue;
                }
                losers.extend(holder.filter(|holder| *holder != record.id));
                state.sequence += 1;
                record.tags.retain(|tag| tag.name != *name);
                record.tags.push(Tag { name: name.clone(), sequence: state.sequence });
            }
        }
        for name in &names.repo_digests {
            if !record.repo_digests.contains(name) {
                record.repo_digests.push(name.clone());
            }
        }
        let known = self.state().images.get(&record.id).is_some_and(|stored| stored.record == record);
        if !known {
            record::write(&self.layout().record(&record.id), &record, Durability::Power)?;
            self.step("record written");
        }
        let image = Arc::new(record.image(config));
        {
            let mut state = self.state();
            state.damaged.remove(record.id.hex());
            let stored = Stored { record, image: image.clone() };
            state.images.insert(image.id.clone(), stored);
        }
        // From here on the tags are this image's, on disk too: the higher number wins.
        for loser in losers {
            self.take_tags(&loser, &names.tags)?;
        }
        self.step("tags moved");
        Ok(image)
    }

    /// Takes tags from an image. The writer's lock is held.
    fn take_tags(&self, id: &Digest, tags: &[String]) -> Result<(), StoreError> {
        let record = {
            let mut state = self.state();
            let Some(stored) = state.images.get_mut(id) else { return Ok(()) };
            stored.record.tags.retain(|tag| !tags.contains(&tag.name));
            stored.image = Arc::new(stored.record.image(stored.image.config.clone()));
            stored.record.clone()
        };
        record::write(&self.layout().record(id), &record, Durability::Power)
    }

    /// A place where tests look at what is on disk.
    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "the same shape as in tests")]
    pub(crate) fn step(&self, _name: &'static str) {}

    #[cfg(test)]
    pub(crate) fn step(&self, name: &'static str) {
        if let Some(hook) = &mut *lock(&self.inner.on_step) {
            hook.reach(name);
        }
    }
}

/// A manifest or configuration, checked against its digest.
pub(crate) fn read_blob(images: &Images, digest: &Digest) -> Result<Vec<u8>, StoreError> {
    open::read_blob(images.layout(), digest)
}

/// Locks; a panic elsewhere does not matter, since no state is left half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs what makes system calls off the runtime's threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(StoreError::Invalid("the daemon ends".into())),
    }
}

/// Deletes what is in the trash already. Errors are left to the next opening of the store.
fn delete(trash: Vec<PathBuf>) {
    for path in trash {
        if let Err(error) = remove_tree(&path) {
            tracing::warn!(path = %path.display(), %error, "failed to remove trash; it is kept until the next start");
        }
    }
}

#[cfg(test)]
mod tests;
