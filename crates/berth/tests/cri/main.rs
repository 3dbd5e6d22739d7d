//! What a kubelet relies on, call by call, over the socket. The numbers are those of the list of such behaviours that the
//! tests of the project share: "contract NN".

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test program")]

mod calls;
mod containers;
#[path = "../upgrade/cri.rs"]
#[allow(dead_code, reason = "shared with the tests of upgrades")]
mod cri;
mod crictl;
#[path = "../cli/home.rs"]
#[allow(dead_code, reason = "shared with the tests of the command line")]
mod home;
mod logs;
mod metrics;
mod pairs;
mod sandboxes;
mod traces;
mod world;
