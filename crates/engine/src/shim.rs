//! The daemon's side of a shim: its connection, and starting one.

mod client;
pub(crate) mod handshake;
pub(crate) mod spawn;

pub(crate) use client::{Connection, Notice, Reached, Shim, ShimError, reached};
