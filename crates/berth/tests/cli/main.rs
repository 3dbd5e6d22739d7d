//! The command line against a daemon, from end to end: what a user types, what is answered, what is left behind.
//!
//! Each test has a daemon of its own. All share one registry, which only serves.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test program")]

mod acts;
mod archive;
mod arguments;
mod artifacts;
mod config;
mod created;
mod exec;
mod flags;
mod grpc;
mod handlers;
mod home;
mod images;
mod instances;
mod kubelet;
mod layers;
mod lists;
mod logs;
mod maintenance;
mod messages;
mod named_volumes;
mod names;
mod paused;
mod play;
mod probes;
mod push;
mod run;
mod services;
mod states;
mod terminal;
mod upgrade;
mod volumes;
mod watching;
mod workloads;
