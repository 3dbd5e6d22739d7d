//! WebSocket (RFC 6455), the server's side, and Kubernetes' channels on it.
//!
//! Messages are not put together: what a client sends passes on as it comes, so a message may be of any length.

mod channels;
mod frame;

pub(crate) use channels::{Channels, Coding, Outlet};
pub(crate) use frame::{Decoder, Event, NORMAL, Opcode, accept, head};
