//! How long what a client has sent still counts once it has gone.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

/// The time from the moment when a client is found to have gone until what it has sent is dropped. Clones are of one client.
#[derive(Debug, Clone)]
pub(crate) struct Parting {
    limit: Duration,
    gone: Arc<OnceLock<Instant>>,
}

impl Parting {
    /// Zero drops it at once.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, gone: Arc::default() }
    }

    /// The client has gone, if that was not known: until when what it has sent counts.
    pub(crate) fn until(&self) -> Instant {
        *self.gone.get_or_init(Instant::now) + self.limit
    }
}
