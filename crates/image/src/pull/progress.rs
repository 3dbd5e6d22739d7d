//! The progress of a pull, for watchers.
//!
//! The channel holds the current state, not a list of events: its size is bounded by the
//! number of layers, a slow watcher misses steps and never delays the pull.

use berth_types::Digest;
use tokio::sync::watch;

/// Where a pull is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// The manifest chosen, once it is known.
    pub manifest: Option<Digest>,
    /// One entry per layer of the manifest, in its order; empty until the manifest is known.
    pub layers: Vec<LayerProgress>,
}

/// Where one layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerProgress {
    /// The compressed blob.
    pub digest: Digest,
    /// Bytes of the blob received so far.
    pub done: u64,
    /// Bytes of the blob.
    pub total: u64,
    /// What happens with it.
    pub state: LayerState,
}

/// What happens with a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerState {
    /// Its turn has not come.
    Waiting,
    /// Bytes arrive and are unpacked at the same time.
    Downloading,
    /// All bytes are here and checked; unpacking ends.
    Unpacking,
    /// Pulled and safe on disk.
    Done,
    /// It was here before.
    Exists,
}

/// The pull's end of the channel.
#[derive(Debug, Clone)]
pub struct Progress(watch::Sender<PullProgress>);

impl Progress {
    /// A channel: the pull's end, and the watcher's. The watcher's end closes when the pull ends.
    pub fn channel() -> (Self, watch::Receiver<PullProgress>) {
        let (sender, receiver) = watch::channel(PullProgress::default());
        (Self(sender), receiver)
    }

    /// There is no watcher.
    pub fn none() -> Self {
        Self::channel().0
    }

    /// Another watcher's end.
    pub fn watch(&self) -> watch::Receiver<PullProgress> {
        self.0.subscribe()
    }

    pub(crate) fn begin(&self, manifest: Digest, layers: Vec<LayerProgress>) {
        self.0.send_replace(PullProgress { manifest: Some(manifest), layers });
    }

    pub(crate) fn layer(&self, index: usize, now: &LayerProgress) {
        self.0.send_if_modified(|all| match all.layers.get_mut(index) {
            Some(layer) if layer != now => {
                layer.clone_from(now);
                true
            }
            _ => false,
        });
    }
}
