//! Calls to the kernel, and the only unsafe code.

pub mod apparmor;
pub mod bpf;
pub mod caps;
pub mod cgroup;
pub mod clock;
pub mod confine;
pub mod fs;
pub mod kernel;
pub mod lock;
pub mod memfd;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod overlay;
pub mod process;
pub mod procfs;
pub mod pty;
pub mod quota;
pub mod rlimit;
pub mod sched;
pub mod signal;
pub mod socket;
pub mod spawn;
pub mod user;
