//! The shim as a daemon sees it: the real binary, driven over its socket, with busybox containers.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking and says why it is skipped"
)]

mod apart;
mod command;
mod ends;
mod exec;
mod log;
mod pod;
mod rig;
