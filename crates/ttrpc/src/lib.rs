//! The pure parts of ttrpc, which containerd's shims and NRI plugins speak: frames, and what calls are wrapped in.
//! Who reads and writes them is with its users: `berth-shimv2` without an asynchronous runtime, `berth-nri` with one.

#![forbid(unsafe_code)]

pub mod frame;
pub mod rpc;
