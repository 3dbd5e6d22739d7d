//! Loading an archive.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::sync::Arc;

use berth_trust::{Policy, rule_for};
use berth_types::reference::Parsed;
use berth_types::{Digest, ImageRef};
use serde::de::DeserializeOwned;

use super::contents::{Contents, Span};
use super::documents::{
    CONFIG, CONTAINERD_NAME, Descriptor, DockerImage, LAYER, MANIFEST, Manifest, REF_NAME,
};
use super::{ArchiveError, inflate, io, layout};
use crate::config::{ImageConfig, MAX_BYTES};
use crate::store::record;
use crate::{Image, Images, LayerSource, LayerStep, LayerWriter, Names, Source};

/// The most bytes of a document.
pub(super) const MAX_DOCUMENT: u64 = 8 << 20;
/// The most images of one archive.
pub(super) const MAX_IMAGES: usize = 1000;
/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// How far a load is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadProgress {
    /// The layer's blob.
    pub layer: Digest,
    /// Bytes of it that were read.
    pub done: u64,
    /// Bytes of it.
    pub total: u64,
}

/// An image of an archive, before anything of it is in the store.
pub(super) struct Found {
    pub(super) source: Source,
    pub(super) layers: Vec<Span>,
    pub(super) names: Names,
}

impl Images {
    /// Adds the images of an archive, an OCI image layout or docker's, plain or compressed layers. A pipe is
    /// written to a temporary file first, since docker puts what names the layers at the end. Of an index the images for
    /// this machine's architecture are taken. Returns what was added.
    pub async fn load(
        &self,
        archive: File,
        progress: impl FnMut(LoadProgress) + Send,
    ) -> Result<Vec<Arc<Image>>, ArchiveError> {
        self.load_by(None, archive, progress).await
    }

    /// The same, if the policy lets archives in. They have no signatures.
    pub async fn load_by(
        &self,
        policy: Option<Policy>,
        archive: File,
        mut progress: impl FnMut(LoadProgress) + Send,
    ) -> Result<Vec<Arc<Image>>, ArchiveError> {
        let images = self.clone();
        let (contents, found) = off_runtime(move || {
            let archive = seekable(&images, archive)?;
            let contents = Contents::read(archive)?;
            if let Some(policy) = policy {
                allow(&policy, &contents)?;
            }
            let found =
                if contents.has("index.json") { layout::images(&contents)? } else { docker(&contents)? };
            let found = merge(found);
            Ok((contents, found))
        })
        .await?;
        let contents = Arc::new(contents);
        let mut loaded = Vec::new();
        for image in found {
            let sources = image.source.layers.clone();
            let ingest = self.ingest(image.source).await?;
            for (index, span) in image.layers.iter().enumerate() {
                if let LayerStep::Write(writer) = ingest.layer(index).await? {
                    write_layer(writer, &contents, *span, &sources[index], &mut progress).await?;
                }
            }
            loaded.push(ingest.commit(image.names).await?);
        }
        Ok(loaded)
    }
}

/// Whether a policy accepts an archive of this kind. It comes as a stream, so that it has no path that could be a scope.
fn allow(policy: &Policy, contents: &Contents) -> Result<(), ArchiveError> {
    let transport = if contents.has("index.json") { "oci-archive" } else { "docker-archive" };
    Ok(rule_for(policy, transport, None).without_signatures()?)
}

async fn write_layer(
    mut writer: LayerWriter,
    contents: &Arc<Contents>,
    span: Span,
    source: &LayerSource,
    progress: &mut (impl FnMut(LoadProgress) + Send),
) -> Result<(), ArchiveError> {
    let mut buffer = vec![0; PIECE];
    while writer.written() < span.size {
        let (contents, done) = (contents.clone(), writer.written());
        let length;
        (buffer, length) = off_runtime(move || {
            let length = contents.piece(span, done, &mut buffer)?;
            Ok((buffer, length))
        })
        .await?;
        writer.write(&buffer[..length]).await?;
        progress(LoadProgress { layer: source.digest.clone(), done: writer.written(), total: span.size });
    }
    Ok(writer.finish().await?)
}

pub(crate) async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, ArchiveError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(ArchiveError::Malformed("the daemon ends".into())),
    }
}

/// An archive itself, or a nameless copy of what comes through a pipe or is compressed.
pub(crate) fn seekable(images: &Images, mut archive: File) -> Result<File, ArchiveError> {
    if archive.seek(SeekFrom::Start(0)).is_err() {
        let mut copy = inflate::temporary(images)?;
        std::io::copy(&mut archive, &mut copy).map_err(io("copy to a temporary file"))?;
        archive = copy;
    }
    match inflate::is_compressed(&archive)? {
        true => inflate::inflate(images, archive),
        false => Ok(archive),
    }
}

pub(super) fn parse<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, ArchiveError> {
    serde_json::from_slice(bytes)
        .map_err(|e| ArchiveError::Document { path: path.to_owned(), reason: e.to_string() })
}

pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The same manifest under several names is one image.
fn merge(found: Vec<Found>) -> Vec<Found> {
    let mut merged: Vec<Found> = Vec::new();
    for image in found {
        match merged.iter_mut().find(|known| known.source.manifest == image.source.manifest) {
            Some(known) => {
                known.names.tags.extend(image.names.tags);
                known.names.repo_digests.extend(image.names.repo_digests);
            }
            None => merged.push(image),
        }
    }
    merged
}

/// The complete reference that an archive gives an image, if it gives one.
pub(super) fn name_of(descriptor: &Descriptor) -> Option<ImageRef> {
    let full = |key| descriptor.annotations.get(key).and_then(|name| full_name(name));
    full(CONTAINERD_NAME).or_else(|| full(REF_NAME))
}

/// Archives name docker's images without the host.
fn full_name(name: &str) -> Option<ImageRef> {
    match ImageRef::parse(name).ok()? {
        Parsed::Full(reference) => Some(reference),
        // A bare word is a tag as the OCI layout has it, not a repository.
        Parsed::Short(short) if name.contains([':', '/']) => short.on_host("docker.io").ok(),
        Parsed::Short(_) => None,
    }
}

pub(super) fn names(references: &[ImageRef], digest: &Digest) -> Names {
    let mut repo_digests: Vec<_> = references.iter().map(|r| r.with_digest(digest)).collect();
    repo_digests.dedup();
    Names { tags: references.iter().filter_map(ImageRef::tagged).collect(), repo_digests }
}

/// docker's archives have no manifest of their own: one is made, of the layers as they are.
fn docker(contents: &Contents) -> Result<Vec<Found>, ArchiveError> {
    if !contents.has("manifest.json") {
        return Err(ArchiveError::Malformed("neither index.json nor manifest.json is in it".into()));
    }
    docker_images(contents)?.iter().map(|image| docker_image(contents, image)).collect()
}

/// What docker's `manifest.json` lists.
pub(super) fn docker_images(contents: &Contents) -> Result<Vec<DockerImage>, ArchiveError> {
    let listed: Vec<DockerImage> =
        parse("manifest.json", &contents.document("manifest.json", MAX_DOCUMENT)?)?;
    if listed.len() > MAX_IMAGES {
        return Err(ArchiveError::Malformed(format!("more than {MAX_IMAGES} images")));
    }
    Ok(listed)
}

/// The complete references that docker's list gives an image.
pub(super) fn docker_names(image: &DockerImage) -> Vec<ImageRef> {
    image.repo_tags.iter().flatten().filter_map(|tag| full_name(tag)).collect()
}

fn docker_image(contents: &Contents, image: &DockerImage) -> Result<Found, ArchiveError> {
    let config = contents.document(&image.config, MAX_BYTES as u64)?;
    // Checked before layers are read for their digests.
    ImageConfig::parse(&config).map_err(crate::StoreError::from)?;
    let mut layers = Vec::new();
    let mut spans = Vec::new();
    for path in &image.layers {
        let span = contents.find(path)?;
        let digest = digest_of(contents, span)?;
        layers.push(LayerSource { digest, size: span.size });
        spans.push(span);
    }
    let manifest = manifest(&config, &layers);
    let names = names(&docker_names(image), &record::sum(&manifest));
    Ok(Found { source: Source { manifest, config, layers }, layers: spans, names })
}

fn digest_of(contents: &Contents, span: Span) -> Result<Digest, ArchiveError> {
    use sha2::Digest as _;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; PIECE];
    let mut done = 0;
    while done < span.size {
        let length = contents.piece(span, done, &mut buffer)?;
        hasher.update(&buffer[..length]);
        done += length as u64;
    }
    Ok(Digest::from_sha256(hasher.finalize().into()))
}

/// A manifest over these blobs.
pub(super) fn manifest(config: &[u8], layers: &[LayerSource]) -> Vec<u8> {
    let descriptor = |media_type: &str, digest: Digest, size: u64| Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        platform: None,
        annotations: std::collections::BTreeMap::new(),
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST.to_owned(),
        config: descriptor(CONFIG, record::sum(config), config.len() as u64),
        layers: layers.iter().map(|l| descriptor(LAYER, l.digest.clone(), l.size)).collect(),
    };
    serde_json::to_vec(&manifest).expect("plain data with string keys")
}
