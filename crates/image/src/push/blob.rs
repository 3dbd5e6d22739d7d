//! One blob of a push: found there, mounted, or sent.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_types::Digest;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{Method, StatusCode, Uri};
use sha2::Digest as _;

use super::{Push, PushError, Shared};
use crate::archive::rebuild_layer;
use crate::fetch::{Sink, Transfer};
use crate::hosts::Host;
use crate::pull::LayerState;
use crate::registry::write::{self, Payload, Write};
use crate::registry::{Descriptor, HostError, Source};
use crate::store::record::{LayerRecord, sum};
use crate::{Images, StoreError};

/// What a layer is that was compressed here.
const GZIP_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// How often what was sent is told while a blob is.
const TELL: std::time::Duration = std::time::Duration::from_millis(200);

/// The bytes of a blob.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Bytes(bytes::Bytes),
    /// A file that has no name any more.
    File(Shared<File>, u64),
}

/// Told how many bytes of how many there are, and what happens.
pub(super) type Told<'a> = &'a (dyn Fn(u64, u64, LayerState) + Sync);

impl Content {
    pub(super) fn bytes(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }

    fn payload(&self, sent: &Shared<AtomicU64>) -> Payload {
        match self {
            Self::Bytes(bytes) => Payload::Bytes(bytes.clone()),
            Self::File(file, length) => Payload::File(file.clone(), *length, sent.clone()),
        }
    }
}

impl Push {
    /// Sees to it that a layer is there. What is there instead, where its own bytes are nowhere to be had.
    pub(super) async fn layer(
        &self,
        layer: &Descriptor,
        stored: Option<&LayerRecord>,
        told: Told<'_>,
    ) -> Result<Option<Descriptor>, PushError> {
        if self.is_there(&layer.digest).await? || self.mounted(&layer.digest).await? {
            told(layer.size, layer.size, LayerState::Exists);
            return Ok(None);
        }
        told(0, layer.size, LayerState::Downloading);
        let tar = stored.filter(|stored| stored.diff_id == layer.digest);
        let own = match tar {
            Some(stored) => Some(self.made_again(stored, false).await?.0),
            None => self.fetched(layer).await,
        };
        if let Some(content) = own {
            self.blob(&layer.digest, &content, told).await?;
            return Ok(None);
        }
        let Some(stored) = stored else {
            return Err(PushError::Manifest(self.to.reference().to_string()));
        };
        let (content, digest, size) = self.made_again(stored, true).await?;
        self.blob(&digest, &content, told).await?;
        Ok(Some(Descriptor { media_type: GZIP_LAYER.to_owned(), digest, size }))
    }

    /// Sees to it that the configuration of an artifact is there. It is not kept here: most have an empty one, or one that stands in
    /// the manifest.
    pub(super) async fn configuration(
        &self,
        name: &str,
        config: &Descriptor,
        manifest: &[u8],
    ) -> Result<(), PushError> {
        let content = match known_configuration(config, manifest) {
            Some(bytes) => Content::bytes(bytes),
            None if self.is_there(&config.digest).await? || self.mounted(&config.digest).await? => {
                return Ok(());
            }
            None => self.fetched(config).await.ok_or_else(|| PushError::Configuration {
                name: name.to_owned(),
                digest: config.digest.clone(),
            })?,
        };
        self.blob(&config.digest, &content, &|_, _, _| {}).await
    }

    /// Sends a blob that may be there.
    pub(super) async fn blob(
        &self,
        digest: &Digest,
        content: &Content,
        told: Told<'_>,
    ) -> Result<(), PushError> {
        let size = match content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(_, size) => *size,
        };
        if self.is_there(digest).await? {
            told(size, size, LayerState::Exists);
            return Ok(());
        }
        let sent = Shared::new(AtomicU64::new(0));
        let payload = content.payload(&sent);
        let mut sending = std::pin::pin!(self.sent(digest, &payload));
        loop {
            tokio::select! {
                done = &mut sending => {
                    done?;
                    told(size, size, LayerState::Done);
                    return Ok(());
                }
                () = tokio::time::sleep(TELL) => {
                    told(sent.load(Ordering::Relaxed), size, LayerState::Downloading);
                }
            }
        }
    }

    async fn sent(&self, digest: &Digest, payload: &Payload) -> Result<(), PushError> {
        let (host, mut retries) = self.begin()?;
        loop {
            match self.send(host, digest, payload).await {
                Ok(()) => return Ok(()),
                Err(error) => self.again(host, &mut retries, error).await?,
            }
        }
    }

    /// One attempt: an upload is begun, and the blob sent as a whole.
    async fn send(&self, host: &Host, digest: &Digest, payload: &Payload) -> Result<(), HostError> {
        let begin = write::url(&self.to, host, "blobs/uploads/")?;
        let ask = Write { method: Method::POST, uri: &begin, content_type: None, payload: &Payload::Empty };
        let begun = write::write(&self.to, host, &ask).await?;
        if begun.status() != StatusCode::ACCEPTED {
            return Err(write::refusal(&self.to, host, begun).await);
        }
        let place = write::location(host, &begin, begun.headers())?;
        let separator = if place.query().is_some() { '&' } else { '?' };
        let text = format!("{place}{separator}digest={digest}");
        let uri: Uri = text.parse().map_err(|_| HostError::Malformed { what: "URL", problem: text })?;
        let ask =
            Write { method: Method::PUT, uri: &uri, content_type: Some("application/octet-stream"), payload };
        let put = write::write(&self.to, host, &ask).await?;
        if put.status().is_success() {
            return Ok(());
        }
        Err(write::refusal(&self.to, host, put).await)
    }

    /// Whether the repository has the blob.
    async fn is_there(&self, digest: &Digest) -> Result<bool, PushError> {
        let (host, mut retries) = self.begin()?;
        loop {
            match self.has(host, digest).await {
                Ok(has) => return Ok(has),
                Err(error) => self.again(host, &mut retries, error).await?,
            }
        }
    }

    async fn has(&self, host: &Host, digest: &Digest) -> Result<bool, HostError> {
        let uri = write::url(&self.to, host, &format!("blobs/{digest}"))?;
        let ask = Write { method: Method::HEAD, uri: &uri, content_type: None, payload: &Payload::Empty };
        let response = write::write(&self.to, host, &ask).await?;
        match response.status() {
            // Where it is stored does not matter.
            status if status.is_success() || status.is_redirection() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(write::refusal(&self.to, host, response).await),
        }
    }

    /// Asks the registry to take the blob from another of its repositories, where the image came from one.
    async fn mounted(&self, digest: &Digest) -> Result<bool, PushError> {
        let to = self.to.reference();
        let same = |source: &&Source| {
            let of = source.reference();
            of.host() == to.host() && of.path() != to.path()
        };
        let (host, _) = self.begin()?;
        for source in self.from.iter().filter(same) {
            // A registry that does not want to is sent the blob.
            if matches!(self.mount(host, digest, source.reference().path()).await, Ok(true)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn mount(&self, host: &Host, digest: &Digest, from: &str) -> Result<bool, HostError> {
        let uri = write::url(&self.to, host, &format!("blobs/uploads/?mount={digest}&from={from}"))?;
        let ask = Write { method: Method::POST, uri: &uri, content_type: None, payload: &Payload::Empty };
        let response = write::write(&self.to, host, &ask).await?;
        if response.status() == StatusCode::ACCEPTED {
            // It began an upload instead, which nobody goes on with. One that stays is the registry's to remove.
            let place = write::location(host, &uri, response.headers())?;
            let ask =
                Write { method: Method::DELETE, uri: &place, content_type: None, payload: &Payload::Empty };
            drop(write::write(&self.to, host, &ask).await);
        }
        Ok(response.status() == StatusCode::CREATED)
    }

    /// The blob from where the image was pulled; nothing where nobody has it any more.
    async fn fetched(&self, layer: &Descriptor) -> Option<Content> {
        for source in &self.from {
            let Ok(file) = nameless(&self.images) else { return None };
            let mut sink = ToFile { file: Shared::new(file), written: 0, hasher: sha2::Sha256::new() };
            let transfer = Transfer { source, blob: layer, progress: |_| {} };
            let got = transfer.run(0, &mut sink).await;
            let digest = Digest::from_sha256(sink.hasher.finalize().into());
            if got.is_ok() && digest == layer.digest && sink.written == layer.size {
                return Some(Content::File(sink.file, sink.written));
            }
        }
        None
    }

    /// The tar of a layer, as it is or compressed; with its digest and size.
    async fn made_again(
        &self,
        stored: &LayerRecord,
        compressed: bool,
    ) -> Result<(Content, Digest, u64), PushError> {
        let (images, stored) = (self.images.clone(), stored.clone());
        let made = tokio::task::spawn_blocking(move || {
            let disk = |source| PushError::Disk { path: images.dir().to_owned(), source };
            let file = Shared::new(nameless(&images).map_err(disk)?);
            let out = Hashed {
                out: BufWriter::with_capacity(1 << 20, Shared::clone(&file)),
                hasher: sha2::Sha256::new(),
                written: 0,
            };
            let out = if compressed {
                // Without a time, so that the same tar makes the same bytes.
                let mut packed = GzEncoder::new(out, Compression::default());
                rebuild_layer(&images, &stored, &mut packed)?;
                packed.finish().map_err(disk)?
            } else {
                let mut plain = out;
                rebuild_layer(&images, &stored, &mut plain)?;
                plain
            };
            let Hashed { mut out, hasher, written } = out;
            out.flush().map_err(disk)?;
            drop(out);
            let digest = Digest::from_sha256(hasher.finalize().into());
            Ok((Content::File(file, written), digest, written))
        });
        match made.await {
            Ok(made) => made,
            Err(e) => {
                Err(PushError::Disk { path: self.images.dir().to_owned(), source: std::io::Error::other(e) })
            }
        }
    }
}

/// The configuration of an artifact without a question to anyone.
fn known_configuration(config: &Descriptor, manifest: &[u8]) -> Option<Vec<u8>> {
    let document: serde_json::Value = serde_json::from_slice(manifest).ok()?;
    let written = document.pointer("/config/data").and_then(serde_json::Value::as_str);
    let written = written.and_then(|text| STANDARD.decode(text).ok());
    [written, Some(crate::artifact::EMPTY.to_vec())]
        .into_iter()
        .flatten()
        .find(|bytes| sum(bytes) == config.digest)
}

/// A file in the store's directory that goes when it is closed.
fn nameless(images: &Images) -> std::io::Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = format!("push-{}-{}.tmp", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let path = images.dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

struct ToFile {
    file: Shared<File>,
    written: u64,
    hasher: sha2::Sha256,
}

impl Sink for ToFile {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(bytes);
        let (file, at, owned) = (self.file.clone(), self.written, bytes.to_vec());
        let wrote = tokio::task::spawn_blocking(move || file.write_all_at(&owned, at)).await;
        let failed = StoreError::io("write", "what is pushed");
        wrote.map_err(std::io::Error::other).and_then(|done| done).map_err(failed)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn written(&self) -> u64 {
        self.written
    }
}

struct Hashed<W> {
    out: W,
    hasher: sha2::Sha256,
    written: u64,
}

impl<W: std::io::Write> std::io::Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.out.write(bytes)?;
        self.hasher.update(&bytes[..length]);
        self.written += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
