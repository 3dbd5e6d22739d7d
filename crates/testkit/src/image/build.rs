//! Images and indexes: the JSON documents around layers.

use berth_types::Digest;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Blob, Compression, Content, digest_of};

/// The family of media types an image is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// OCI image specification 1.1.
    Oci,
    /// Docker image manifest version 2, schema 2.
    Docker,
}

/// The architecture of this machine in the words of images.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An image in the making.
#[derive(Debug, Clone)]
pub struct Image {
    format: Format,
    architecture: String,
    layers: Vec<Blob>,
    config: Value,
}

impl Image {
    /// An image without layers for this machine's architecture, with a usual PATH.
    pub fn new(format: Format) -> Self {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Self {
            format,
            architecture: architecture().to_owned(),
            layers: Vec::new(),
            config: json!({ "Env": [path] }),
        }
    }

    /// Adds a layer on top.
    #[must_use]
    pub fn layer(mut self, layer: &Blob) -> Self {
        self.layers.push(layer.clone());
        self
    }

    /// Sets a key of the `config` object: `Cmd`, `Entrypoint`, `User`, `Labels`, `Volumes`...
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.config[key] = value.into();
        self
    }

    /// Sets the command.
    #[must_use]
    pub fn cmd(self, words: &[&str]) -> Self {
        self.set("Cmd", json!(words))
    }

    /// Sets the entry point.
    #[must_use]
    pub fn entrypoint(self, words: &[&str]) -> Self {
        self.set("Entrypoint", json!(words))
    }

    /// Sets the user.
    #[must_use]
    pub fn user(self, user: &str) -> Self {
        self.set("User", user)
    }

    /// Says that it is for another architecture.
    #[must_use]
    pub fn architecture(mut self, architecture: &str) -> Self {
        architecture.clone_into(&mut self.architecture);
        self
    }

    /// Writes config and manifest.
    pub fn build(&self) -> Built {
        let time = "1970-01-01T00:00:00Z";
        let diff_ids: Vec<_> = self.layers.iter().map(|l| l.diff_id.to_string()).collect();
        let history: Vec<_> =
            self.layers.iter().map(|_| json!({ "created": time, "created_by": "berth-testkit" })).collect();
        let config = json!({
            "architecture": self.architecture, "os": "linux", "created": time, "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids }, "history": history,
        });
        self.build_with(Bytes::from(config.to_string()))
    }

    /// Writes the manifest around these bytes as config, whatever they are.
    pub fn build_with(&self, config: Bytes) -> Built {
        let (kind, config_kind) = match self.format {
            Format::Oci => {
                ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.config.v1+json")
            }
            Format::Docker => (
                "application/vnd.docker.distribution.manifest.v2+json",
                "application/vnd.docker.container.image.v1+json",
            ),
        };
        let config_digest = digest_of(&config);
        let layers: Vec<_> = self
            .layers
            .iter()
            .map(|l| json!({ "mediaType": self.layer_kind(l), "digest": l.digest.to_string(), "size": l.size }))
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kind, "layers": layers,
            "config": { "mediaType": config_kind, "digest": config_digest.to_string(), "size": config.len() },
        });
        let mut blobs = vec![(config_digest.clone(), Content::Memory(config))];
        blobs.extend(self.layers.iter().map(|l| (l.digest.clone(), l.content.clone())));
        let mut built = Built::document(kind, &manifest);
        built.architecture.clone_from(&self.architecture);
        built.id = Some(config_digest);
        built.blobs = blobs;
        built
    }

    fn layer_kind(&self, layer: &Blob) -> &'static str {
        match (self.format, layer.compression) {
            (Format::Oci, Compression::Plain) => "application/vnd.oci.image.layer.v1.tar",
            (Format::Oci, Compression::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Format::Docker, Compression::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Format::Docker, Compression::Plain) => "application/vnd.docker.image.rootfs.diff.tar",
            (Format::Oci | Format::Docker, Compression::Zstd) => {
                "application/vnd.oci.image.layer.v1.tar+zstd"
            }
        }
    }
}

/// A manifest or index with everything below it, ready to be served.
#[derive(Debug, Clone)]
pub struct Built {
    /// The media type of the document.
    pub media_type: String,
    /// The document.
    pub manifest: Bytes,
    /// The digest of the document.
    pub digest: Digest,
    /// The digest of the config: the image's id. None for an index.
    pub id: Option<Digest>,
    /// The architecture that an index lists it under.
    pub architecture: String,
    /// Config and layers.
    pub blobs: Vec<(Digest, Content)>,
    /// The manifests that an index names.
    pub children: Vec<Built>,
}

impl Built {
    /// Any JSON as a manifest: what a test of malformed manifests serves.
    pub fn document(media_type: &str, document: &Value) -> Self {
        Self::raw(media_type, Bytes::from(document.to_string()))
    }

    /// Any bytes as a manifest.
    pub fn raw(media_type: &str, manifest: Bytes) -> Self {
        let digest = digest_of(&manifest);
        Self {
            media_type: media_type.to_owned(),
            manifest,
            digest,
            id: None,
            architecture: String::new(),
            blobs: Vec::new(),
            children: Vec::new(),
        }
    }
}

/// An index: one name for several platforms.
#[derive(Debug, Clone)]
pub struct Index {
    format: Format,
    children: Vec<Built>,
}

impl Index {
    /// An empty index.
    pub fn new(format: Format) -> Self {
        Self { format, children: Vec::new() }
    }

    /// Adds an image.
    #[must_use]
    pub fn image(mut self, image: &Built) -> Self {
        self.children.push(image.clone());
        self
    }

    /// Writes the index.
    pub fn build(&self) -> Built {
        let kind = match self.format {
            Format::Oci => "application/vnd.oci.image.index.v1+json",
            Format::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        };
        let manifests: Vec<_> = self
            .children
            .iter()
            .map(|child| {
                json!({
                    "mediaType": child.media_type, "digest": child.digest.to_string(),
                    "size": child.manifest.len(),
                    "platform": { "architecture": child.architecture, "os": "linux" },
                })
            })
            .collect();
        let mut built =
            Built::document(kind, &json!({ "schemaVersion": 2, "mediaType": kind, "manifests": manifests }));
        built.children.clone_from(&self.children);
        built
    }
}
