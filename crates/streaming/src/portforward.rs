//! Port forwarding: each connection that a client has accepted is a pair of streams, one for its bytes and one for an error.

mod channels;
mod copy;
mod pairs;

pub(crate) use channels::{MAX_CHANNEL_PORTS, channels, fixed};
pub(crate) use pairs::{MAX_STREAMS, accepts, pairs};
