//! The kubelet's door: the CRI v1 services (k8s.io/cri-api v0.37.2).
//!
//! Handlers convert between the CRI's messages and the engine's model and ask the engine; they
//! decide nothing. Generated types stay in this crate, but for the clients of tests and the
//! command line.

#![forbid(unsafe_code)]

pub mod api;
mod convert;
pub mod error;
mod images;
mod lookup;
mod runtime;

pub use images::Images;
pub use runtime::Runtime;

/// The largest message taken from a client: what the kubelet's own client allows.
pub const MAX_MESSAGE: usize = 16 << 20;

#[cfg(test)]
mod tests;
