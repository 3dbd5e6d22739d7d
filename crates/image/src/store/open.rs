//! Opening a store: what a killed process or a loss of power left is cleaned up.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use berth_sys::fs::{Durability, remove_tree};
use berth_types::{ContainerId, Digest};

use super::handover;
use super::layout::{ASIDE, Layout, is_dir, make_private, names};
use super::record::{self, Format, ImageRecord, LayerRecord, SnapshotRecord};
use super::state::{Damaged, Layer, State, Stored};
use crate::config::ImageConfig;
use crate::error::{StoreError, is_short_of_resources};
use crate::image::LayerId;
use unfinished::{Reading, Verdict};

mod unfinished;

/// Reads everything, and then removes what is half done or unused. When something cannot be read because this program
/// is too old or out of descriptors or memory, it fails before anything was removed.
pub(crate) fn open(layout: &Layout) -> Result<State, StoreError> {
    read_format(layout)?;
    let mut state = State::default();
    read_images(layout, &mut state)?;
    read_snapshots(layout, &mut state)?;
    for dir in [layout.staging(), layout.trash()] {
        for name in names(&dir)? {
            remove(&dir.join(name));
        }
    }
    for dir in [layout.records(), layout.blobs()] {
        record::remove_temporary(&dir)?;
    }
    for id in state.settle_tags() {
        let stored = &state.images[&id];
        record::write(&layout.record(&id), &stored.record, Durability::Power)?;
    }
    remove_unknown(layout, &state)?;
    Ok(state)
}

/// A store without the mark is older than the mark, and so of the first version.
fn read_format(layout: &Layout) -> Result<(), StoreError> {
    let path = layout.format();
    match record::read::<Format>(&path) {
        Err(error @ StoreError::Newer { .. }) => Err(error),
        Err(error) if is_short(&error) => Err(error),
        // Damage of the mark is no reason to keep a node from starting: each record has its own version.
        Ok(_) => Ok(()),
        Err(_) => record::write(&path, &Format::default(), Durability::Process),
    }
}

/// Whether an error says something of this process or machine, and nothing of the file.
fn is_short(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if is_short_of_resources(source))
}

/// Removes what is not used. One directory that cannot be removed must not keep a node from starting.
fn remove(path: &Path) {
    if let Err(error) = remove_tree(path) {
        tracing::error!(path = %path.display(), %error, "failed to remove an unused file");
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
                    Err(error) if is_short(&error) => return Err(error),
                    Err(error) => note_damage(state, name, error, there),
                }
            }
            Ok(_) => {
                let reason = "it is the record of another image".to_owned();
                note_damage(state, name, StoreError::Damaged { path, reason }, Vec::new());
            }
            Err(error @ StoreError::Newer { .. }) => return Err(error),
            Err(error) if is_short(&error) => return Err(error),
            Err(error) => note_damage(state, name, error, Vec::new()),
        }
    }
    Ok(())
}

pub(super) fn know_layers(layout: &Layout, state: &mut State, layers: &[LayerRecord]) -> Vec<LayerId> {
    // One that cannot be read is not known: a pull makes it again, beside the old one.
    let there = layers.iter().filter(|layer| is_dir(&layout.layer_fs(&layer.id)).unwrap_or(false));
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
        if !is_dir(&path).map_err(StoreError::io("look at", &path))? {
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

fn read_snapshots(layout: &Layout, state: &mut State) -> Result<(), StoreError> {
    for name in names(layout.snapshots())? {
        let dir = layout.snapshots().join(&name);
        let Ok(container) = name.parse::<ContainerId>() else {
            tracing::warn!(path = %dir.display(), "not a snapshot, left as it is");
            continue;
        };
        match look_at(layout, &container)? {
            Verdict::Known(record) => {
                make_private(&dir)?;
                know_layers(layout, state, &record.layers);
                state.snapshots.insert(container, record);
            }
            Verdict::Unreadable(error) => {
                let text = berth_types::error::chain(&error);
                tracing::error!(snapshot = name, error = text, "a snapshot cannot be read and is kept");
                state.unreadable.insert(container, error);
            }
            Verdict::Unfinished => {
                tracing::warn!(snapshot = name, "unfinished snapshot removed");
                if let Err(error) = unfinished::remove(&dir) {
                    tracing::error!(path = %dir.display(), %error, "failed to remove an unfinished snapshot");
                }
            }
        }
    }
    Ok(())
}

fn look_at(layout: &Layout, container: &ContainerId) -> Result<Verdict, StoreError> {
    let dir = layout.snapshot(container);
    let reading = read_snapshot(&dir.join("record"), container)?;
    let (upper, work) = (unfinished::content(&dir.join("upper"))?, unfinished::content(&dir.join("work"))?);
    let lent = dir.join(handover::LENT).exists();
    Ok(unfinished::verdict(&dir, reading, upper, work, lent))
}

/// What the record of a snapshot says, when it is that container's.
fn read_snapshot(path: &Path, container: &ContainerId) -> Result<Reading, StoreError> {
    match record::read::<SnapshotRecord>(path) {
        Ok(record) if record.container == *container => Ok(Reading::Good(record)),
        Ok(_) => {
            let reason = "it is the record of another container".to_owned();
            Ok(Reading::Failed(StoreError::Damaged { path: path.to_owned(), reason }))
        }
        Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(Reading::Absent),
        Err(error @ StoreError::Newer { .. }) => Err(error),
        Err(error) if is_short(&error) => Err(error),
        Err(error) => Ok(Reading::Failed(error)),
    }
}

/// Tries to read a snapshot that could not be read before. `None` when it still cannot.
pub(super) fn read_again(layout: &Layout, container: &ContainerId) -> Option<SnapshotRecord> {
    match look_at(layout, container) {
        Ok(Verdict::Known(record)) => Some(record),
        Ok(Verdict::Unreadable(_) | Verdict::Unfinished) | Err(_) => None,
    }
}

/// Removes layers and blobs that no record names, unless there are records that cannot be read: what seems unused may
/// be theirs. A layer that was set aside may be below any container, and goes when there is none.
fn remove_unknown(layout: &Layout, state: &State) -> Result<(), StoreError> {
    if !state.damaged.is_empty() || !state.unreadable.is_empty() {
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
            let in_use = name.starts_with(ASIDE) && !state.snapshots.is_empty();
            if !known.contains(&name) && !in_use {
                tracing::info!(path = %dir.join(&name).display(), "unused, removed");
                remove(&dir.join(&name));
            }
        }
    }
    Ok(())
}
