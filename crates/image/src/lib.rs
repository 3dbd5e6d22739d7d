//! Images: registry client, content store, unpack, snapshots, garbage collection.
//!
//! ```text
//! pull, load            Ingest (a lease)                     <root>/images
//!   manifest, config -> checked, kept as blobs ------------> blobs/sha256/<hex>
//!   layer bytes ------> sha256 -> pipe -> berth-unpack ----> layers/<diff|chain>-<hex>/{fs,recipe}
//!   commit -----------> syncfs, then the record, last -----> records/<config hex>
//! snapshot of a container: upper and work directories -----> <root>/snapshots/<container id>
//! ```
//!
//! An image is visible when its record is: everything the record names was on disk before. What
//! no record names is garbage, and is removed when the store is opened, when an image or a
//! snapshot is removed, and when a pull fails. One writer (the store's lock) counts references,
//! so a pull and the collection of garbage cannot race. See docs/adr/0025-image-store.md.

#![forbid(unsafe_code)]

mod archive;
mod artifact;
pub mod collect;
mod config;
pub mod credentials;
mod error;
mod fetch;
pub mod hosts;
mod image;
mod json;
pub mod pull;
pub mod push;
pub mod registry;
mod snapshot;
mod store;
pub mod unpack;

use std::path::PathBuf;

pub use archive::{ArchiveError, LoadProgress};
pub use artifact::{NewArtifact, NewFile};
pub use config::{ConfigError, ImageConfig};
pub use error::StoreError;
pub use image::{Image, LayerId, Names};
pub use snapshot::{Snapshot, Usage, VolumeImage};
pub use store::ingest::{Ingest, LayerSource, LayerStep, LayerWriter, Source, Turn};
pub use store::{
    ArtifactFile, Change, Collected, Contents, Images, Measured, Removed, Step, Volume, VolumeError,
};
pub use unpack::Limits;

/// How the image store works.
#[derive(Debug, Clone)]
pub struct Config {
    /// The root directory (`/var/lib/berth`): `images/` and `snapshots/` are made in it, and
    /// nothing outside it is written.
    pub root: PathBuf,
    /// The program that unpacks layers when it is executed as [`unpack::PROGRAM`]: normally
    /// `/proc/self/exe`, whose `main` calls [`unpack::worker_main`] for that name.
    pub unpacker: PathBuf,
    /// What one layer may contain.
    pub limits: Limits,
}

impl Config {
    /// The store of `root`, unpacking with this program itself.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), unpacker: "/proc/self/exe".into(), limits: Limits::default() }
    }
}
