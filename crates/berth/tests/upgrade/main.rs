//! Pods under other versions of Berth than the one that made them, and under daemons and shims that are killed.
//!
//! The programs of other versions are built by `cargo xtask upgrade` and `cargo xtask test`; without them these
//! tests are skipped.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test program")]

mod across;
mod crash;
#[allow(dead_code, reason = "shared with the tests of the streaming server")]
mod cri;
#[path = "../cli/home.rs"]
#[allow(dead_code, reason = "shared with the tests of the command line")]
mod home;
mod programs;
mod world;
