//! The command line against a daemon, from end to end: what a user types, what is answered, what is left behind.
//!
//! Each test has a daemon of its own. All share one registry, which only serves.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test program")]

mod acts;
mod archive;
mod arguments;
mod exec;
mod flags;
mod grpc;
mod handlers;
mod home;
mod images;
mod kubelet;
mod lists;
mod logs;
mod maintenance;
mod messages;
mod names;
mod play;
mod probes;
mod run;
mod services;
mod states;
mod terminal;
mod upgrade;
mod volumes;
mod watching;
mod workloads;
