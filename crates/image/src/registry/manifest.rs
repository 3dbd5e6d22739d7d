//! Manifests and indexes, read strictly: what a document is must be beyond doubt, since one that
//! can be read as either a manifest or an index means different things to different readers.

use std::collections::BTreeMap;

use berth_types::Digest;
use serde::Deserialize;

use super::send::shown;
use super::{MAX_LAYERS, Platform};
use crate::json::nullable;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// Media types of an image's configuration.
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
/// What a registry once wrote for a type that it was not told (distribution/distribution#1621): old images that
/// are in use still have it.
const LOST: [&str; 4] = ["application/octet-stream", "application/json", "text/html", ""];
/// Media types of layers. What compression they name is not relied on: builders get it wrong, and the first
/// bytes tell.
const LAYERS: [&str; 11] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

/// What a client that can read all of these sends as `Accept`.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

/// The most entries of an index looked at.
const MAX_ENTRIES: usize = 1024;

/// A reference to content, by the OCI image specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

impl Descriptor {
    /// Whether it is a layer of files. Of what compression is told by its first bytes.
    pub(crate) fn is_layer(&self) -> bool {
        [&LAYERS[..], &LOST].iter().any(|kinds| kinds.contains(&self.media_type.as_str()))
    }
}

/// The manifest of an image for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers, the lowest first.
    pub layers: Vec<Descriptor>,
    /// What it is when it is no container image.
    pub artifact: Option<Artifact>,
}

/// What a manifest says of itself that is no image's: its layers are files of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its type: `application/vnd.example.model`.
    pub kind: String,
    /// The names that the layers give their files, where they do.
    pub titles: Vec<Option<String>>,
}

/// An entry of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) descriptor: Descriptor,
    /// None when the index does not say.
    pub(crate) platform: Option<Platform>,
}

/// A document that a tag or digest led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Vec<Entry>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    #[serde(default)]
    schema_version: u64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default, deserialize_with = "nullable")]
    media_type: String,
    digest: String,
    size: i64,
    platform: Option<RawPlatform>,
    #[serde(default, deserialize_with = "nullable")]
    annotations: BTreeMap<String, serde_json::Value>,
}

/// The annotations that name a layer's file: OCI's own, then that of model packages.
const TITLES: [&str; 2] = ["org.opencontainers.image.title", "org.cnai.model.filepath"];

impl RawDescriptor {
    fn title(&self) -> Option<String> {
        let title = TITLES.iter().find_map(|name| self.annotations.get(*name)?.as_str());
        title.filter(|title| !title.is_empty()).map(str::to_owned)
    }
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default, deserialize_with = "nullable")]
    os: String,
    #[serde(default, deserialize_with = "nullable")]
    architecture: String,
    #[serde(default, deserialize_with = "nullable")]
    variant: String,
}

/// Why a document cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It is damaged, or not what its host says: another host may have it right.
    Malformed(String),
    /// It is something that Berth does not run, from any host.
    Unsupported(String),
}

/// Reads a document; `content_type` is what its host calls it.
pub(crate) fn parse(content_type: Option<&str>, bytes: &[u8]) -> Result<Document, Unusable> {
    let malformed = |problem: String| Unusable::Malformed(problem);
    let content_type = content_type.map(|text| text.split(';').next().unwrap_or_default().trim());
    if matches!(content_type, Some(DOCKER_SCHEMA1 | DOCKER_SCHEMA1_SIGNED)) {
        return Err(schema1());
    }
    let mut raw: RawDocument = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
    if raw.schema_version == 1 || raw.fs_layers.is_some() {
        return Err(schema1());
    }
    if raw.schema_version != 2 {
        return Err(malformed(format!("schemaVersion is {}, not 2", raw.schema_version)));
    }
    raw.media_type = raw.media_type.filter(|text| !text.is_empty());
    let header = content_type.filter(|text| is_index(text).is_some());
    // Which of the two families a host names does not matter: some have one name for both.
    if let (Some(header), Some(own)) = (header, raw.media_type.as_deref())
        && is_index(own).is_some_and(|own| is_index(header) != Some(own))
    {
        return Err(malformed(format!(
            "its media type is {:?}, but the Content-Type header says {header:?}",
            shown(own)
        )));
    }
    if raw.manifests.is_some() && (raw.layers.is_some() || raw.config.is_some()) {
        return Err(malformed("it is both a manifest and an index".to_owned()));
    }
    match raw.media_type.as_deref().or(header) {
        Some(OCI_INDEX | DOCKER_LIST) => index(raw.manifests),
        Some(OCI_MANIFEST | DOCKER_MANIFEST) => manifest(raw),
        Some(other) => Err(Unusable::Unsupported(format!("{:?} is not an image manifest", shown(other)))),
        None if raw.manifests.is_some() => index(raw.manifests),
        None => manifest(raw),
    }
}

/// Whether this is the media type of an index or of a manifest; None when it is neither.
fn is_index(media_type: &str) -> Option<bool> {
    match media_type {
        OCI_INDEX | DOCKER_LIST => Some(true),
        OCI_MANIFEST | DOCKER_MANIFEST => Some(false),
        _ => None,
    }
}

fn schema1() -> Unusable {
    Unusable::Unsupported(
        "it is a Docker schema 1 manifest, a format without digests, deprecated in 2017; \
         push the image again with a current tool"
            .to_owned(),
    )
}

fn index(entries: Option<Vec<RawDescriptor>>) -> Result<Document, Unusable> {
    let entries = entries.ok_or_else(|| Unusable::Malformed("the index has no manifests".to_owned()))?;
    if entries.len() > MAX_ENTRIES {
        let problem = format!("the index has {} entries, {MAX_ENTRIES} are allowed", entries.len());
        return Err(Unusable::Unsupported(problem));
    }
    // An entry with a digest that cannot be checked is ignored.
    let entry = |raw: RawDescriptor| {
        let platform = raw.platform.as_ref().map(|p| Platform::new(&p.os, &p.architecture, &p.variant));
        Some(Entry { descriptor: descriptor("entry", raw).ok()?, platform })
    };
    Ok(Document::Index(entries.into_iter().filter_map(entry).collect()))
}

fn manifest(raw: RawDocument) -> Result<Document, Unusable> {
    let missing = |part: &str| Unusable::Malformed(format!("the manifest has no {part}"));
    let config = descriptor("config", raw.config.ok_or_else(|| missing("config"))?)?;
    // A type that was lost is an image's, unless the manifest says that it is something else.
    let own_type = raw.artifact_type.filter(|kind| !kind.is_empty());
    let kind = config.media_type.as_str();
    let is_image = CONFIGS.contains(&kind) || (own_type.is_none() && LOST.contains(&kind));
    let kind = (!is_image).then(|| shown(&own_type.unwrap_or_else(|| kind.to_owned())));
    let layers = raw.layers.ok_or_else(|| missing("layers"))?;
    if layers.len() > MAX_LAYERS {
        let problem = format!("it has {} layers, {MAX_LAYERS} are allowed", layers.len());
        return Err(Unusable::Unsupported(problem));
    }
    let artifact =
        kind.map(|kind| Artifact { kind, titles: layers.iter().map(RawDescriptor::title).collect() });
    let layer = |(index, raw)| descriptor(&format!("layer {}", index + 1), raw);
    let layers = layers.into_iter().enumerate().map(layer).collect::<Result<_, _>>()?;
    Ok(Document::Manifest(Manifest { config, layers, artifact }))
}

fn descriptor(what: &str, raw: RawDescriptor) -> Result<Descriptor, Unusable> {
    let digest = raw.digest.parse().map_err(|_| {
        Unusable::Unsupported(format!("{what}: {:?} is not a sha256 digest", shown(&raw.digest)))
    })?;
    let size =
        u64::try_from(raw.size).map_err(|_| Unusable::Malformed(format!("{what}: size {}", raw.size)))?;
    Ok(Descriptor { media_type: raw.media_type, digest, size })
}

#[cfg(test)]
mod tests;
