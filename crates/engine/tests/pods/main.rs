//! Real pods: the real shim, real images, namespaces and cgroups. Needs root.
//!
//! Every test has an engine of its own with its own directories and cgroup root, and checks at the end
//! that nothing of it is left.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod apparmor;
mod cdi;
mod cni;
mod concurrency;
mod damage;
mod exec;
mod failures;
mod faulty;
mod foreign;
mod found;
mod gvisor;
mod handlers;
mod harness;
mod hooks;
mod kernel;
mod life;
mod limits;
mod network;
mod oom;
mod recovery;
mod seams;
mod secrets;
mod security;
mod silent;
mod stats;
mod systemd;
mod user_namespace;
mod volumes;
