//! Bundles of busybox, and what crates/container's tests have for that.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_debug_implementations,
    clippy::print_stderr,
    reason = "each test file uses a part of it"
)]

#[path = "../../../container/tests/support/mod.rs"]
mod container;

pub mod apart;
pub mod bundle;
pub mod life;

pub use container::{read_all, root, rootfs, unique};
