//! The daemon's side of a shim: its connection, and starting one.

mod client;
pub(crate) mod spawn;

pub(crate) use client::{Connection, Notice, Shim, ShimError};
#[allow(unused_imports, reason = "for the owner, which connects again")]
pub(crate) use client::{Lost, NotSent, Reached, reached};
