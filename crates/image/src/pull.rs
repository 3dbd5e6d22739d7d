//! Pulling an image: what a request is, and how its parts are joined.
//!
//! ```text
//! request -> names (short or full) -> resolve with the caller's credentials -> config
//!         -> layers: one flight per blob, shared by all pulls that want it
//!         -> image record, written last by the store
//! ```
//!
//! Every pull asks the registry for the manifest with its own credentials; only blobs named by a
//! manifest it was given are shared with others (docs/adr/0022-shared-downloads.md). Work that was
//! begun goes on when the client goes away: the next attempt finds it.

pub use progress::{LayerProgress, LayerState, Progress, PullProgress};

use crate::credentials::Keyring;
use crate::registry::Platform;

mod progress;

/// A pull that somebody asks for.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// The reference as it was written; it may lack the host.
    pub reference: String,
    /// Where credentials come from.
    pub keyring: Keyring,
    /// The platform wanted; the configured one when None.
    pub platform: Option<Platform>,
}
