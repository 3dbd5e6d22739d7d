//! The shim as a daemon sees it: the real binary, driven over its socket, with busybox containers.

mod ends;
mod exec;
mod log;
mod pod;
mod rig;
