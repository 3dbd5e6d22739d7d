//! Images made here: of a container with what it wrote (`commit`), and of a tree in a tar (`import`). And the root of a
//! container as a tar (`export`).
//!
//! A layer is written to a nameless file first, since its digest stands in what names it; then it goes through the same unpacking
//! as any other layer. The layers below keep the blobs that they came as, so a registry that has them is sent nothing.

use std::fs::File;
use std::io::{BufWriter, Seek as _, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use berth_types::{ContainerId, Digest};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::archive::{ArchiveError, inflate_archive, io, off_runtime, temporary_file};
use crate::config::ImageConfig;
use crate::registry::Platform;
use crate::store::changes::Root;
use crate::store::{read_blob, walk};
use crate::tree_tar::{self, Ids};
use crate::{Image, Images, LayerSource, LayerStep, Names, Source, StoreError};

mod change;

pub use change::ChangeError;

/// Bytes handed on at a time.
const PIECE: usize = 1 << 20;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What is said of a new image.
#[derive(Debug, Clone, Default)]
pub struct Words {
    /// What it is called.
    pub names: Names,
    /// Who made it; empty keeps that of the image below.
    pub author: String,
    /// A remark in its history.
    pub message: String,
    /// Instructions as in a Dockerfile: `CMD ["a"]`, `ENV A=b`.
    pub changes: Vec<String>,
}

/// What a container had that its image did not say.
#[derive(Debug, Clone, Default)]
pub struct RunWith {
    /// Variables, `NAME=value`.
    pub env: Vec<String>,
    /// In the place of the image's.
    pub entrypoint: Option<Vec<String>>,
    /// In the place of the image's.
    pub cmd: Option<Vec<String>>,
    /// In the place of the image's.
    pub working_dir: Option<String>,
    /// In the place of the image's.
    pub user: Option<String>,
    /// Its command, for the history.
    pub command: String,
}

/// Which files.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Paths at which something is mounted: they are left out.
    pub without: Vec<PathBuf>,
    /// The ids of the container's user namespace.
    pub ids: Option<Ids>,
}

/// A layer as an older manifest names it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Below {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    size: u64,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    layers: Vec<Below>,
}

impl Images {
    /// Writes the root of a container as a tar.
    ///
    /// # Errors
    /// It has no writable layer, or a file cannot be read or written.
    pub async fn export(
        &self,
        container: &ContainerId,
        ids: Option<Ids>,
        out: File,
    ) -> Result<(), ArchiveError> {
        let Root { upper, lowers, .. } = self.root_of(container)?;
        let images = self.clone();
        off_runtime(move || {
            let dirs = std::iter::once(&upper).chain(&lowers).map(|dir| walk::root(dir));
            let dirs =
                dirs.collect::<std::io::Result<Vec<_>>>().map_err(io("open the container's layers"))?;
            let mounted = berth_sys::overlay::mount_read_only(&dirs, images.dir());
            let mounted =
                mounted.map_err(|e| io("mount the container's layers")(std::io::Error::other(e)))?;
            let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
            let root = walk::open_in(std::os::fd::AsFd::as_fd(&mounted), c".", flags);
            let root = root.map_err(|e| io("open the container's root")(e.into()))?;
            tree_tar::whole(root, ids, BufWriter::with_capacity(PIECE, out)).map_err(io("export"))
        })
        .await
    }

    /// Makes an image of a container: of its image, with one more layer.
    ///
    /// # Errors
    /// The container has no writable layer, or its image is gone; an instruction is wrong; the store refuses.
    pub async fn commit_container(
        &self,
        container: &ContainerId,
        files: Files,
        run: RunWith,
        words: Words,
    ) -> Result<Arc<Image>, ArchiveError> {
        let Root { image, upper, lowers } = self.root_of(container)?;
        let record = self.record(&image)?;
        let images = self.clone();
        let (layer, source, names) = off_runtime(move || {
            let file = temporary_file(&images)?;
            let out = BufWriter::with_capacity(PIECE, &file);
            tree_tar::layer(&upper, &lowers, &files.without, files.ids, out)
                .map_err(io("make a layer of what the container wrote"))?;
            let layer = Layer::of(file)?;
            let manifest: Manifest = document(&read_blob(&images, &record.manifest)?)?;
            let below = blobs_below(manifest, &record.layers);
            let config: Value = document(&read_blob(&images, &record.id)?)?;
            let config = with_layer(config, &layer, &run, &words)?;
            let source = source(&config, below, &layer);
            Ok((layer, source, words.names))
        })
        .await?;
        self.add(layer, source, names).await
    }

    /// Makes an image of one layer, which is the tree in a tar: plain, or compressed by gzip or zstd.
    ///
    /// # Errors
    /// It is no tar; an instruction is wrong; the store refuses.
    pub async fn import(&self, tar: File, words: Words) -> Result<Arc<Image>, ArchiveError> {
        let images = self.clone();
        let (layer, source, names) = off_runtime(move || {
            let layer = Layer::of(inflate_archive(&images, tar)?)?;
            let [os, architecture, variant] = Platform::host().parts().map(str::to_owned);
            let mut config =
                json!({ "os": os, "architecture": architecture, "rootfs": { "type": "layers" } });
            if !variant.is_empty() {
                config["variant"] = json!(variant);
            }
            let config = with_layer(config, &layer, &RunWith::default(), &words)?;
            let source = source(&config, Vec::new(), &layer);
            Ok((layer, source, words.names))
        })
        .await?;
        self.add(layer, source, names).await
    }

    /// Adds an image of which only the last layer is new.
    async fn add(&self, layer: Layer, source: Source, names: Names) -> Result<Arc<Image>, ArchiveError> {
        let last = source.layers.len() - 1;
        let ingest = self.ingest(source).await?;
        for index in 0..last {
            if let LayerStep::Write(_) = ingest.layer(index).await? {
                return Err(ArchiveError::Malformed("a layer of the image below is gone".into()));
            }
        }
        if let LayerStep::Write(mut writer) = ingest.layer(last).await? {
            let file = Arc::new(layer.file);
            let mut buffer = vec![0; PIECE];
            while writer.written() < layer.size {
                let (file, done) = (file.clone(), writer.written());
                let most = usize::try_from(layer.size - done).unwrap_or(PIECE).min(PIECE);
                buffer = off_runtime(move || {
                    file.read_exact_at(&mut buffer[..most], done).map_err(io("read the layer"))?;
                    Ok(buffer)
                })
                .await?;
                writer.write(&buffer[..most]).await?;
            }
            writer.finish().await?;
        }
        Ok(ingest.commit(names).await?)
    }
}

/// A layer's tar.
struct Layer {
    file: File,
    digest: Digest,
    size: u64,
}

impl Layer {
    fn of(mut file: File) -> Result<Self, ArchiveError> {
        use sha2::Digest as _;
        file.seek(SeekFrom::Start(0)).map_err(io("read the layer"))?;
        let mut hasher = Hasher(sha2::Sha256::new());
        let size = std::io::copy(&mut file, &mut hasher).map_err(io("read the layer"))?;
        Ok(Self { file, digest: Digest::from_sha256(hasher.0.finalize().into()), size })
    }
}

struct Hasher(sha2::Sha256);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        sha2::Digest::update(&mut self.0, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn document<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, ArchiveError> {
    let path = "the image below".to_owned();
    serde_json::from_slice(bytes).map_err(|e| ArchiveError::Document { path, reason: e.to_string() })
}

/// The layers below as they came, or as plain tars where their manifest does not name each.
fn blobs_below(manifest: Manifest, records: &[crate::store::record::LayerRecord]) -> Vec<Value> {
    if manifest.layers.len() == records.len() {
        let one = |below: Below| {
            let kind = below
                .media_type
                .replace("vnd.docker.image.rootfs.diff.tar.gzip", "vnd.oci.image.layer.v1.tar+gzip");
            let kind = kind.replace("vnd.docker.image.rootfs.diff.tar", "vnd.oci.image.layer.v1.tar");
            let kind = if kind.is_empty() { format!("{LAYER}+gzip") } else { kind };
            json!({ "mediaType": kind, "digest": below.digest, "size": below.size })
        };
        return manifest.layers.into_iter().map(one).collect();
    }
    let plain = |of: &crate::store::record::LayerRecord| json!({ "mediaType": LAYER, "digest": of.diff_id, "size": of.tar_bytes });
    records.iter().map(plain).collect()
}

fn source(config: &[u8], below: Vec<Value>, layer: &Layer) -> Source {
    let known = |of: &Value| LayerSource {
        digest: serde_json::from_value(of["digest"].clone()).expect("a digest was written"),
        size: of["size"].as_u64().unwrap_or_default(),
    };
    let mut layers: Vec<LayerSource> = below.iter().map(known).collect();
    layers.push(LayerSource { digest: layer.digest.clone(), size: layer.size });
    let mut blobs = below;
    blobs.push(json!({ "mediaType": LAYER, "digest": layer.digest, "size": layer.size }));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "digest": crate::store::record::sum(config), "size": config.len() },
        "layers": blobs,
    });
    Source { manifest: manifest.to_string().into_bytes(), config: config.to_vec(), layers }
}

/// The configuration with one more layer, and with what a container and its committer add.
fn with_layer(
    mut config: Value,
    layer: &Layer,
    run: &RunWith,
    words: &Words,
) -> Result<Vec<u8>, ArchiveError> {
    let wrong = |reason: &str| ArchiveError::Document {
        path: "the image's configuration".to_owned(),
        reason: reason.to_owned(),
    };
    let mut stamper = berth_types::stamp::Stamper::default();
    let now = String::from_utf8_lossy(stamper.text(berth_sys::clock::now())).into_owned();
    let all = config.as_object_mut().ok_or_else(|| wrong("it is not an object"))?;
    all.insert("created".to_owned(), json!(now));
    if !words.author.is_empty() {
        all.insert("author".to_owned(), json!(words.author));
    }
    // What docker tells of the container that the image below was made in.
    all.remove("container");
    all.remove("container_config");
    let diff_ids = object(all, "rootfs").entry("diff_ids").or_insert_with(|| json!([]));
    match diff_ids {
        Value::Array(ids) => ids.push(json!(layer.digest)),
        other => *other = json!([layer.digest]),
    }
    let mut step = json!({ "created": now, "created_by": run.command });
    for (key, value) in [("author", &words.author), ("comment", &words.message)] {
        if !value.is_empty() {
            step[key] = json!(value);
        }
    }
    match all.entry("history").or_insert_with(|| json!([])) {
        Value::Array(steps) => steps.push(step),
        other => *other = json!([step]),
    }
    let inner = object(all, "config");
    run.add_to(inner);
    for text in &words.changes {
        change::apply(text, inner).map_err(ArchiveError::Change)?;
    }
    let bytes = config.to_string().into_bytes();
    ImageConfig::parse(&bytes).map_err(StoreError::from)?;
    Ok(bytes)
}

/// An object in an object; what is not there or no object is made.
fn object<'a>(of: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = of.entry(key).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was just made one")
}

impl RunWith {
    fn add_to(&self, config: &mut Map<String, Value>) {
        for variable in &self.env {
            if let Some((name, value)) = variable.split_once('=') {
                change::set_env(config, name, value);
            }
        }
        // An entrypoint of the container's own leaves nothing of the image's arguments.
        if let Some(entrypoint) = &self.entrypoint {
            config.insert("Entrypoint".to_owned(), json!(entrypoint));
            config.remove("Cmd");
        }
        if let Some(cmd) = &self.cmd {
            config.insert("Cmd".to_owned(), json!(cmd));
        }
        for (key, value) in [("WorkingDir", &self.working_dir), ("User", &self.user)] {
            if let Some(value) = value {
                config.insert(key.to_owned(), json!(value));
            }
        }
    }
}

#[cfg(test)]
mod tests;
