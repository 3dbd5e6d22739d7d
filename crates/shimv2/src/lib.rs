//! Speaks containerd's shim v2 protocol to shims that others wrote.
//!
//! ```text
//! container one container: all of the below
//! launch    start and delete by the shim's program         program   runs it, with bounds
//!   answer    what it prints (pure)                         strays    what a failed start leaves
//! shim      a connected shim: methods by their requests    message   the messages
//!   client    one connection, one thread                    log       the FIFO of its log
//!   calls     who waits for what (pure)                     stdio     the FIFOs of a process
//!   frame     ttrpc's frames (pure)                         events    the service that takes its events
//!                                                           publish   the publish binary's work
//! ```
//!
//! Without an asynchronous runtime: its user is Berth's own shim, a small process per pod. See docs/adr/0095.

#![forbid(unsafe_code)]

pub mod answer;
mod calls;
pub mod client;
pub mod container;
pub mod error;
pub mod events;
pub use berth_ttrpc::frame;
pub mod launch;
pub mod log;
pub mod message;
pub mod program;
pub mod publish;
pub mod shim;
pub mod stdio;
mod strays;
