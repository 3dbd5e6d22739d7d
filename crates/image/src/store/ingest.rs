//! Adding an image: the lease of a pull or load, and the writers of its layers.

use std::sync::Arc;

use berth_types::Digest;

use crate::config::ImageConfig;
use crate::error::StoreError;
use crate::image::{Image, Names};

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
    /// How it is compressed.
    pub compression: Compression,
}

/// How a layer's tar is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Compression {
    /// Not.
    None,
    /// gzip, of one or several members.
    Gzip,
    /// zstd, of one or several frames.
    Zstd,
    /// Whatever its first bytes say (layers of docker archives have no media type).
    Detect,
}

impl Compression {
    /// What a layer's media type says; `None` for a type that is not a layer Berth unpacks.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        Some(match media_type {
            "application/vnd.oci.image.layer.v1.tar"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar"
            | "application/vnd.docker.image.rootfs.diff.tar" => Self::None,
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => Self::Gzip,
            "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Self::Zstd,
            _ => return None,
        })
    }
}

/// A pull or load under way. Holds on to every layer it found or wrote; dropping it without a
/// commit removes what nothing else uses. Layers may be written at the same time, in any order.
#[derive(Debug)]
pub struct Ingest {}

/// What is to be done about a layer.
#[derive(Debug)]
pub enum LayerStep {
    /// It is in the store: nothing.
    Present,
    /// Write the blob's bytes.
    Write(LayerWriter),
}

impl Ingest {
    /// The image's id: the digest of its configuration.
    pub fn id(&self) -> &Digest {
        unimplemented!()
    }

    /// The manifest's digest.
    pub fn manifest(&self) -> &Digest {
        unimplemented!()
    }

    /// The checked configuration.
    pub fn config(&self) -> &Arc<ImageConfig> {
        unimplemented!()
    }

    /// How many layers there are.
    pub fn layers(&self) -> usize {
        unimplemented!()
    }

    /// Whether a layer is in the store at this moment: a hint, to show it as present early.
    pub fn has_layer(&self, _index: usize) -> bool {
        unimplemented!()
    }

    /// Asks for a layer (counted from 0, the lowest). When another pull is writing the same one, waits
    /// for its end: then the layer is present, or it is this one's turn to write it. A caller that limits
    /// how many layers are fetched at once takes its permit before it calls this.
    pub async fn layer(&self, _index: usize) -> Result<LayerStep, StoreError> {
        unimplemented!()
    }

    /// Makes the image visible under these names: everything is synced, then the record is written. Every
    /// layer must have been found present or finished. Committing what is there already adds the names.
    pub async fn commit(self, _names: Names) -> Result<Arc<Image>, StoreError> {
        unimplemented!()
    }
}

/// Takes the bytes of one layer's blob, hashes them, and hands them to the unpacking process.
/// Dropping it removes what was unpacked.
#[derive(Debug)]
pub struct LayerWriter {}

impl LayerWriter {
    /// Takes the next bytes. Waits while the unpacking process is behind. Fails when there are more bytes than
    /// the blob has, or as soon as the unpacking process refused the layer.
    pub async fn write(&mut self, _bytes: &[u8]) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Bytes taken so far: where a broken transfer is resumed.
    pub fn written(&self) -> u64 {
        unimplemented!()
    }

    /// Ends the layer: size and digest of the blob and the diff id of its tar are checked, and the
    /// layer is kept for the ingest. When it fails, [`Ingest::layer`] may be asked again.
    pub async fn finish(self) -> Result<(), StoreError> {
        unimplemented!()
    }
}
