//! Tells a collector of traces what happened, by the OpenTelemetry protocol (OTLP 1), over gRPC or HTTP. See docs/adr/0101.
//!
//! ```text
//! spans that ended -> queue (bounded) -> one task -> batches -> collector
//!        |              |                              |
//!        +- never waits +- full: dropped and counted   +- does not take it: the same
//! ```
//!
//! Nobody waits for a collector: one that is slow, away or wrong costs its own spans.

#![forbid(unsafe_code)]

mod client;
mod exporter;
mod messages;
mod sampling;

pub use client::ClientError;
pub use exporter::{Counts, Exporter, Settings};
pub use http::Uri;
pub use sampling::{Ratio, Sampling};

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Calls of gRPC.
    Grpc,
    /// Requests of HTTP with the same messages.
    Http,
}
