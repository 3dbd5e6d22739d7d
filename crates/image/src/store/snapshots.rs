//! Snapshots: a writable layer for each container, over layers that it keeps alive.

use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use berth_sys::fs::{Durability, read_bounded_from, tree_usage};
use berth_types::{ContainerId, Digest};
use rustix::fs::FileType;

use super::lookup::Stack;
use super::record::{self, LayerRecord, SnapshotRecord};
use super::{Images, blocking, open};
use crate::error::StoreError;
use crate::snapshot::{Snapshot, Usage, VolumeImage};

impl Images {
    /// Makes the snapshot of a container over an image, with the images that it has as volumes. Their layers stay until the
    /// snapshot is removed, even if the images are not. Not synced: it need not survive a reboot.
    pub async fn snapshot(
        &self,
        container: &ContainerId,
        image: &Digest,
        volumes: &[Digest],
    ) -> Result<Snapshot, StoreError> {
        let (this, container, image) = (self.clone(), container.clone(), image.clone());
        let volumes = volumes.to_vec();
        blocking(move || this.make_snapshot(&container, &image, volumes)).await
    }

    fn make_snapshot(
        &self,
        container: &ContainerId,
        image: &Digest,
        volumes: Vec<Digest>,
    ) -> Result<Snapshot, StoreError> {
        let (record, root, lowers, stacks) = {
            let mut state = self.state();
            if state.snapshots.contains_key(container) || state.unreadable.contains_key(container) {
                return Err(StoreError::SnapshotExists(container.clone()));
            }
            let stored = state.images.get(image).ok_or_else(|| StoreError::NotFound(image.to_string()))?;
            let root = stored.record.root_layer().map(|layer| layer.id.clone());
            let lowers = stored.record.lowers();
            let lowers_of = |volume: &Digest| {
                let stored = state.images.get(volume);
                Ok(stored.ok_or_else(|| StoreError::NotFound(volume.to_string()))?.record.lowers())
            };
            let stacks = volumes.iter().map(lowers_of).collect::<Result<Vec<_>, StoreError>>()?;
            let mut layers = lowers.clone();
            for layer in stacks.iter().flatten() {
                if !layers.iter().any(|known| known.id == layer.id) {
                    layers.push(layer.clone());
                }
            }
            let project = self.inner.quotas.free(&state).unwrap_or(0);
            let (container, image) = (container.clone(), image.clone());
            let record = SnapshotRecord { container, image, layers, volumes, project };
            for id in record.volumes.iter().chain([&record.image]) {
                self.note_use(id);
            }
            // From here on the layers are held.
            state.snapshots.insert(record.container.clone(), record.clone());
            (record, root, lowers, stacks)
        };
        let root = root.map(|id| self.layout().layer_fs(&id));
        let dir = self.layout().snapshot(container);
        if let Err(error) = std::fs::DirBuilder::new().mode(0o700).create(&dir) {
            // What exists already must not be removed.
            self.state().snapshots.remove(container);
            return Err(StoreError::io("make directory", dir)(error));
        }
        match self.write_snapshot(&record, root.as_deref()) {
            Ok(()) => Ok(self.describe(&record, &lowers, &stacks)),
            Err(error) => {
                self.drop_snapshot(container)?;
                Err(error)
            }
        }
    }

    /// The record is written before anything that it describes.
    fn write_snapshot(&self, record: &SnapshotRecord, root: Option<&Path>) -> Result<(), StoreError> {
        let dir = self.layout().snapshot(&record.container);
        let make = |path: &Path, mode| {
            std::fs::DirBuilder::new().mode(mode).create(path).map_err(StoreError::io("make directory", path))
        };
        record::write(&dir.join("record"), record, Durability::Process)?;
        self.step("snapshot recorded");
        let upper = dir.join("upper");
        make(&upper, 0o755)?;
        // The root of an overlay has the mode and owner of the upper directory.
        if let Some(root) = root {
            let failed = || StoreError::io("set mode and owner of", &upper);
            let meta = std::fs::metadata(root).map_err(failed())?;
            std::os::unix::fs::chown(&upper, Some(meta.uid()), Some(meta.gid())).map_err(failed())?;
            let mode = std::fs::Permissions::from_mode(meta.mode() & 0o7777);
            std::fs::set_permissions(&upper, mode).map_err(failed())?;
        } else {
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&upper, mode).map_err(StoreError::io("set mode of", &upper))?;
        }
        let work = dir.join("work");
        make(&work, 0o700)?;
        // Both: what overlayfs copies up it makes in the one and renames into the other.
        self.inner.quotas.give(record.project, [&upper, &work])
    }

    fn describe(
        &self,
        record: &SnapshotRecord,
        lowers: &[LayerRecord],
        stacks: &[Vec<LayerRecord>],
    ) -> Snapshot {
        let dir = self.layout().snapshot(&record.container);
        let volume = |(id, stack): (&Digest, &Vec<LayerRecord>)| VolumeImage {
            id: id.clone(),
            lowers: self.lower_dirs(stack),
        };
        Snapshot {
            container: record.container.clone(),
            lowers: self.lower_dirs(lowers),
            upper: dir.join("upper"),
            work: dir.join("work"),
            volumes: record.volumes.iter().zip(stacks).map(volume).collect(),
        }
    }

    /// The ids of the images that a container has as volumes, in the order asked for; none where nothing is known of it.
    pub fn volumes(&self, container: &ContainerId) -> Vec<Digest> {
        self.state().snapshots.get(container).map(|record| record.volumes.clone()).unwrap_or_default()
    }

    /// Every container with a snapshot, also of those that cannot be read.
    pub fn snapshots(&self) -> Vec<ContainerId> {
        let state = self.state();
        state.snapshots.keys().chain(state.unreadable.keys()).cloned().collect()
    }

    /// Looks once more at what could not be read: the reason may have passed.
    pub(super) fn read_again(&self) {
        let mut state = self.state();
        let unreadable: Vec<_> = state.unreadable.keys().cloned().collect();
        for container in unreadable {
            if let Some(record) = open::read_again(self.layout(), &container) {
                open::know_layers(self.layout(), &mut state, &record.layers);
                state.unreadable.remove(&container);
                state.snapshots.insert(container, record);
            }
        }
    }

    /// Removes the snapshot of a container and what it kept alive; succeeds when there is none. The
    /// overlay must be unmounted. The files are deleted in the background.
    pub async fn remove_snapshot(&self, container: &ContainerId) -> Result<(), StoreError> {
        let (this, container) = (self.clone(), container.clone());
        blocking(move || this.drop_snapshot(&container)).await
    }

    fn drop_snapshot(&self, container: &ContainerId) -> Result<(), StoreError> {
        let mut trash: Vec<PathBuf> =
            self.layout().discard(&self.layout().snapshot(container))?.into_iter().collect();
        self.inner.usages.forget(container);
        self.read_again();
        let mut state = self.state();
        let unreadable = state.unreadable.remove(container).is_some();
        let removed = state.snapshots.remove(container);
        if let Some(record) = &removed {
            self.inner.quotas.give_back(record.project);
        }
        // Until now it was in use.
        for id in removed.iter().flat_map(|record| record.volumes.iter().chain([&record.image])) {
            self.note_use(id);
        }
        if removed.is_some() || unreadable {
            trash.extend(state.collect_layers(self.layout()));
        }
        drop(state);
        self.delete_later(trash);
        Ok(())
    }

    /// What the writable layer of a container takes.
    pub async fn snapshot_usage(&self, container: &ContainerId) -> Result<Usage, StoreError> {
        {
            let state = self.state();
            if !state.snapshots.contains_key(container) && !state.unreadable.contains_key(container) {
                return Err(StoreError::NoSnapshot(container.clone()));
            }
        }
        let upper = self.layout().snapshot(container).join("upper");
        let (this, container) = (self.clone(), container.clone());
        blocking(move || {
            if let Some(counted) = this.counted(&container) {
                return Ok(counted);
            }
            let (bytes, inodes) = tree_usage(&upper).map_err(StoreError::io("measure", &upper))?;
            Ok(Usage { bytes, inodes })
        })
        .await
    }
}

/// Reads a regular file of a stack of layers.
pub(super) fn read_file(layers: &[PathBuf], path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let failed = || StoreError::io("read in the image", path);
    let Some(found) = Stack::new(layers).find(path, true).map_err(failed())? else { return Ok(None) };
    if found.kind() != FileType::RegularFile {
        return Err(StoreError::Invalid(format!("{} is not a regular file", path.display())));
    }
    match read_bounded_from(found.open().map_err(failed())?, limit) {
        Err(e) if e.kind() == ErrorKind::FileTooLarge => {
            Err(StoreError::Invalid(format!("{}: {e}", path.display())))
        }
        read => read.map(Some).map_err(failed()),
    }
}
