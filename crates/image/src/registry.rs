//! The registry client: OCI distribution specification 1.1. What is here pulls; [`crate::push`] pushes by [`write`].
//!
//! ```text
//! reference -> hosts (mirrors in order, then the server) -> manifest, by the first host that has it
//!           -> platform choice -> manifest and config, whole and checked -> layers, streamed (fetch)
//! ```
//!
//! Every answer is bounded in size and in time; what is addressed by digest is verified
//! before it is used. See docs/adr/0020-registry-client.md.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Semaphore;

pub use error::{HostError, RegistryError, Tried};
pub use manifest::{Artifact, Descriptor, Manifest};
pub(crate) use manifest::{Document, Entry, Unusable, parse};
pub use platform::{ParsePlatformError, Platform};
pub use resolve::{Resolved, Source};
pub(crate) use retry::{Pause, Retries};
pub(crate) use send::{Ask, Trust, send};

mod auth;
mod challenge;
mod error;
pub(crate) mod get;
mod login;
pub(crate) mod manifest;
mod platform;
mod proxy;
mod redirect;
mod resolve;
mod retry;
mod send;
mod tls;
mod transport;
pub(crate) mod write;

/// The largest manifest or index read, bytes (the specification's own advice).
pub const MAX_MANIFEST: u64 = 4 << 20;
/// The largest image config read, bytes.
pub const MAX_CONFIG: u64 = 8 << 20;
/// The most layers an image may have: four times what docker's tools can make.
pub const MAX_LAYERS: usize = 127 * 4;

/// How long things may take.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// To have a connection, TLS included, where hosts.toml gives no `dial_timeout`.
    pub connect: Duration,
    /// From a request to the headers of its answer, and for a whole small answer.
    pub answer: Duration,
    /// Without noticeable progress in a transfer, before it is begun again.
    pub stall: Duration,
    /// The first pause before something is tried again; it doubles each time.
    pub backoff: Duration,
    /// The longest pause, also when the server asks for more by `Retry-After`.
    pub backoff_max: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            backoff: Duration::from_millis(200),
            backoff_max: Duration::from_secs(10),
        }
    }
}

/// How registries are spoken to.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directories with `HOST/hosts.toml`, read at each pull; the first that knows a host wins.
    pub certs_dirs: Vec<PathBuf>,
    /// Registries that short names are looked for on, in order. Empty: short names are refused.
    pub unqualified_registries: Vec<String>,
    /// The policies of which images may be used; None accepts everything.
    pub trust: Option<berth_trust::Place>,
    /// What to choose from an index when the request does not say.
    pub platform: Platform,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Whether `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` are honoured. Loopback is never proxied.
    pub proxy_from_environment: bool,
    /// When a blob is fetched in several parts at a time.
    pub ranges: Ranges,
}

/// When a big blob is fetched by several range requests at a time.
///
/// A transfer begins as one stream. When the first part of it came slower than `slow_below` and
/// at least `worth` bytes remain on a server that takes ranges, the rest is fetched `streams`
/// parts at a time. Memory per such blob: `streams` times `part`.
#[derive(Debug, Clone)]
pub struct Ranges {
    /// Parts at a time; 0 or 1 turns it off.
    pub streams: usize,
    /// Bytes of a part.
    pub part: u64,
    /// The least remainder for which it is done, bytes.
    pub worth: u64,
    /// The rate of a single stream, bytes per second, above which it is not done.
    pub slow_below: u64,
}

impl Default for Ranges {
    fn default() -> Self {
        Self { streams: 4, part: 4 << 20, worth: 32 << 20, slow_below: 150_000_000 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            certs_dirs: Vec::new(),
            unqualified_registries: Vec::new(),
            trust: None,
            platform: Platform::host(),
            timeouts: Timeouts::default(),
            proxy_from_environment: true,
            ranges: Ranges::default(),
        }
    }
}

/// What of a configuration may change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// As [`Config::certs_dirs`].
    pub certs_dirs: Vec<PathBuf>,
    /// As [`Config::unqualified_registries`].
    pub unqualified_registries: Vec<String>,
    /// As [`Config::trust`].
    pub trust: Option<berth_trust::Place>,
}

/// The client. A clone shares connections and tokens.
#[derive(Debug, Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    places: RwLock<Arc<Places>>,
    transport: transport::Transport,
    tokens: auth::Tokens,
    /// Held by the one blob that is fetched in several parts at a time.
    splitting: Semaphore,
}

impl Inner {
    fn new(config: Config, transport: transport::Transport) -> Self {
        let places = Places {
            certs_dirs: config.certs_dirs.clone(),
            unqualified_registries: config.unqualified_registries.clone(),
            trust: config.trust.clone(),
        };
        let (places, splitting) = (RwLock::new(Arc::new(places)), Semaphore::new(1));
        Self { config, places, transport, tokens: auth::Tokens::default(), splitting }
    }
}

impl Registry {
    /// A client with this configuration. Nothing is read or connected yet.
    pub fn new(config: Config) -> Self {
        let transport = transport::Transport::new(&config);
        Self { inner: Arc::new(Inner::new(config, transport)) }
    }

    /// Pulls that begin from now on look there.
    pub fn look_in(&self, places: Places) {
        *self.inner.places.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(places);
    }

    /// Where a pull that begins now looks.
    pub fn places(&self) -> Arc<Places> {
        Arc::clone(&self.inner.places.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The configuration as it was at the start; [`Registry::places`] may have changed since.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    pub(crate) fn splitting(&self) -> &Semaphore {
        &self.inner.splitting
    }
}

#[cfg(test)]
pub(crate) mod tests;
