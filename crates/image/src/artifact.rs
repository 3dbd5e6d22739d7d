//! OCI artifacts: packages of files of any kind (models, configurations, Helm charts), which are mounted as volumes.
//!
//! In the store an artifact is an image like any other, so that names, leases, snapshots, usage and removal need to know
//! nothing of it: each of its blobs is a layer with one file in it, kept as it came, under the name that the manifest
//! gives it. The configuration that makes it an image is written here, from the manifest alone: the same artifact has the same id
//! on every machine of a platform. See docs/adr/0089.

mod local;

use std::path::{Component, Path, PathBuf};

use berth_types::Digest;
use serde::Serialize;

pub(crate) use local::EMPTY;
pub use local::{NewArtifact, NewFile};

use crate::LayerSource;
use crate::registry::{Artifact, Descriptor, Platform};
use crate::store::record::sum;

/// The longest path of a file, and of a name in it.
const MAX_PATH: usize = 1024;
const MAX_NAME: usize = 255;

/// An artifact as an image.
#[derive(Debug)]
pub(crate) struct AsImage {
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<LayerSource>,
    /// The file of each layer.
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Config<'a> {
    architecture: &'a str,
    os: &'a str,
    variant: &'a str,
    #[serde(rename = "berth.artifact")]
    artifact: &'a str,
    /// So that two artifacts of the same files are two images.
    manifest: &'a Digest,
    rootfs: RootFs,
}

#[derive(Serialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: Vec<Digest>,
}

/// The image of an artifact with this manifest, for a platform: the one that it was asked for.
///
/// # Errors
/// Why a file's name cannot be one.
pub(crate) fn as_image(
    manifest: &Digest,
    artifact: &Artifact,
    blobs: &[Descriptor],
    platform: &Platform,
) -> Result<AsImage, String> {
    let titles = artifact.titles.iter().map(Option::as_deref).chain(std::iter::repeat(None));
    let files =
        blobs.iter().zip(titles).map(|(blob, title)| file(blob, title)).collect::<Result<Vec<_>, _>>()?;
    let diff_ids = blobs.iter().zip(&files).map(|(blob, file)| layer(&blob.digest, file)).collect();
    let [os, architecture, variant] = platform.parts();
    let config = Config {
        architecture,
        os,
        variant,
        artifact: &artifact.kind,
        manifest,
        rootfs: RootFs { kind: "layers", diff_ids },
    };
    let config = serde_json::to_vec(&config).expect("plain data with string keys");
    let layers =
        blobs.iter().map(|blob| LayerSource { digest: blob.digest.clone(), size: blob.size }).collect();
    Ok(AsImage { config, layers, files })
}

/// What stands for a layer's diff id: it has no tar.
fn layer(blob: &Digest, file: &Path) -> Digest {
    sum(format!("artifact {blob} {}", file.display()).as_bytes())
}

/// Where a blob's file lies. The title comes from whoever pushed it: it must lead to a place inside.
pub(crate) fn file(blob: &Descriptor, title: Option<&str>) -> Result<PathBuf, String> {
    let Some(title) = title else { return Ok(PathBuf::from(blob.digest.hex())) };
    let refused = || {
        let shown: String = title.chars().filter(|c| !c.is_control()).take(128).collect();
        format!("the layer {} has the title {shown:?}, which is not the name of a file in it", blob.digest)
    };
    let mut path = PathBuf::new();
    for part in Path::new(title).components() {
        match part {
            Component::Normal(name) if name.len() <= MAX_NAME => path.push(name),
            Component::CurDir => {}
            Component::Normal(_) | Component::RootDir | Component::ParentDir | Component::Prefix(_) => {
                return Err(refused());
            }
        }
    }
    let named = !path.as_os_str().is_empty() && !title.ends_with('/');
    if named && title.len() <= MAX_PATH && !title.contains('\0') { Ok(path) } else { Err(refused()) }
}

#[cfg(test)]
mod tests;
