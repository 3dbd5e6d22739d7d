//! SPDY/3.1 as Kubernetes' clients speak it, the server's side: clients open streams, both sides send on them.
//!
//! Windows are left out: Go's implementation neither keeps to them nor ever opens one again, so a server that counted would
//! stop after 64 KiB. SETTINGS and WINDOW_UPDATE are read and passed over.

mod frame;
mod headers;
mod streams;

pub(crate) use frame::SpdyError;
pub(crate) use headers::Headers;
pub(crate) use streams::{Opened, Outlet, Streams};
