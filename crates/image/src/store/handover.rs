//! A container that goes on with the writable layer of another, which has ended: `restart` of what keeps its files.
//!
//! ```text
//! <new>/record, <new>/work  ->  <old>/lent  ->  <old>/upper becomes <new>/upper
//! ```
//!
//! The layer is in one place at any moment. While the old container is there, it gets its layer back when the new one is
//! removed: a start that fails costs no file. overlayfs' own directory is made anew each time, since a volatile overlay
//! refuses one that was used.

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use berth_sys::fs::Durability;
use berth_types::{ContainerId, Digest};

use super::record::{self, SnapshotRecord};
use super::state::State;
use super::{Images, blocking, lock};
use crate::error::StoreError;
use crate::snapshot::Snapshot;

/// Beside the record of a snapshot whose writable layer another may have.
pub(super) const LENT: &str = "lent";

impl Images {
    /// Makes the snapshot of a container that goes on with the writable layer of another. That one must have ended, with its
    /// overlay unmounted.
    ///
    /// # Errors
    /// The other has no snapshot, or one of another image.
    pub async fn snapshot_after(
        &self,
        container: &ContainerId,
        image: &Digest,
        volumes: &[Digest],
        before: &ContainerId,
    ) -> Result<Snapshot, StoreError> {
        let (this, container, image) = (self.clone(), container.clone(), image.clone());
        let (volumes, before) = (volumes.to_vec(), before.clone());
        blocking(move || this.make_snapshot(&container, &image, volumes, Some(before))).await
    }

    /// Writes the new snapshot, and moves the layer as the last step.
    pub(super) fn take_over(&self, record: &SnapshotRecord, before: &ContainerId) -> Result<(), StoreError> {
        let (dir, old) = (self.layout().snapshot(&record.container), self.layout().snapshot(before));
        record::write(&dir.join("record"), record, Durability::Process)?;
        let work = dir.join("work");
        let made = std::fs::DirBuilder::new().mode(0o700).create(&work);
        made.map_err(StoreError::io("make directory", &work))?;
        let _alone = lock(&self.inner.handovers);
        let mark = old.join(LENT);
        std::fs::write(&mark, b"").map_err(StoreError::io("write", &mark))?;
        self.step("layer to be moved");
        move_layer(&old, &dir)?;
        self.inner.usages.forget(before);
        self.step("layer moved");
        Ok(())
    }

    /// Gives the writable layer of a container that is removed back to the one that it came from, if that is there and has none.
    pub(super) fn give_back(&self, container: &ContainerId) -> Result<(), StoreError> {
        let before = {
            let state = self.state();
            let before = state.snapshots.get(container).and_then(|record| record.continues.clone());
            before.filter(|before| state.snapshots.contains_key(before))
        };
        let Some(before) = before else { return Ok(()) };
        let (dir, old) = (self.layout().snapshot(container), self.layout().snapshot(&before));
        if old.join("upper").exists() || !dir.join("upper").exists() {
            return Ok(());
        }
        move_layer(&dir, &old)?;
        self.inner.usages.forget(&before);
        let mark = old.join(LENT);
        match std::fs::remove_file(&mark) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(StoreError::io("remove", &mark)(e)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn move_layer(from: &Path, to: &Path) -> Result<(), StoreError> {
    let from = from.join("upper");
    std::fs::rename(&from, to.join("upper")).map_err(StoreError::io("move the writable layer", &from))
}

/// Whether there is such a layer, over this image.
pub(super) fn may_continue(state: &State, before: &ContainerId, image: &Digest) -> Result<(), StoreError> {
    let old = state.snapshots.get(before).ok_or_else(|| StoreError::NoSnapshot(before.clone()))?;
    if old.image == *image {
        return Ok(());
    }
    Err(StoreError::Invalid(format!(
        "the writable layer of container {} is over image {}, and fits no other",
        before.short(),
        old.image
    )))
}
