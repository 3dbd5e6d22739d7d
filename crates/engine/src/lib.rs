//! The pod brain.
//!
//! One owner task per pod applies the lifecycle tables, plans containers, talks to the pod's
//! shim, keeps the records on disk and publishes a snapshot that every read answers from.
//! Callers (`cri`, `pod`, `berth`) convert their wire types to [`model`] and call [`Engine`].

#![forbid(unsafe_code)]

mod board;
mod clock;
mod config;
mod confinement;
mod doctor;
mod engine;
mod error;
mod events;
mod healing;
mod host;
mod layout;
mod limits;
/// The image store, for callers.
pub use berth_image as image;
pub mod model;
mod oci;
mod open;
mod pod;
mod profile;
mod purge;
mod random;
mod record;
mod session;
mod shared;
mod shim;
mod stages;
pub mod stats;
mod status;
mod sysctl;
mod undo;
mod users;
mod validate;
mod watched;

/// For callers that have directories of their own which containers fill.
pub use berth_sys::fs::remove_tree;
pub use config::{BuiltinImage, BuiltinNetwork, CgroupDriver, EngineConfig, ImageConfig, NetworkChoice};
pub use confinement::Unconfined;
pub use engine::Engine;
pub use error::{Cause, EngineError};
pub use events::{EngineEvent, Events, Stamped};
pub use session::{AttachSession, Ending, ExecEnd, ExecRequest, ExecSession, Input, Output, Resizer};
pub use status::{Finding, NetworkStatus, Stages, Thing};
