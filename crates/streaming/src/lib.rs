//! The streaming server: exec, attach and port forwarding by URL.
//!
//! The CRI answers Exec, Attach and PortForward with a URL that works once ([`Urls`]). Whoever has it connects to
//! [`Server`] and upgrades the connection to SPDY/3.1 or WebSocket, both as Kubernetes' clients speak them (docs/streaming.md):
//!
//! ```text
//! TCP or TLS -- HTTP/1.1, token, handshake -- [WebSocket] -- SPDY/3.1 streams or channels -- exec, attach: a process' streams
//!                                                                                        `- port forwarding: pairs of streams
//! ```
//!
//! - [`request`], `token`: what a URL stands for, and the URL.
//! - `server`, `handshake`: connections, up to the upgrade. The handshake is pure.
//! - `wire`: what is written and read, whatever the protocol: packets, idle time, the end of a connection.
//! - `spdy`, `websocket`: frames (pure, bounded), and the streams on a connection.
//! - `remotecommand`, `portforward`: what is done with the streams.
//!
//! Every stream has a small queue. Neither protocol has a working flow control (Go's SPDY clients ignore windows), so a full
//! queue stops the reading of its connection, and TCP tells the client.

#![forbid(unsafe_code)]

mod error;
mod handshake;
mod portforward;
mod remotecommand;
pub mod request;
mod server;
mod session;
mod spdy;
mod token;
mod websocket;
mod wire;

pub use error::StreamingError;
pub use server::{Bound, Server, Settings, TlsFiles};
pub use token::{TooMany, Urls};
