//! An artifact that is made here of files, as `oras push` and podman pack them: a manifest with an empty configuration and a
//! blob for each file. The same files, names and types are the same artifact.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_types::Digest;
use serde::Serialize;

use super::{AsImage, as_image, file};
use crate::error::StoreError;
use crate::registry::manifest::OCI_MANIFEST;
use crate::registry::{Artifact, Descriptor, MAX_LAYERS, Platform};
use crate::store::record::sum;
use crate::{Images, Ingest, Source};

/// The configuration of an artifact that has none (OCI image-spec, "guidance for an empty descriptor").
pub(crate) const EMPTY: &[u8] = b"{}";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// The annotation that names a blob's file.
const TITLE: &str = "org.opencontainers.image.title";
/// The most bytes of a media type.
const MAX_TYPE: usize = 255;

/// An artifact about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewArtifact {
    /// Its type: `application/vnd.example.model`.
    pub kind: String,
    /// Its files, of which there is at least one.
    pub files: Vec<NewFile>,
}

/// A file of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Its name, also with directories.
    pub title: String,
    /// The digest of its content.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// What it is.
    pub media_type: String,
    /// What is said of it besides.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u8,
    media_type: &'a str,
    artifact_type: &'a str,
    config: Entry<'a>,
    layers: Vec<Entry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    media_type: &'a str,
    digest: Digest,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, &'a str>,
}

impl Images {
    /// Begins to make an artifact: each file is to be written as the layer of its number. The digest of its manifest comes with it.
    ///
    /// # Errors
    /// A type or the name of a file cannot be one.
    pub async fn make_artifact(&self, new: &NewArtifact) -> Result<(Ingest, Digest), StoreError> {
        let (manifest, image) = packed(new).map_err(StoreError::Invalid)?;
        let digest = sum(&manifest);
        let source = Source { manifest, config: image.config, layers: image.layers };
        Ok((self.ingest_files(source, image.files).await?, digest))
    }
}

fn packed(new: &NewArtifact) -> Result<(Vec<u8>, AsImage), String> {
    if new.files.is_empty() || new.files.len() > MAX_LAYERS {
        return Err(format!("an artifact of {} files: there are 1 to {MAX_LAYERS}", new.files.len()));
    }
    for kind in new.files.iter().map(|file| &file.media_type).chain([&new.kind]) {
        if !is_media_type(kind) {
            return Err(format!("{kind:?} is not a media type, such as application/vnd.example.model"));
        }
    }
    let blobs: Vec<_> = new.files.iter().map(descriptor).collect();
    let titles: Vec<_> = new.files.iter().map(|file| Some(file.title.clone())).collect();
    for (at, (blob, one)) in blobs.iter().zip(&new.files).enumerate() {
        let path = file(blob, Some(&one.title))?;
        let same = |(earlier, other): (&Descriptor, &NewFile)| {
            file(earlier, Some(&other.title)).is_ok_and(|other| other == path)
        };
        if blobs.iter().zip(&new.files).take(at).any(same) {
            return Err(format!("two files are called {:?}", one.title));
        }
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: OCI_MANIFEST,
        artifact_type: &new.kind,
        config: Entry {
            media_type: EMPTY_TYPE,
            digest: sum(EMPTY),
            size: EMPTY.len() as u64,
            data: Some(STANDARD.encode(EMPTY)),
            annotations: BTreeMap::new(),
        },
        layers: new.files.iter().map(entry).collect(),
    };
    let manifest = serde_json::to_vec(&manifest).expect("plain data with string keys");
    let artifact = Artifact { kind: new.kind.clone(), titles };
    let image = as_image(&sum(&manifest), &artifact, &blobs, &Platform::host())?;
    Ok((manifest, image))
}

fn descriptor(file: &NewFile) -> Descriptor {
    Descriptor { media_type: file.media_type.clone(), digest: file.digest.clone(), size: file.size }
}

fn entry(file: &NewFile) -> Entry<'_> {
    let mut annotations: BTreeMap<&str, &str> =
        file.annotations.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    annotations.insert(TITLE, &file.title);
    Entry {
        media_type: &file.media_type,
        digest: file.digest.clone(),
        size: file.size,
        data: None,
        annotations,
    }
}

/// `type/subtype` of RFC 6838's letters.
fn is_media_type(text: &str) -> bool {
    let name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c))
    };
    text.len() <= MAX_TYPE && text.split_once('/').is_some_and(|(kind, sub)| name(kind) && name(sub))
}

#[cfg(test)]
mod tests;
