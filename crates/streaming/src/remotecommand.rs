//! Exec and attach: a process' streams on those of a client.

mod attach;
mod copy;
mod exec;
mod open;
mod size;
mod status;

pub(crate) use attach::attach;
pub(crate) use exec::exec;
pub(crate) use open::{Kind, channels, collect, needed};
pub(crate) use status::Outcome;

use crate::session::Outlet;
use crate::wire::Incoming;

/// The versions of the protocol (`channel.k8s.io`, `v2.channel.k8s.io`, ...).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// Failures are text.
    V1,
    /// The same, without mistakes that do not matter here.
    V2,
    /// A terminal's size can be set.
    V3,
    /// The outcome is a status in JSON, with the exit code.
    V4,
    /// A client of WebSocket can end its input.
    V5,
}

/// The streams of a client.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) version: Version,
    pub(crate) stdin: Option<Incoming>,
    pub(crate) stdout: Outlet,
    pub(crate) stderr: Outlet,
    /// The outcome.
    pub(crate) error: Outlet,
    /// Sizes of the terminal.
    pub(crate) resize: Option<Incoming>,
}
