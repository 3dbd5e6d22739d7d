//! Pulling an image: what a request is, and how its parts are joined.
//!
//! ```text
//! request -> names (short or full) -> resolve with the caller's credentials
//!         -> Images::ingest (the lease) -> layers in parallel, each by one pull at a time
//!         -> Ingest::commit, which writes the record last
//! ```
//!
//! Every pull asks the registry for the manifest with its own credentials; only layers named by a
//! manifest it was given are shared with other pulls (docs/adr/0022-shared-downloads.md). Work
//! that was begun goes on when the client goes away: the next attempt finds it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use berth_types::reference::ParseRefError;
use berth_types::{Classify, Digest, ImageRef, Kind};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::{Semaphore, watch};

pub use crate::fetch::FetchError;
pub use names::candidates;
pub use progress::{LayerProgress, LayerState, Progress, PullProgress};

use crate::artifact::{self, AsImage};
use crate::credentials::Keyring;
use crate::fetch::{Served, Transfer};
use crate::registry::{Descriptor, Platform, Registry, RegistryError, Resolved, Source};
use crate::{Image, Images, Ingest, LayerSource, LayerWriter, Names, StoreError, Turn};

mod names;
mod progress;

/// Layers of one pull that are fetched at a time.
const LAYERS_PER_PULL: usize = 3;
/// Layers of all pulls that are fetched at a time.
const LAYERS: usize = 16;
/// Pulls at a time; further ones wait.
const PULLS: usize = 64;

/// A request to pull an image.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// The reference as it was written; it may lack the host.
    pub reference: String,
    /// Where credentials come from.
    pub keyring: Keyring,
    /// The platform wanted; the configured one when None.
    pub platform: Option<Platform>,
    /// Whether only an artifact will do: an image is refused before anything of it is fetched.
    pub artifact: bool,
}

/// Why a pull failed. Nothing of it is left in the store.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The reference is malformed.
    #[error(transparent)]
    Reference(#[from] ParseRefError),
    /// The reference names no registry.
    #[error("image {name:?} names no registry")]
    ShortName {
        /// As it was written.
        name: String,
        /// What it could be in full.
        example: String,
    },
    /// None of the registries that a short name is looked for on has it.
    #[error("image {name:?} was not found on any of its registries: {}", summaries(tried))]
    NowhereFound {
        /// As it was written.
        name: String,
        /// Each complete reference with its reason.
        tried: Vec<PullError>,
    },
    /// The registry did not give it.
    #[error("pull")]
    Registry(#[from] RegistryError),
    /// A layer did not arrive.
    #[error("pull {reference}")]
    Layer {
        /// The complete reference.
        reference: String,
        /// Why.
        source: FetchError,
    },
    /// A layer is of a kind that cannot be unpacked.
    #[error("pull {reference}: layer {digest} has the unsupported media type {media_type:?}")]
    LayerType {
        /// The complete reference.
        reference: String,
        /// The layer.
        digest: Digest,
        /// What it is.
        media_type: String,
    },
    /// An artifact was wanted.
    #[error("pull {0}: it is an image, and no artifact")]
    NoArtifact(String),
    /// The image cannot be stored.
    #[error("pull {reference}")]
    Store {
        /// The complete reference.
        reference: String,
        /// Why.
        source: StoreError,
    },
    /// The daemon ends.
    #[error("the pull of {0} was cancelled")]
    CalledOff(String),
}

fn summaries(tried: &[PullError]) -> String {
    tried.iter().map(|e| berth_types::error::chain(e)).collect::<Vec<_>>().join("; ")
}

impl Classify for PullError {
    fn kind(&self) -> Kind {
        match self {
            Self::Reference(_) | Self::ShortName { .. } => Kind::Invalid,
            Self::NowhereFound { tried, .. } => {
                let denied = tried.iter().any(|e| e.kind() == Kind::Denied);
                if denied { Kind::Denied } else { Kind::NotFound }
            }
            Self::Registry(e) => e.kind(),
            Self::Layer { source, .. } => source.kind(),
            Self::LayerType { .. } => Kind::Unsupported,
            Self::NoArtifact(_) => Kind::Invalid,
            Self::Store { source, .. } => source.kind(),
            Self::CalledOff(_) => Kind::Cancelled,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::ShortName { example, .. } => Some(format!(
                "write it in full, as in {example}, or name the registries to look on by --short-name-host of the daemon"
            )),
            Self::Registry(e) => e.hint(),
            Self::Layer { source, .. } => source.hint(),
            Self::Store { source, .. } => source.hint(),
            Self::NowhereFound { tried, .. } => tried.iter().find_map(Classify::hint),
            Self::NoArtifact(name) => Some(format!("berth pull {name}")),
            Self::Reference(_) | Self::LayerType { .. } | Self::CalledOff(_) => None,
        }
    }
}

/// Pulls images into a store. A clone is the same puller.
#[derive(Debug, Clone)]
pub struct Puller {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    images: Images,
    pulls: Semaphore,
    layers: Semaphore,
    /// The layers on their way, for pulls that wait for a layer of another pull.
    flights: Mutex<HashMap<Digest, watch::Receiver<LayerProgress>>>,
}

impl Puller {
    /// The client that pulls are made by.
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// A puller of images into this store.
    pub fn new(registry: Registry, images: Images) -> Self {
        let (pulls, layers) = (Semaphore::new(PULLS), Semaphore::new(LAYERS));
        Self { inner: Arc::new(Inner { registry, images, pulls, layers, flights: Mutex::default() }) }
    }

    /// Pulls an image. The work belongs to a task of its own: dropping this future does not end it.
    pub async fn pull(&self, request: PullRequest, progress: Progress) -> Result<Arc<Image>, PullError> {
        let inner = self.inner.clone();
        let reference = request.reference.clone();
        let task = tokio::spawn(async move {
            let _permit = inner.pulls.acquire().await.expect("the semaphore is never closed");
            inner.pull(&request, &progress).await
        });
        match task.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(PullError::CalledOff(reference)),
        }
    }
}

impl Inner {
    /// Tries the candidates in order. A registry that does not answer ends the search: whether it has
    /// the image is open, and another registry's image of that name is not a replacement.
    async fn pull(&self, request: &PullRequest, progress: &Progress) -> Result<Arc<Image>, PullError> {
        let candidates = candidates(&request.reference, &self.registry.places().unqualified_registries)?;
        let only = candidates.len() == 1;
        let mut tried = Vec::new();
        for reference in candidates {
            match self.pull_one(reference, request, progress).await {
                Err(error) if !only && matches!(error.kind(), Kind::NotFound | Kind::Denied) => {
                    tried.push(error);
                }
                done => return done,
            }
        }
        Err(PullError::NowhereFound { name: request.reference.clone(), tried })
    }

    async fn pull_one(
        &self,
        reference: ImageRef,
        request: &PullRequest,
        progress: &Progress,
    ) -> Result<Arc<Image>, PullError> {
        let source = Source::new(&self.registry, reference, request.keyring.clone())?;
        if request.platform.is_none()
            && let Some(image) = self.unchanged(&source).await
            && (!request.artifact || !image.config.artifact.is_empty())
        {
            // Whoever pulls it is about to use it.
            self.images.note_use(&image.id);
            return Ok(image);
        }
        let platform = request.platform.as_ref().unwrap_or(&self.registry.config().platform);
        let resolved = source.resolve(platform).await?;
        if request.artifact && resolved.manifest.artifact.is_none() {
            return Err(PullError::NoArtifact(source.reference().to_string()));
        }
        let stored = |error| PullError::Store { reference: source.reference().to_string(), source: error };
        let manifest = resolved.manifest_bytes.to_vec();
        let ingest = match &resolved.manifest.artifact {
            None => {
                let layers = layer_sources(source.reference(), &resolved)?;
                self.images.ingest(crate::Source { manifest, config: resolved.config.to_vec(), layers }).await
            }
            Some(artifact) => {
                let (digest, blobs) = (&resolved.manifest_digest, &resolved.manifest.layers);
                let AsImage { config, layers, files } = artifact::as_image(digest, artifact, blobs, platform)
                    .map_err(|reason| stored(StoreError::Invalid(reason)))?;
                self.images.ingest_files(crate::Source { manifest, config, layers }, files).await
            }
        };
        let ingest = ingest.map_err(stored)?;
        self.layers(&source, &resolved, &ingest, progress).await?;
        ingest.commit(names(source.reference(), &resolved.digest)).await.map_err(stored)
    }

    /// The image, when it is in the store as the registry has it at this moment. The question is
    /// asked with the caller's credentials, and does not count as a pull there.
    async fn unchanged(&self, source: &Source) -> Option<Arc<Image>> {
        let reference = source.reference();
        let name = reference.tagged().filter(|_| reference.digest().is_none());
        let name = name.or_else(|| reference.digest().map(|digest| reference.with_digest(digest)))?;
        let image = self.images.find(&name).ok()??;
        // Of an index another platform's image may be here, asked for by name.
        let config = &image.config;
        let platform = Platform::new(&config.os, &config.architecture, &config.variant);
        if platform != self.registry.config().platform {
            return None;
        }
        let now = reference.with_digest(&source.head().await?);
        image.repo_digests.contains(&now).then_some(image)
    }

    async fn layers(
        &self,
        source: &Source,
        resolved: &Resolved,
        ingest: &Ingest,
        progress: &Progress,
    ) -> Result<(), PullError> {
        let begin = |(index, blob): (usize, &Descriptor)| LayerProgress {
            digest: blob.digest.clone(),
            done: 0,
            total: blob.size,
            state: if ingest.has_layer(index) { LayerState::Exists } else { LayerState::Waiting },
        };
        let layers = &resolved.manifest.layers;
        progress.begin(resolved.manifest_digest.clone(), layers.iter().enumerate().map(begin).collect());
        // Boxed one by one: the compiler cannot see through a stream of borrowing closures that the task
        // may move between threads.
        let mut jobs: Vec<BoxFuture<'_, Result<(), PullError>>> = Vec::with_capacity(layers.len());
        for (index, blob) in layers.iter().enumerate() {
            let layer = Layer { pulls: self, source, ingest, index, blob, progress };
            let reference = source.reference();
            jobs.push(Box::pin(async move {
                let failed = |error| PullError::Layer { reference: reference.to_string(), source: error };
                layer.get().await.map_err(failed)
            }));
        }
        stream::iter(jobs).buffer_unordered(LAYERS_PER_PULL).try_collect().await
    }
}

/// The names of an image: a reference with a digest gives no tag, since the tag was not asked about.
fn names(reference: &ImageRef, digest: &Digest) -> Names {
    let tags = if reference.digest().is_some() { None } else { reference.tagged() };
    Names { tags: tags.into_iter().collect(), repo_digests: vec![reference.with_digest(digest)] }
}

fn layer_sources(reference: &ImageRef, resolved: &Resolved) -> Result<Vec<LayerSource>, PullError> {
    let layer = |blob: &Descriptor| match blob.is_layer() {
        true => Ok(LayerSource { digest: blob.digest.clone(), size: blob.size }),
        false => Err(PullError::LayerType {
            reference: reference.to_string(),
            digest: blob.digest.clone(),
            media_type: blob.media_type.chars().take(128).collect(),
        }),
    };
    resolved.manifest.layers.iter().map(layer).collect()
}

/// One layer of one pull.
struct Layer<'a> {
    pulls: &'a Inner,
    source: &'a Source,
    ingest: &'a Ingest,
    index: usize,
    blob: &'a Descriptor,
    progress: &'a Progress,
}

impl Layer<'_> {
    /// Makes sure that the layer is in the store. A host that gave damaged bytes is skipped for the next.
    async fn get(&self) -> Result<(), FetchError> {
        let hosts = self.source.capable(true)?.len();
        let mut first = 0;
        loop {
            let Some(turn) = self.turn().await else { return Ok(()) };
            let flight = Flight::begin(self);
            // Not held while waiting for another pull: images of other registries would have to wait too.
            let _permit = self.pulls.layers.acquire().await.expect("the semaphore is never closed");
            let writer = turn.start().await?;
            let (served, result) = self.fetch(first, writer, &flight).await?;
            match result {
                // Of what two hosts sent the second may have sent nothing wrong: it is asked for all of it.
                Err(error) if (served.mixed || served.by + 1 < hosts) && is_damage(&error) => {
                    let blob = self.blob.digest.short();
                    tracing::warn!(blob, error = %berth_types::error::chain(&error), "damaged layer, trying the next host");
                    first = if served.mixed { served.by } else { served.by + 1 };
                }
                result => return Ok(result?),
            }
        }
    }

    /// Waits for the turn to write the layer, showing the progress of the pull that fetches it; `None` when
    /// the layer is there.
    async fn turn(&self) -> Option<Turn> {
        let mut turn = std::pin::pin!(self.ingest.turn(self.index));
        let flight = self.flights().get(&self.blob.digest).cloned();
        if let Some(mut flight) = flight {
            loop {
                let now = flight.borrow_and_update().clone();
                self.progress.layer(self.index, &now);
                tokio::select! {
                    turn = &mut turn => return self.seen(turn, LayerState::Done),
                    changed = flight.changed() => if changed.is_err() { break },
                }
            }
        }
        self.seen(turn.await, LayerState::Exists)
    }

    fn seen(&self, turn: Option<Turn>, state: LayerState) -> Option<Turn> {
        if turn.is_none() {
            self.show(self.blob.size, state);
        }
        turn
    }

    /// Fetches the layer from the `first`th host on; tells which host served it, and the outcome.
    async fn fetch(
        &self,
        first: usize,
        mut writer: LayerWriter,
        flight: &Flight<'_>,
    ) -> Result<(Served, Result<(), StoreError>), FetchError> {
        flight.show(0, LayerState::Downloading);
        let progress = |done| flight.show(done, LayerState::Downloading);
        let transfer = Transfer { source: self.source, blob: self.blob, progress };
        let served = match transfer.run(first, &mut writer).await {
            Ok(served) => served,
            Err((served, FetchError::Store(error))) => return Ok((served, Err(error))),
            Err((_, error)) => return Err(error),
        };
        flight.show(self.blob.size, LayerState::Unpacking);
        let result = writer.finish().await;
        if result.is_ok() {
            flight.show(self.blob.size, LayerState::Done);
        }
        Ok((served, result))
    }

    fn show(&self, done: u64, state: LayerState) {
        self.progress.layer(self.index, &self.at(done, state));
    }

    fn at(&self, done: u64, state: LayerState) -> LayerProgress {
        LayerProgress { digest: self.blob.digest.clone(), done, total: self.blob.size, state }
    }

    fn flights(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, watch::Receiver<LayerProgress>>> {
        self.pulls.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether another host's bytes may be better.
fn is_damage(error: &StoreError) -> bool {
    matches!(error, StoreError::Blob { .. }) || error.kind() == Kind::Corrupt
}

/// A layer that is being pulled: seen by this pull and by those that wait for it.
struct Flight<'a> {
    layer: &'a Layer<'a>,
    sender: watch::Sender<LayerProgress>,
}

impl<'a> Flight<'a> {
    fn begin(layer: &'a Layer<'a>) -> Self {
        let (sender, receiver) = watch::channel(layer.at(0, LayerState::Waiting));
        layer.flights().insert(layer.blob.digest.clone(), receiver);
        Self { layer, sender }
    }

    fn show(&self, done: u64, state: LayerState) {
        let now = self.layer.at(done, state);
        self.layer.progress.layer(self.layer.index, &now);
        self.sender.send_replace(now);
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.layer.flights().remove(&self.layer.blob.digest);
    }
}
