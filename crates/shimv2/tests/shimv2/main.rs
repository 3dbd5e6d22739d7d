//! The client against a server of the test's own, against faulty programs, and against the shims of containerd: Debian's (Task version 2)
//! and, where it was built, that of a newer containerd (version 3).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod events;
mod faulty;
mod real;
mod stdio;
mod whole;
mod wire;
mod world;
