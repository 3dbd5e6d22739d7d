//! Saving images into an archive, and checking layers by the same means.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};

use berth_types::Digest;

use super::documents::{
    CONTAINERD_NAME, Descriptor, DockerImage, INDEX, Index, MANIFEST, Platform, REF_NAME,
};
use super::load::{manifest, off_runtime};
use super::{ArchiveError, io, rebuild};
use crate::registry::{Document, parse};
use crate::store::record::{self, ImageRecord, LayerRecord};
use crate::store::remove::is_named;
use crate::{Images, LayerSource, StoreError};

impl Images {
    /// Writes images into one archive that is both an OCI image layout and docker's, by the names given. An image that is
    /// named by a tag has only that tag there, one that is named by its id has all of its tags.
    pub async fn save(&self, names: &[String], out: File) -> Result<(), ArchiveError> {
        let mut chosen: Vec<(ImageRecord, Vec<String>)> = Vec::new();
        for name in names {
            let image = self.find(name)?.ok_or_else(|| StoreError::NotFound(name.clone()))?;
            let tag = image.tags.iter().find(|tag| is_named(tag, name));
            let tags = tag.map_or_else(|| image.tags.clone(), |tag| vec![tag.clone()]);
            match chosen.iter_mut().find(|(known, _)| known.id == image.id) {
                Some((_, known)) => known.extend(tags),
                None => chosen.push((self.record(&image.id)?, tags)),
            }
        }
        let images = self.clone();
        // The records are copies; a layer that is removed in the meantime is an error, not other content.
        off_runtime(move || write(&images, &chosen, out)).await
    }

    /// Reads every file of an image's layers and checks that they still make the tars that the image's
    /// configuration names.
    pub async fn verify(&self, id: &Digest) -> Result<(), ArchiveError> {
        let record = self.record(id)?;
        let images = self.clone();
        off_runtime(move || {
            let mut checked = HashSet::new();
            for layer in &record.layers {
                if checked.insert(&layer.id) && layer.reproducible {
                    write_layer(&images, layer, &mut io::sink())?;
                }
            }
            Ok(())
        })
        .await
    }
}

/// Writes the tar that a layer was.
pub(crate) fn write_layer(
    images: &Images,
    layer: &LayerRecord,
    out: &mut impl Write,
) -> Result<(), ArchiveError> {
    let dir = images.layout().layer(&layer.id);
    if !images.layout().recipe(&layer.id).exists() {
        return Err(ArchiveError::Layer {
            layer: dir,
            reason: "it is a file of an artifact, not a layer".to_owned(),
        });
    }
    if !layer.reproducible {
        let reason = "its tar had two entries for one path, and only the last is kept".to_owned();
        return Err(ArchiveError::Layer { layer: dir, reason });
    }
    rebuild::rebuild(&dir, &layer.diff_id, layer.tar_bytes, out)
}

fn write(images: &Images, chosen: &[(ImageRecord, Vec<String>)], out: File) -> Result<(), ArchiveError> {
    let mut archive = Archive { out: BufWriter::with_capacity(1 << 20, out), there: HashSet::new() };
    let mut index = Index { schema_version: 2, media_type: INDEX.to_owned(), manifests: Vec::new() };
    let mut docker = Vec::new();
    for (record, tags) in chosen {
        let config = crate::store::read_blob(images, &record.id)?;
        let parsed = crate::ImageConfig::parse(&config).map_err(StoreError::from)?;
        let by_diff_id = |diff_id: &Digest| {
            let layer = record.layers.iter().find(|layer| layer.diff_id == *diff_id);
            layer.ok_or_else(|| ArchiveError::Malformed(format!("the record has no layer {diff_id}")))
        };
        let mut layers = Vec::new();
        for diff_id in &parsed.diff_ids {
            let layer = by_diff_id(diff_id)?;
            archive.layer(images, layer)?;
            let (digest, size) = (diff_id.clone(), layer.tar_bytes);
            layers.push(LayerSource { digest, size });
        }
        archive.blob(&config)?;
        let (manifest, kind) = match own_manifest(images, record, &layers)? {
            Some(own) => own,
            None => (manifest(&config, &layers), MANIFEST.to_owned()),
        };
        archive.blob(&manifest)?;
        let platform = Platform {
            architecture: parsed.architecture.clone(),
            os: parsed.os.clone(),
            variant: parsed.variant.clone(),
        };
        index.manifests.extend(descriptors((&manifest, &kind), &platform, tags));
        docker.push(DockerImage {
            config: path(&record.id),
            repo_tags: Some(tags.clone()),
            layers: parsed.diff_ids.iter().map(path).collect(),
        });
    }
    archive.file("index.json", &json(&index))?;
    archive.file("manifest.json", &json(&docker))?;
    archive.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    archive.finish()
}

/// The manifest that the image came with, byte for byte, and its type: where what is written is what it names.
fn own_manifest(
    images: &Images,
    record: &ImageRecord,
    layers: &[LayerSource],
) -> Result<Option<(Vec<u8>, String)>, ArchiveError> {
    let bytes = crate::store::read_blob(images, &record.manifest)?;
    let Ok(Document::Manifest(document)) = parse(None, &bytes) else { return Ok(None) };
    let same = document.config.digest == record.id
        && document.layers.len() == layers.len()
        && document.layers.iter().zip(layers).all(|(one, other)| one.digest == other.digest);
    let kind = serde_json::from_slice::<Kinded>(&bytes).ok().and_then(|kinded| kinded.media_type);
    Ok(same.then(|| (bytes, kind.unwrap_or_else(|| MANIFEST.to_owned()))))
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kinded {
    media_type: Option<String>,
}

/// One descriptor for each tag, or one without a name.
fn descriptors((manifest, kind): (&[u8], &str), platform: &Platform, tags: &[String]) -> Vec<Descriptor> {
    let plain = Descriptor {
        media_type: kind.to_owned(),
        digest: record::sum(manifest),
        size: manifest.len() as u64,
        platform: Some(platform.clone()),
        annotations: BTreeMap::new(),
    };
    if tags.is_empty() {
        return vec![plain];
    }
    let named = |tag: &String| {
        let short = tag.rsplit_once(':').map_or(tag.as_str(), |(_, short)| short);
        let annotations =
            [(CONTAINERD_NAME, tag.as_str()), (REF_NAME, short)].map(|(k, v)| (k.to_owned(), v.to_owned()));
        Descriptor { annotations: annotations.into(), ..plain.clone() }
    };
    tags.iter().map(named).collect()
}

fn json<T: serde::Serialize>(document: &T) -> Vec<u8> {
    serde_json::to_vec(document).expect("plain data with string keys")
}

fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The tar being written.
struct Archive {
    out: BufWriter<File>,
    there: HashSet<Digest>,
}

impl Archive {
    fn blob(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        let digest = record::sum(bytes);
        if self.there.insert(digest.clone()) { self.file(&path(&digest), bytes) } else { Ok(()) }
    }

    fn layer(&mut self, images: &Images, layer: &LayerRecord) -> Result<(), ArchiveError> {
        if !self.there.insert(layer.diff_id.clone()) {
            return Ok(());
        }
        self.header(&path(&layer.diff_id), layer.tar_bytes)?;
        write_layer(images, layer, &mut self.out)?;
        self.pad(layer.tar_bytes)
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.header(name, bytes.len() as u64)?;
        self.out.write_all(bytes).map_err(io("write"))?;
        self.pad(bytes.len() as u64)
    }

    /// A ustar header of a regular file; sizes from 8 GiB on are written as GNU tar does.
    fn header(&mut self, name: &str, size: u64) -> Result<(), ArchiveError> {
        let mut block = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, name.as_bytes());
        put(100, b"0000644\0");
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        if size < 1 << 33 {
            put(124, format!("{size:011o}\0").as_bytes());
        } else {
            put(124, &[0x80, 0, 0, 0]);
            put(128, &size.to_be_bytes());
        }
        put(136, b"00000000000\0");
        put(148, b"        ");
        put(156, b"0");
        put(257, b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.out.write_all(&block).map_err(io("write"))
    }

    fn pad(&mut self, size: u64) -> Result<(), ArchiveError> {
        let padding = usize::try_from(crate::unpack::tar::padding(size)).expect("under a block");
        self.out.write_all(&[0; 512][..padding]).map_err(io("write"))
    }

    fn finish(mut self) -> Result<(), ArchiveError> {
        self.out.write_all(&[0; 1024]).map_err(io("write"))?;
        self.out.flush().map_err(io("write"))
    }
}
