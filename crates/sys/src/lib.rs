//! The only door to the kernel, and the only unsafe code.

pub mod bpf;
pub mod cgroup;
pub mod memfd;
pub mod overlay;
pub mod signal;
pub mod socket;
pub mod spawn;
pub mod netlink;
