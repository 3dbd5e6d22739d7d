//! Opening a store: what a killed process or a loss of power left is put in order.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use berth_sys::fs::{Durability, remove_tree};
use berth_types::{ContainerId, Digest};

use super::layout::{Layout, names};
use super::record::{self, ImageRecord, LayerRecord, SnapshotRecord};
use super::state::{Damaged, Layer, State, Stored};
use crate::config::ImageConfig;
use crate::error::StoreError;
use crate::image::LayerId;

/// Reads everything and removes what is half done or unused.
pub(crate) fn open(layout: &Layout) -> Result<State, StoreError> {
    for dir in [layout.staging(), layout.trash()] {
        for name in names(&dir)? {
            remove(&dir.join(name));
        }
    }
    for dir in [layout.records(), layout.blobs()] {
        record::remove_temporary(&dir)?;
    }
    let mut state = State::default();
    read_images(layout, &mut state)?;
    read_snapshots(layout, &mut state)?;
    for id in state.settle_tags() {
        let stored = &state.images[&id];
        record::write(&layout.record(&id), &stored.record, Durability::Power)?;
    }
    remove_unknown(layout, &state)?;
    Ok(state)
}

/// Removes what is of no use. One directory that cannot be removed must not keep a node from starting.
fn remove(path: &Path) {
    if let Err(error) = remove_tree(path) {
        tracing::error!(path = %path.display(), %error, "what is of no use stays");
    }
}

fn read_images(layout: &Layout, state: &mut State) -> Result<(), StoreError> {
    for name in names(&layout.records())? {
        let path = layout.records().join(&name);
        match record::read::<ImageRecord>(&path) {
            Ok(record) if record.id.hex() == name => {
                // The layers belong to the record even where it cannot be used.
                let there = know_layers(layout, state, &record.layers);
                match stored(layout, record) {
                    Ok(stored) => drop(state.images.insert(stored.record.id.clone(), stored)),
                    Err(error) => note_damage(state, name, error, there),
                }
            }
            Ok(_) => {
                let reason = "it is the record of another image".to_owned();
                note_damage(state, name, StoreError::Damaged { path, reason }, Vec::new());
            }
            Err(error @ StoreError::Damaged { .. }) => note_damage(state, name, error, Vec::new()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn know_layers(layout: &Layout, state: &mut State, layers: &[LayerRecord]) -> Vec<LayerId> {
    let there = layers.iter().filter(|layer| layout.layer_fs(&layer.id).is_dir());
    there
        .map(|layer| {
            let known = Layer { record: layer.clone(), synced: true };
            state.layers.entry(layer.id.clone()).or_insert(known);
            layer.id.clone()
        })
        .collect()
}

fn note_damage(state: &mut State, name: String, error: StoreError, layers: Vec<LayerId>) {
    tracing::error!(record = name, error = %berth_types::error::chain(&error), "damaged image");
    state.damaged.insert(name, Damaged { error, layers });
}

/// The image of a record, when all that it names is there.
fn stored(layout: &Layout, record: ImageRecord) -> Result<Stored, StoreError> {
    let config = read_blob(layout, &record.id)?;
    read_blob(layout, &record.manifest)?;
    for layer in &record.layers {
        let path = layout.layer_fs(&layer.id);
        if !path.is_dir() {
            return Err(StoreError::Damaged { path, reason: "the layer is missing".into() });
        }
    }
    let config = Arc::new(ImageConfig::parse(&config)?);
    let image = Arc::new(record.image(config));
    Ok(Stored { record, image })
}

/// A blob, which must be what its digest says.
pub(crate) fn read_blob(layout: &Layout, digest: &Digest) -> Result<Vec<u8>, StoreError> {
    let path = layout.blob(digest);
    let bytes = match record::read_bounded(&path, crate::config::MAX_BYTES as u64) {
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Err(StoreError::Damaged { path, reason: "the blob is missing".into() });
        }
        other => other?,
    };
    if record::sum(&bytes) != *digest {
        return Err(StoreError::Damaged { path, reason: "its content is not that of its digest".into() });
    }
    Ok(bytes)
}

/// A snapshot without a good record was never mounted, or is of before a loss of power: its overlay was
/// volatile and must not be used again.
fn read_snapshots(layout: &Layout, state: &mut State) -> Result<(), StoreError> {
    for name in names(layout.snapshots())? {
        let dir = layout.snapshots().join(&name);
        let known = name.parse::<ContainerId>().ok().and_then(|container| {
            let record = record::read::<SnapshotRecord>(&dir.join("record")).ok()?;
            let whole = dir.join("upper").is_dir()
                && dir.join("work").is_dir()
                && record.container == container
                && record.layers.iter().all(|layer| layout.layer_fs(&layer.id).is_dir());
            whole.then_some(record)
        });
        match known {
            Some(record) => {
                know_layers(layout, state, &record.layers);
                state.snapshots.insert(record.container.clone(), record);
            }
            None => {
                tracing::warn!(snapshot = name, "incomplete snapshot removed");
                remove(&dir);
            }
        }
    }
    Ok(())
}

/// Removes layers and blobs that no record names, unless there are damaged records: what seems unused may be theirs.
fn remove_unknown(layout: &Layout, state: &State) -> Result<(), StoreError> {
    if !state.damaged.is_empty() {
        return Ok(());
    }
    let of_images = state.images.values().flat_map(|i| i.record.layers.iter().map(|l| l.id.dir_name()));
    let of_snapshots = state.snapshots.values().flat_map(|s| s.layers.iter().map(|l| l.id.dir_name()));
    let layers: HashSet<String> = of_images.chain(of_snapshots).collect();
    let blobs: HashSet<String> = state
        .images
        .values()
        .flat_map(|i| [i.record.id.hex().to_owned(), i.record.manifest.hex().to_owned()])
        .collect();
    for (dir, known) in [(layout.layers(), layers), (layout.blobs(), blobs)] {
        for name in names(&dir)? {
            if !known.contains(&name) {
                tracing::info!(path = %dir.join(&name).display(), "unused, removed");
                remove(&dir.join(&name));
            }
        }
    }
    Ok(())
}
