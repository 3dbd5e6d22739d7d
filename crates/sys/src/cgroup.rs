//! Control groups: limits, accounting, and which processes a container has.
//!
//! ```text
//! Host::detect    the hierarchies that are mounted (v1, hybrid or v2), once
//! Host::create    makes a group in each of them and sets its limits; undone as a whole on failure
//! Cgroup::join    descriptors by which a new process becomes a member
//! Cgroup::dirs    what another process (the shim) is given; Cgroup::from_dirs takes it
//! Cgroup::hold    the group whatever its name stands for later; Held::find takes its name and number
//! ```
//!
//! What is to be written is planned purely from [`Resources`] and the shape of the host
//! (`plan`), and tested cell by cell; the execution is a list of writes. A setting whose
//! controller the host lacks is refused by its name in the OCI runtime specification.
//!
//! The rules followed are the kernel's: `admin-guide/cgroup-v2.rst` and `admin-guide/cgroup-v1/`. In which hierarchies
//! groups are made, where they lie and what device rules mean is in docs/adr/0010.

mod apply;
mod controller;
pub mod convert;
mod create;
mod devices;
mod error;
mod freeze;
mod group;
mod held;
mod host;
mod kill;
mod oom;
mod path;
mod plan;
mod remove;
mod resources;
mod stats;
mod walk;

pub use controller::{Controller, Controllers};
pub use error::CgroupError;
pub use group::{Cgroup, Join};
pub use held::Held;
pub use host::{Hierarchy, Host, Mode, Version, parse_mounts};
pub use oom::{OomLevel, OomWatch};
pub use path::{CgroupPath, MAX_DEPTH, MAX_PATH};
pub use resources::{
    Access, Blkio, Cpu, DeviceKind, DeviceRule, Hugepage, Memory, Resources, Throttle, ThrottleKind,
    WeightDevice,
};
pub use stats::{
    BlockIo, Details, HugeUse, MemoryDetails, MemoryStats, Pids, Pressure, Reader, Stall, Stats, Throttling,
};

#[cfg(test)]
mod tests;
