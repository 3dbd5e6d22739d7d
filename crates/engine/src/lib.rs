//! The engine: everything about pods.
//!
//! One owner task per pod applies the lifecycle tables, plans containers, talks to the pod's
//! shim, keeps the records on disk and publishes a snapshot that every read answers from.
//! Callers (`cri`, `pod`, `berth`) convert their wire types to [`model`] and call [`Engine`].

#![forbid(unsafe_code)]

mod collection;
mod config;
mod confinement;
mod container;
mod engine;
mod error;
mod events;
mod handler;
mod hooks_dir;
mod host;
mod image_tree;
/// The image store, for callers.
pub use berth_image as image;
pub mod model;
mod oci;
mod open;
mod profile;
mod recovery;
mod sandbox;
pub mod seams;
pub mod services;
mod shared;
mod shim;
pub mod stats;
mod status;
mod sysctl;
mod user_namespace;
mod users;
mod validate;
mod views;

/// The clock of views and events, in nanoseconds since 1970.
pub use berth_sys::clock::now;
/// For callers that have directories of their own which containers fill.
pub use berth_sys::fs::{remove_tree, sync_filesystem};
pub use config::{
    BuiltinImage, BuiltinNetwork, CgroupDriver, CniNetwork, EngineConfig, ImageConfig, Live, NetworkChoice,
};
pub use confinement::Confinement;
pub use container::processes::Process;
pub use container::session::{
    AttachSession, Ending, ExecEnd, ExecRequest, ExecSession, Input, Output, Resizer, Tail,
};
pub use engine::Engine;
pub use error::{Cause, EngineError};
pub use events::{EngineEvent, Events, Stamped};
/// Where hooks are unless a setting says another.
pub use hooks_dir::DIRS as HOOKS_DIRS;
pub use host::local::{mount_memory, unmount_below};
/// 32 bytes of the kernel's randomness.
pub use host::random::bytes as random_bytes;
pub use image_tree::ImageTree;
pub use sandbox::dial::Connection;
pub use status::{Finding, HandlerFeatures, HandlerState, HandlerStatus, NetworkStatus, Stages, Thing};
