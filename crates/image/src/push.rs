//! Pushing an image: its manifest as it was pulled or loaded, byte for byte, and what that names.
//!
//! ```text
//! each blob:  HEAD (there: done) -> mount from a repository of the same registry -> its bytes -> POST, PUT as a whole
//!             its bytes: the configuration as it is kept; a layer's tar made again; a compressed layer from where it was pulled
//! then:       PUT of the manifest
//! ```
//!
//! Layers are kept unpacked, so that of a compressed one only its registry has the bytes. Where none can be asked, the tar that it was made of
//! is compressed anew, and the manifest names that instead: what is in the image is the same, its digest is not.

mod blob;

use std::path::PathBuf;
use std::sync::Arc;

use berth_types::reference::ImageRef;
use berth_types::{Classify, Digest, Kind};
use bytes::Bytes;
use http::Method;

use crate::archive::ArchiveError;
use crate::credentials::Keyring;
use crate::hosts::Host;
use crate::pull::{LayerProgress, LayerState, Progress};
use crate::registry::manifest::{DOCKER_MANIFEST, OCI_MANIFEST};
use crate::registry::write::{self, Payload, Write};
use crate::registry::{
    Descriptor, Document, HostError, Registry, RegistryError, Retries, Source, Tried, parse,
};
use crate::store::record;
use crate::{Images, StoreError};
use blob::Content;

/// What the compressed layers of docker's manifests are.
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// What is pushed, and where to.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// The image, as it is called here.
    pub image: String,
    /// Its name there.
    pub to: ImageRef,
    /// What that registry is shown.
    pub keyring: Keyring,
    /// Where it was pulled from, and what is shown there.
    pub from: Vec<(ImageRef, Keyring)>,
}

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The digest of the manifest there.
    pub digest: Digest,
    /// Whether layers were compressed anew, so that it is not the one that the image had.
    pub changed: bool,
}

/// Why an image was not pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The registry refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The image is not there, or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A layer's tar cannot be made again.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A file for what is sent cannot be written.
    #[error("write what is pushed below {path}")]
    Disk {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The manifest cannot be read.
    #[error("push {0}: its manifest is not one of an image or artifact")]
    Manifest(String),
    /// Of an artifact, what is not kept here and nobody has any more.
    #[error(
        "push {name}: its configuration {digest} is not kept here, and no registry that it came from has it"
    )]
    Configuration {
        /// What was to be pushed.
        name: String,
        /// What is missing.
        digest: Digest,
    },
}

impl Classify for PushError {
    fn kind(&self) -> Kind {
        match self {
            Self::Registry(e) => e.kind(),
            Self::Store(e) => e.kind(),
            Self::Archive(e) => e.kind(),
            Self::Disk { .. } => Kind::Internal,
            Self::Manifest(_) => Kind::Unsupported,
            Self::Configuration { .. } => Kind::NotFound,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(RegistryError::AllHosts { tried, .. })
                if tried.iter().any(|t| t.error.kind() == Kind::Denied) =>
            {
                Some("berth login REGISTRY, with an account that may write there".to_owned())
            }
            Self::Registry(e) => e.hint(),
            Self::Store(e) => e.hint(),
            Self::Archive(e) => e.hint(),
            Self::Disk { .. } | Self::Manifest(_) | Self::Configuration { .. } => None,
        }
    }
}

/// One push.
struct Push {
    images: Images,
    to: Source,
    from: Vec<Source>,
}

impl Registry {
    /// Pushes an image of the store.
    ///
    /// # Errors
    /// [`PushError`]; blobs that were sent stay there, and are found by the next attempt.
    pub async fn push(
        &self,
        images: &Images,
        request: PushRequest,
        progress: Progress,
    ) -> Result<Pushed, PushError> {
        let not_found = || StoreError::NotFound(request.image.clone());
        let image = images.find(&request.image)?.ok_or_else(not_found)?;
        let record = images.record(&image.id)?;
        let manifest = crate::store::read_blob(images, &record.manifest)?;
        let unusable = || PushError::Manifest(request.image.clone());
        let Ok(Document::Manifest(document)) = parse(None, &manifest) else { return Err(unusable()) };
        let is_artifact = document.artifact.is_some();
        let mut from = Vec::new();
        for (reference, keyring) in &request.from {
            from.push(Source::new(self, reference.clone(), keyring.clone())?);
        }
        let to = Source::new(self, request.to.clone(), request.keyring.clone())?;
        let push = Push { images: images.clone(), to, from };
        let waiting = |layer: &Descriptor| LayerProgress {
            digest: layer.digest.clone(),
            done: 0,
            total: layer.size,
            state: LayerState::Waiting,
        };
        progress.begin(record.manifest.clone(), document.layers.iter().map(waiting).collect());
        let mut sent = Vec::new();
        for (index, layer) in document.layers.iter().enumerate() {
            // The manifest and the record have the same layers in the same order, or the record has none of it.
            let stored = record.layers.get(index).filter(|_| record.layers.len() == document.layers.len());
            let told = |done: u64, total: u64, state| {
                let digest = layer.digest.clone();
                progress.layer(index, &LayerProgress { digest, done, total, state });
            };
            if is_artifact {
                let file = images.open_file(&image.id, index)?;
                push.blob(&layer.digest, &Content::File(Shared::new(file), layer.size), &told).await?;
                continue;
            }
            sent.push(push.layer(layer, stored, &told).await?);
        }
        if is_artifact {
            push.configuration(&request.image, &document.config, &manifest).await?;
        } else {
            let config = crate::store::read_blob(images, &record.id)?;
            push.blob(&document.config.digest, &Content::bytes(config), &|_, _, _| {}).await?;
        }
        let changed = sent.iter().any(Option::is_some);
        let manifest = if changed { replaced(&manifest, &sent).ok_or_else(unusable)? } else { manifest };
        push.manifest(&manifest).await?;
        Ok(Pushed { digest: record::sum(&manifest), changed })
    }
}

/// The manifest with other layers where there are some.
fn replaced(manifest: &[u8], layers: &[Option<Descriptor>]) -> Option<Vec<u8>> {
    let mut document: serde_json::Value = serde_json::from_slice(manifest).ok()?;
    let is_dockers = document.get("mediaType").is_some_and(|kind| kind == DOCKER_MANIFEST);
    let entries = document.get_mut("layers")?.as_array_mut()?;
    for (entry, layer) in entries.iter_mut().zip(layers) {
        if let Some(layer) = layer {
            // What is said of the layer besides (its index, its checksums, where else it is) was of the bytes of before.
            *entry = serde_json::json!({
                "mediaType": if is_dockers { DOCKER_LAYER } else { layer.media_type.as_str() },
                "digest": layer.digest.to_string(),
                "size": layer.size,
            });
        }
    }
    serde_json::to_vec(&document).ok()
}

impl Push {
    /// Puts the manifest there, by its tag, or by its digest.
    async fn manifest(&self, manifest: &[u8]) -> Result<(), PushError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kinded {
            media_type: Option<String>,
        }
        let said = serde_json::from_slice::<Kinded>(manifest).ok().and_then(|kinded| kinded.media_type);
        let content_type = said.as_deref().unwrap_or(OCI_MANIFEST);
        let reference = self.to.reference();
        let selector = match reference.tag() {
            Some(tag) => tag.to_owned(),
            None => record::sum(manifest).to_string(),
        };
        let payload = Payload::Bytes(Bytes::copy_from_slice(manifest));
        let (host, mut retries) = self.begin()?;
        let uri = write::url(&self.to, host, &format!("manifests/{selector}"));
        let uri = uri.map_err(|error| self.failed(host, error))?;
        let ask =
            Write { method: Method::PUT, uri: &uri, content_type: Some(content_type), payload: &payload };
        loop {
            match self.accepted(host, &ask).await {
                Ok(()) => return Ok(()),
                Err(error) => self.again(host, &mut retries, error).await?,
            }
        }
    }

    async fn accepted(&self, host: &Host, ask: &Write<'_>) -> Result<(), HostError> {
        let response = write::write(&self.to, host, ask).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(write::refusal(&self.to, host, response).await)
    }

    /// The registry, and how often it is tried.
    fn begin(&self) -> Result<(&Host, Retries), PushError> {
        let reference = self.to.reference();
        let host = self.to.own_host().ok_or_else(|| RegistryError::NoHost {
            what: format!("push {reference}"),
            registry: reference.host().to_owned(),
            action: "push",
        })?;
        Ok((host, Retries::new(&self.to.registry().config().timeouts)))
    }

    /// Waits before the next attempt, or gives the failure.
    async fn again(&self, host: &Host, retries: &mut Retries, error: HostError) -> Result<(), PushError> {
        retries.again(error).await.map_err(|error| self.failed(host, error))
    }

    fn failed(&self, host: &Host, error: HostError) -> PushError {
        let tried = vec![Tried { host: host.to_string(), error }];
        RegistryError::AllHosts { what: format!("push {}", self.to.reference()), tried }.into()
    }
}

/// For what the parts of a push share.
type Shared<T> = Arc<T>;

#[cfg(test)]
mod tests;
