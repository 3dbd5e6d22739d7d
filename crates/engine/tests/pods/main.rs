//! Real pods: the real shim, real images, namespaces and cgroups. Needs root.
//!
//! Every test has an engine of its own with its own directories and cgroup root, and checks at the end
//! that nothing of it is left.

mod concurrency;
mod exec;
mod failures;
mod harness;
mod life;
mod network;
mod recovery;
