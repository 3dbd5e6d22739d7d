//! Node Resource Interface: programs that are told of pods and containers, and change containers before they are made.
//!
//! ```text
//! service    the engine's seam: one queue, one plugin after the other        listen   the socket of plugins that come
//!   worker   what is done in the queue                                      launch   plugins that are started here
//!   plugin   registration, configuration, calls with their times
//!     connection  one socket: calls both ways      mux  frames of it (pure)     api      messages, generated
//!   updates  what plugins want of other containers, in its order
//!   merge    what several plugins want (pure)      owners  who set what (pure)  event    which calls a plugin wants (pure)
//!   subject  what plugins see (pure)               apply   what becomes of it (pure)
//! ```
//!
//! docs/nri.md says what is supported.

#![forbid(unsafe_code)]

pub mod api;
pub mod apply;
pub mod connection;
pub mod event;
mod launch;
mod listen;
pub mod merge;
pub mod mux;
pub mod owners;
pub mod plugin;
mod service;
pub mod subject;
mod updates;
mod worker;

pub use service::{Bound, Service, Settings};
