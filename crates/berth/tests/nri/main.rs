//! NRI under the library that plugins are made with, and under neighbours that are faulty in every way.
//!
//! The plugins are a small Go program around github.com/containerd/nri (tests/nri), built by these tests; without Go they are skipped.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test program")]

#[path = "../upgrade/cri.rs"]
#[allow(dead_code, reason = "shared with the tests of upgrades")]
mod cri;
mod docs;
mod faulty;
#[path = "../cli/home.rs"]
#[allow(dead_code, reason = "shared with the tests of the command line")]
mod home;
mod plugin;
mod real;
mod world;
