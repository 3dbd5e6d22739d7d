//! The shared types of Berth.
//!
//! Everything here is plain data with rules: ids, image references, digests, the lifecycle
//! tables of sandbox and container, what each kind of handler has, the messages between daemon and shim, durations, and the kinds of
//! errors. Nothing here does I/O, so every rule is tested without a machine.

#![forbid(unsafe_code)]

pub mod ability;
pub mod digest;
pub mod duration;
pub mod error;
pub mod hook;
pub mod id;
pub mod lifecycle;
pub mod metric;
pub mod quantity;
pub mod reference;
pub mod setting;
pub mod shim;
pub mod stamp;

pub use digest::Digest;
pub use error::{Classify, Kind};
pub use id::{ContainerId, ExecId, SandboxId};
pub use reference::ImageRef;
