//! What is in the store, in memory: the one place where it is decided what is used and what is garbage.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use berth_types::{ContainerId, Digest};
use tokio::sync::watch;

use super::layout::Layout;
use super::record::{ImageRecord, LayerRecord, SnapshotRecord};
use crate::error::StoreError;
use crate::image::{Image, LayerId};

/// An image with its record.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) record: ImageRecord,
    pub(crate) image: Arc<Image>,
}

/// A layer that is complete.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) record: LayerRecord,
    /// Whether it is known to be on disk for good.
    pub(crate) synced: bool,
}

/// A record that cannot be used.
#[derive(Debug)]
pub(crate) struct Damaged {
    pub(crate) error: StoreError,
    /// The layers that it names and that are there, where it could be read.
    pub(crate) layers: Vec<LayerId>,
}

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) images: BTreeMap<Digest, Stored>,
    pub(crate) layers: HashMap<LayerId, Layer>,
    pub(crate) snapshots: HashMap<ContainerId, SnapshotRecord>,
    /// Snapshots whose layers are not known, since their record cannot be read, and why. While there is one, no layer
    /// is removed: it may be below a running container.
    pub(crate) unreadable: BTreeMap<ContainerId, StoreError>,
    /// Layers that pulls under way rely on, by the number of the pull.
    pub(crate) leases: HashMap<u64, HashSet<LayerId>>,
    /// Blobs that pulls under way rely on.
    pub(crate) blob_leases: HashMap<u64, HashSet<Digest>>,
    /// Diff ids of layers being written, with the pull that writes; the sender is the writer's.
    pub(crate) in_flight: HashMap<Digest, (u64, watch::Receiver<()>)>,
    pub(crate) next_lease: u64,
    pub(crate) sequence: u64,
    /// Records that cannot be used, by the name of their file.
    pub(crate) damaged: BTreeMap<String, Damaged>,
}

impl State {
    /// The complete layer with one of these ids.
    pub(crate) fn layer(&self, ids: &[LayerId]) -> Option<&Layer> {
        ids.iter().find_map(|id| self.layers.get(id))
    }

    fn used_layers(&self) -> HashSet<&LayerId> {
        let images = self.images.values().flat_map(|i| i.record.layers.iter().map(|l| &l.id));
        let snapshots = self.snapshots.values().flat_map(|s| s.layers.iter().map(|l| &l.id));
        let damaged = self.damaged.values().flat_map(|d| &d.layers);
        images.chain(snapshots).chain(damaged).chain(self.leases.values().flatten()).collect()
    }

    /// Whether a container may be mounted over this layer.
    pub(crate) fn may_be_mounted(&self, id: &LayerId) -> bool {
        !self.unreadable.is_empty()
            || self.snapshots.values().any(|s| s.layers.iter().any(|layer| layer.id == *id))
    }

    fn used_blobs(&self) -> HashSet<&Digest> {
        let images = self.images.values().flat_map(|i| [&i.record.id, &i.record.manifest]);
        images.chain(self.blob_leases.values().flatten()).collect()
    }

    /// Takes layers that nothing uses out of their places; the caller deletes what is returned. A layer stays known
    /// when it cannot be moved.
    pub(crate) fn collect_layers(&mut self, layout: &Layout) -> Vec<PathBuf> {
        if !self.unreadable.is_empty() {
            return Vec::new();
        }
        let used = self.used_layers();
        let unused: Vec<_> = self.layers.keys().filter(|id| !used.contains(id)).cloned().collect();
        let mut trash = Vec::new();
        for id in unused {
            match layout.discard(&layout.layer(&id)) {
                Ok(path) => {
                    self.layers.remove(&id);
                    trash.extend(path);
                }
                Err(error) => {
                    tracing::warn!(layer = id.dir_name(), error = %berth_types::error::chain(&error), "failed to remove an unused layer");
                }
            }
        }
        trash
    }

    /// Which of these blobs nothing uses. While there is a record that cannot be read, any may be its.
    pub(crate) fn unused_blobs<'a>(&self, blobs: impl IntoIterator<Item = &'a Digest>) -> Vec<Digest> {
        if !self.damaged.is_empty() {
            return Vec::new();
        }
        let used = self.used_blobs();
        blobs.into_iter().filter(|digest| !used.contains(digest)).cloned().collect()
    }

    /// The image that has this tag.
    pub(crate) fn tagged(&self, tag: &str) -> Option<&Stored> {
        self.images.values().find(|stored| stored.record.tags.iter().any(|t| t.name == tag))
    }

    /// Bytes and inodes of all layers, each counted once.
    pub(crate) fn usage(&self) -> (u64, u64) {
        self.layers.values().map(|layer| &layer.record).fold((0, 0), |(bytes, inodes): (u64, u64), l| {
            (bytes.saturating_add(l.file_bytes), inodes.saturating_add(l.inodes))
        })
    }

    /// After the records were read: a tag that two images have belongs to the one that got it last. Returns the
    /// images that lost one.
    pub(crate) fn settle_tags(&mut self) -> BTreeSet<Digest> {
        let mut owner: HashMap<String, (u64, Digest)> = HashMap::new();
        for (id, stored) in &self.images {
            for tag in &stored.record.tags {
                self.sequence = self.sequence.max(tag.sequence);
                let known = owner.entry(tag.name.clone()).or_insert((tag.sequence, id.clone()));
                if known.0 < tag.sequence {
                    *known = (tag.sequence, id.clone());
                }
            }
        }
        let mut changed = BTreeSet::new();
        for (id, stored) in &mut self.images {
            let before = stored.record.tags.len();
            stored.record.tags.retain(|tag| owner.get(&tag.name).is_some_and(|(_, owner)| owner == id));
            if stored.record.tags.len() != before {
                changed.insert(id.clone());
                stored.image = Arc::new(stored.record.image(stored.image.config.clone()));
            }
        }
        changed
    }
}
