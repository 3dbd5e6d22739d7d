//! The streaming server under Kubernetes' own clients: exec, attach and port forwarding by URL, over SPDY and WebSocket.
//!
//! The client is a small Go program around client-go (tests/streaming), built by these tests; without Go they are skipped.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test program")]

mod attach;
mod client;
#[path = "../upgrade/cri.rs"]
#[allow(dead_code, reason = "shared with the tests of upgrades")]
mod cri;
mod crictl;
mod exec;
mod forward;
#[path = "../cli/home.rs"]
#[allow(dead_code, reason = "shared with the tests of the command line")]
mod home;
mod input;
mod leaks;
mod server;
mod terminal;
mod world;
