//! The pod brain.
//!
//! One owner task per pod applies the lifecycle tables, plans containers, talks to the pod's
//! shim, keeps the records on disk and publishes a snapshot that every read answers from.
//! Callers (`cri`, `pod`, `berth`) convert their wire types to [`model`] and call [`Engine`].

#![forbid(unsafe_code)]

mod board;
mod clock;
mod config;
mod engine;
mod error;
mod events;
mod layout;
pub mod model;
mod oci;
mod record;
mod session;
mod stages;
mod status;
mod undo;

pub use config::{BuiltinImage, BuiltinNetwork, CgroupDriver, EngineConfig, ImageConfig, NetworkChoice};
pub use engine::Engine;
pub use error::{Cause, EngineError};
pub use events::{EngineEvent, Events, Stamped};
pub use session::{AttachSession, ExecEnd, ExecRequest, ExecSession, Input, Output, Resizer};
pub use status::{Finding, NetworkStatus, Stages, Thing};
