//! Adding an image: the lease of a pull or load, and the writers of its layers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use berth_sys::fs::{Durability, sync_filesystem, write_atomic};
use berth_sys::overlay::MAX_LOWERS as MAX_LAYERS;
use berth_types::{Classify, Digest};

use super::complete;
use super::record::{self, LayerRecord};
use super::{Images, blocking, lock};
use crate::config::ImageConfig;
use crate::error::StoreError;
use crate::image::{Image, LayerId, Names};
pub use writer::LayerWriter;
use writer::Staged;

mod file;
pub(super) mod writer;

/// An image about to be added: small blobs in full, layers by what the manifest says of them.
#[derive(Debug, Clone)]
pub struct Source {
    /// The manifest's bytes, whose digest the caller has checked where one was asked for.
    pub manifest: Vec<u8>,
    /// The configuration's bytes. The image's id is their digest.
    pub config: Vec<u8>,
    /// The layers, the lowest first: as many as the configuration has diff ids.
    pub layers: Vec<LayerSource>,
}

/// A layer's blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSource {
    /// Its digest, as compressed.
    pub digest: Digest,
    /// Its bytes, as compressed.
    pub size: u64,
}

/// A pull or load under way. Holds on to every layer it found or wrote; dropping it without a
/// commit removes what nothing else uses. Layers may be written at the same time, in any order.
#[derive(Debug)]
pub struct Ingest {
    shared: Arc<Shared>,
}

/// What is to be done about a layer.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one for each layer, moved once")]
pub enum LayerStep {
    /// It is in the store: nothing.
    Present,
    /// Write the blob's bytes.
    Write(LayerWriter),
}

/// What an ingest and the writers of its layers have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) images: Images,
    pub(super) lease: u64,
    id: Digest,
    manifest_digest: Digest,
    manifest: Vec<u8>,
    config_bytes: Vec<u8>,
    config: Arc<ImageConfig>,
    layers: Vec<LayerSource>,
    /// The files that the layers are, where they are no archives.
    files: Vec<PathBuf>,
    /// Unpacked layers that need the layers below to be complete, by diff id.
    held: Mutex<HashMap<Digest, Staged>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.images.end_lease(self.lease, &[self.id.clone(), self.manifest_digest.clone()]);
    }
}

impl Shared {
    /// The names under which a layer may be in the store. A diff id that is twice in the image is
    /// completed at its highest place; see `record::lowers`.
    fn ids(&self, index: usize) -> [LayerId; 2] {
        let diff_ids = &self.config.diff_ids;
        let highest = diff_ids.iter().rposition(|d| *d == diff_ids[index]).expect("it is there");
        [LayerId::Diff(diff_ids[index].clone()), LayerId::Chain(chain_id(&diff_ids[..=highest]))]
    }

    pub(super) fn source(&self, index: usize) -> &LayerSource {
        &self.layers[index]
    }

    /// The path of the file that a layer is; `None` for an archive.
    pub(super) fn file(&self, index: usize) -> Option<&Path> {
        self.files.get(index).map(PathBuf::as_path)
    }

    pub(super) fn diff_id(&self, index: usize) -> &Digest {
        &self.config.diff_ids[index]
    }

    pub(super) fn hold(&self, diff_id: Digest, staged: Staged) {
        lock(&self.held).insert(diff_id, staged);
    }
}

impl Ingest {
    pub(super) fn new(images: Images, source: Source, files: Vec<PathBuf>) -> Result<Self, StoreError> {
        let config = ImageConfig::parse(&source.config)?;
        if config.diff_ids.len() != source.layers.len() {
            return Err(StoreError::Invalid(format!(
                "the manifest has {} layers, the configuration {}",
                source.layers.len(),
                config.diff_ids.len()
            )));
        }
        if config.diff_ids.len() > MAX_LAYERS {
            return Err(StoreError::Invalid(format!(
                "{} layers, at most {MAX_LAYERS} are allowed",
                config.diff_ids.len()
            )));
        }
        let (id, manifest_digest) = (record::sum(&source.config), record::sum(&source.manifest));
        let lease = images.begin_lease([id.clone(), manifest_digest.clone()]);
        Ok(Self {
            shared: Arc::new(Shared {
                images,
                lease,
                id,
                manifest_digest,
                manifest: source.manifest,
                config_bytes: source.config,
                config: Arc::new(config),
                layers: source.layers,
                files,
                held: Mutex::default(),
            }),
        })
    }

    /// Whether a layer is in the store at this moment: a hint, to show it as present early.
    pub fn has_layer(&self, index: usize) -> bool {
        self.shared.images.state().layer(&self.shared.ids(index)).is_some()
    }

    /// Asks for a layer (counted from 0, the lowest) and begins to write it where that is needed; see [`Ingest::turn`].
    pub async fn layer(&self, index: usize) -> Result<LayerStep, StoreError> {
        match self.turn(index).await {
            Some(turn) => turn.start().await.map(LayerStep::Write),
            None => Ok(LayerStep::Present),
        }
    }

    /// Asks for the right to write a layer; `None` when it is present. When another pull is writing the same one,
    /// waits for its end: then the layer is present, or it is this one's turn.
    ///
    /// A layer that this ingest is writing already, because the image has it twice, counts as present.
    pub async fn turn(&self, index: usize) -> Option<Turn> {
        loop {
            match self.next_step(index) {
                Next::Present => return None,
                Next::Turn(turn) => return Some(turn),
                Next::Wait(mut end) => {
                    // Nothing is ever sent: the end of the sender is what is waited for.
                    let _gone = end.changed().await;
                }
            }
        }
    }

    fn next_step(&self, index: usize) -> Next {
        let diff_id = self.shared.diff_id(index);
        let mut state = self.shared.images.state();
        if let Some(id) = state.layer(&self.shared.ids(index)).map(|l| l.record.id.clone()) {
            state.leases.entry(self.shared.lease).or_default().insert(id);
            return Next::Present;
        }
        if lock(&self.shared.held).contains_key(diff_id) {
            return Next::Present;
        }
        match state.in_flight.get(diff_id) {
            Some((lease, _)) if *lease == self.shared.lease => Next::Present,
            Some((_, end)) => Next::Wait(end.clone()),
            None => {
                let (sender, receiver) = tokio::sync::watch::channel(());
                state.in_flight.insert(diff_id.clone(), (self.shared.lease, receiver));
                Next::Turn(Turn { shared: self.shared.clone(), index, _end: sender })
            }
        }
    }

    /// Makes the image visible under these names: everything is synced, then the record is written. Every
    /// layer must have been found present or finished. Committing what is there already adds the names.
    pub async fn commit(self, names: Names) -> Result<Arc<Image>, StoreError> {
        blocking(move || {
            let shared = &self.shared;
            let layers = self.complete_layers()?;
            let layout = shared.images.layout();
            let unsynced = {
                let state = shared.images.state();
                layers.iter().any(|l| state.layers.get(&l.id).is_none_or(|known| !known.synced))
            };
            let durability = if unsynced { Durability::Process } else { Durability::Power };
            for (digest, bytes) in
                [(&shared.id, &shared.config_bytes), (&shared.manifest_digest, &shared.manifest)]
            {
                let path = layout.blob(digest);
                // One of the right size that is there was checked when the store was opened.
                if std::fs::metadata(&path).is_ok_and(|m| m.len() == bytes.len() as u64) {
                    continue;
                }
                write_atomic(&path, bytes, durability).map_err(StoreError::io("write blob", path))?;
            }
            shared.images.step("blobs written");
            if unsynced {
                let images = layout.images();
                sync_filesystem(images).map_err(StoreError::io("sync", images))?;
            }
            shared.images.step("synced");
            shared.images.commit(&shared.id, &shared.manifest_digest, &shared.config, layers, &names)
        })
        .await
    }

    /// Every layer in its place, from the lowest up.
    fn complete_layers(&self) -> Result<Vec<LayerRecord>, StoreError> {
        let shared = &self.shared;
        let mut done: Vec<LayerRecord> = Vec::new();
        for index in 0..shared.layers.len() {
            let ids = shared.ids(index);
            let present = shared.images.state().layer(&ids).map(|l| l.record.clone());
            if let Some(record) = present {
                done.push(record);
                continue;
            }
            let diff_ids = &shared.config.diff_ids;
            if diff_ids[index + 1..].contains(&diff_ids[index]) {
                // Completed at its highest place, and dropped from the stack here.
                continue;
            }
            let mut staged = lock(&shared.held).remove(&diff_ids[index]).ok_or_else(|| {
                StoreError::Invalid(format!("layer {} was not written", shared.layers[index].digest))
            })?;
            let [_, chain] = ids;
            let below: Vec<_> =
                record::lowers(&done).iter().map(|l| shared.images.layout().layer_fs(&l.id)).collect();
            let copied = shared.images.config().limits.of_blob(shared.layers[index].size).tar_bytes;
            let moved = complete::from_below(&staged, &below, copied)
                .map_err(|error| shared.layer_error(index, &error))?;
            // The recipe knows the files by their old places.
            staged.unpacked.report.reproducible &= !moved;
            done.push(shared.images.keep_layer(shared.lease, chain, staged, diff_ids[index].clone())?);
        }
        Ok(done)
    }
}

impl Shared {
    fn layer_error(&self, index: usize, error: &complete::CompleteError) -> StoreError {
        let kind = error.kind();
        StoreError::Layer {
            blob: self.layers[index].digest.clone(),
            reason: berth_types::error::chain(error),
            kind,
        }
    }
}

enum Next {
    Present,
    Turn(Turn),
    Wait(tokio::sync::watch::Receiver<()>),
}

/// The right to write one layer. Dropping it lets the next waiter try.
#[derive(Debug)]
pub struct Turn {
    pub(super) shared: Arc<Shared>,
    pub(super) index: usize,
    _end: tokio::sync::watch::Sender<()>,
}

impl Turn {
    /// Begins to write, which starts a process.
    pub async fn start(self) -> Result<LayerWriter, StoreError> {
        LayerWriter::start(self).await
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.shared.images.state().in_flight.remove(self.shared.diff_id(self.index));
    }
}

/// The chain id of a stack of layers (OCI image-spec, config.md).
pub(crate) fn chain_id(diff_ids: &[Digest]) -> Digest {
    let (first, rest) = diff_ids.split_first().expect("a chain has a first layer");
    rest.iter().fold(first.clone(), |chain, diff_id| record::sum(format!("{chain} {diff_id}").as_bytes()))
}
