//! The CRI v1 services for kubelets (k8s.io/cri-api v0.37.2).
//!
//! Handlers convert between the CRI's messages and the engine's model and ask the engine; they
//! decide nothing. Each field of a request is obeyed or refused, or means nothing here (docs/adr/0003).
//! Generated types stay in this crate, but for the clients of tests and the command line.

#![forbid(unsafe_code)]

pub mod api;
mod convert;
pub mod error;
#[cfg(test)]
mod fixtures;
mod images;
mod lookup;
mod rows;
mod runtime;

pub use images::Images;
pub use runtime::Runtime;

/// The largest message taken from a client: what the kubelet's own client allows.
pub const MAX_MESSAGE: usize = 16 << 20;

#[cfg(test)]
mod tests;
