//! The images of an OCI image layout (`index.json`): an index over manifests and further indexes, of which those for
//! this machine are taken. Attestations, signatures and other artifacts that lie beside them are skipped.

use berth_types::{Digest, ImageRef};

use super::ArchiveError;
use super::contents::Contents;
use super::documents::{Descriptor, Index};
use super::load::{self, Found, MAX_DOCUMENT, MAX_IMAGES, blob_path, names};
use crate::config::MAX_BYTES;
use crate::registry::{Document, Entry, Manifest, Platform, Unusable};
use crate::store::record;
use crate::{LayerSource, Source};

/// How deep indexes may be nested in `index.json`.
const MAX_DEPTH: usize = 3;

/// The images of the layout, with what their names are.
pub(super) fn images(contents: &Contents) -> Result<Vec<Found>, ArchiveError> {
    let index: Index = load::parse("index.json", &contents.document("index.json", MAX_DOCUMENT)?)?;
    if index.manifests.len() > MAX_IMAGES {
        return Err(ArchiveError::Malformed(format!("more than {MAX_IMAGES} images")));
    }
    let mut layout = Layout { contents, platform: Platform::host(), unfit: None };
    let mut found = Vec::new();
    for (name, entries) in by_name(index.manifests) {
        for entry in layout.fitting(entries)? {
            let digest = entry.descriptor.digest.clone();
            if let Some(mut image) = layout.image(&entry, 0)? {
                image.names = names(name.as_slice(), &digest);
                found.push(image);
                // A name has one image; without a name each stands for itself.
                if name.is_some() {
                    break;
                }
            }
        }
    }
    if let (true, Some(unfit)) = (found.is_empty(), layout.unfit) {
        return Err(unfit);
    }
    name_as_docker(contents, &mut found)?;
    Ok(found)
}

/// The entries of `index.json` by the name they are for, in their order.
fn by_name(descriptors: Vec<Descriptor>) -> Vec<(Option<ImageRef>, Vec<Entry>)> {
    let mut groups: Vec<(Option<ImageRef>, Vec<Entry>)> = Vec::new();
    for descriptor in descriptors {
        let name = load::name_of(&descriptor);
        let platform = descriptor.platform.map(|p| Platform::new(&p.os, &p.architecture, &p.variant));
        let (media_type, digest, size) = (descriptor.media_type, descriptor.digest, descriptor.size);
        let entry = Entry { descriptor: crate::registry::Descriptor { media_type, digest, size }, platform };
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, entries)) => entries.push(entry),
            None => groups.push((name, vec![entry])),
        }
    }
    groups
}

/// Names from docker's list, for layouts that name their images only there.
fn name_as_docker(contents: &Contents, found: &mut [Found]) -> Result<(), ArchiveError> {
    if found.iter().any(|image| !image.names.tags.is_empty()) || !contents.has("manifest.json") {
        return Ok(());
    }
    for listed in load::docker_images(contents)? {
        let config = contents.document(&listed.config, MAX_BYTES as u64)?;
        if let Some(image) = found.iter_mut().find(|image| image.source.config == config) {
            image.names = names(&load::docker_names(&listed), &record::sum(&image.source.manifest));
        }
    }
    Ok(())
}

struct Layout<'a> {
    contents: &'a Contents,
    platform: Platform,
    /// The last thing that was skipped: reported when there is nothing else.
    unfit: Option<ArchiveError>,
}

impl Layout<'_> {
    /// Those of the entries that are for this machine, or for the only platform there is; and those that do not say.
    fn fitting(&self, mut entries: Vec<Entry>) -> Result<Vec<Entry>, ArchiveError> {
        // Build tools keep attestations as entries for unknown/unknown.
        let unknown = Platform::new("unknown", "unknown", "");
        entries.retain(|entry| entry.platform.as_ref() != Some(&unknown));
        let platforms: Vec<Platform> = entries.iter().filter_map(|entry| entry.platform.clone()).collect();
        let chosen = match self.platform.choose(&platforms) {
            Some(best) => Some(platforms[best].clone()),
            None if platforms.windows(2).all(|pair| pair[0] == pair[1]) => platforms.first().cloned(),
            None if platforms.len() < entries.len() => None,
            None => return Err(ArchiveError::NoPlatform(self.platform.to_string())),
        };
        entries.retain(|entry| entry.platform.is_none() || entry.platform == chosen);
        Ok(entries)
    }

    /// The image that an entry leads to, still without names; `None` when it is something else.
    fn image(&mut self, entry: &Entry, depth: usize) -> Result<Option<Found>, ArchiveError> {
        let digest = &entry.descriptor.digest;
        let refuse = |reason| ArchiveError::Document { path: blob_path(digest), reason };
        let bytes = blob(self.contents, digest)?;
        let entries = match crate::registry::parse(Some(&entry.descriptor.media_type), &bytes) {
            Ok(Document::Manifest(Manifest { artifact: Some(artifact), .. })) => {
                self.unfit = Some(refuse(format!("it is not a container image but {:?}", artifact.kind)));
                return Ok(None);
            }
            Ok(Document::Manifest(manifest)) => return image(self.contents, bytes, &manifest).map(Some),
            Ok(Document::Index(entries)) => entries,
            Err(Unusable::Malformed(reason)) => return Err(refuse(reason)),
            Err(Unusable::Unsupported(reason)) => {
                self.unfit = Some(refuse(reason));
                return Ok(None);
            }
        };
        if depth == MAX_DEPTH {
            return Err(refuse(format!("more than {MAX_DEPTH} nested indexes")));
        }
        // docker saves an index as it is, with what it has of it.
        let there = |entry: &Entry| self.contents.has(&blob_path(&entry.descriptor.digest));
        for entry in self.fitting(entries.into_iter().filter(there).collect())? {
            if let Some(found) = self.image(&entry, depth + 1)? {
                return Ok(Some(found));
            }
        }
        self.unfit.get_or_insert_with(|| ArchiveError::NoPlatform(self.platform.to_string()));
        Ok(None)
    }
}

fn image(contents: &Contents, bytes: Vec<u8>, manifest: &Manifest) -> Result<Found, ArchiveError> {
    let config = blob(contents, &manifest.config.digest)?;
    let mut spans = Vec::new();
    let mut layers = Vec::new();
    for layer in &manifest.layers {
        let path = blob_path(&layer.digest);
        if !layer.is_layer() {
            let reason = format!("{:?} is not a layer", layer.media_type);
            return Err(ArchiveError::Document { path, reason });
        }
        let span = contents.find(&path)?;
        spans.push(span);
        layers.push(LayerSource { digest: layer.digest.clone(), size: span.size });
    }
    let source = Source { manifest: bytes, config, layers };
    Ok(Found { source, layers: spans, names: crate::Names::default() })
}

fn blob(contents: &Contents, digest: &Digest) -> Result<Vec<u8>, ArchiveError> {
    let path = blob_path(digest);
    let bytes = contents.document(&path, MAX_BYTES as u64)?;
    if record::sum(&bytes) != *digest {
        return Err(ArchiveError::Document { path, reason: "its content has another digest".into() });
    }
    Ok(bytes)
}
