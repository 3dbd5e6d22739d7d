//! What a group may use, in the terms of the OCI runtime specification (linux.resources).
//!
//! `None` and an empty list leave what is there: the same type serves creation and update.

use std::collections::BTreeMap;

/// Limits and weights of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Processor time and placement.
    pub cpu: Cpu,
    /// Memory and swap.
    pub memory: Memory,
    /// The most processes and threads: -1 is no limit, as is 0.
    pub pids: Option<i64>,
    /// Limits of huge pages by size.
    pub hugepages: Vec<Hugepage>,
    /// Weights and limits of block devices.
    pub blkio: Blkio,
    /// Which devices may be used. The rules count in their order, the last match decides.
    pub devices: Vec<DeviceRule>,
    /// Files of cgroup v2 by name, written last. Refused on v1.
    pub unified: BTreeMap<String, String>,
}

/// Processor time and placement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpu {
    /// The weight among siblings as v1 counts it: 2 to 262144, 1024 is usual. 0 is unset.
    pub shares: Option<u64>,
    /// Microseconds of processor time in each period; -1 is no limit. 0 is unset.
    pub quota: Option<i64>,
    /// The period in microseconds. 0 is unset.
    pub period: Option<u64>,
    /// Microseconds of quota that may be saved up.
    pub burst: Option<u64>,
    /// Microseconds of realtime scheduling in each realtime period (v1 only). 0 is unset.
    pub realtime_runtime: Option<i64>,
    /// The realtime period in microseconds (v1 only). 0 is unset.
    pub realtime_period: Option<u64>,
    /// Run only when no other process is runnable.
    pub idle: Option<bool>,
    /// The processors, as in `0-3,7`.
    pub cpus: Option<String>,
    /// The memory nodes, in the same form.
    pub mems: Option<String>,
}

/// Memory and swap, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// The limit; -1 is none. 0 is unset.
    pub limit: Option<i64>,
    /// What is kept when memory is short; -1 is no limit (v1). 0 is unset.
    pub reservation: Option<i64>,
    /// Memory and swap together; -1 is no limit. 0 is unset.
    pub swap: Option<i64>,
    /// How readily pages are swapped: 0 to 100 (v1 only).
    pub swappiness: Option<u64>,
    /// Do not kill when out of memory (v1 only).
    pub disable_oom_killer: bool,
    /// Refuse an update that sets the limit below what is in use.
    pub check_before_update: bool,
}

/// A limit of huge pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hugepage {
    /// The size as the kernel names it: `2MB`, `1GB`.
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}

/// Weights and limits of block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blkio {
    /// The weight among siblings: 10 to 1000. 0 is unset.
    pub weight: Option<u16>,
    /// The weight against its own children (v1 with CFQ only). 0 is unset.
    pub leaf_weight: Option<u16>,
    /// Weights on single devices.
    pub weight_devices: Vec<WeightDevice>,
    /// Limits on single devices.
    pub throttles: Vec<Throttle>,
}

/// A weight on one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightDevice {
    /// The device's major number.
    pub major: u32,
    /// The device's minor number.
    pub minor: u32,
    /// 10 to 1000. 0 is unset.
    pub weight: u16,
}

/// A limit on one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// What is limited.
    pub kind: ThrottleKind,
    /// The device's major number.
    pub major: u32,
    /// The device's minor number.
    pub minor: u32,
    /// Bytes or operations a second; 0 is no limit.
    pub rate: u64,
}

/// What a [`Throttle`] limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThrottleKind {
    /// Bytes read a second.
    ReadBytes,
    /// Bytes written a second.
    WriteBytes,
    /// Reads a second.
    ReadOperations,
    /// Writes a second.
    WriteOperations,
}

/// One rule about devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    /// Allow or deny.
    pub allow: bool,
    /// Which kind of device.
    pub kind: DeviceKind,
    /// The major number; `None` is every.
    pub major: Option<u32>,
    /// The minor number; `None` is every.
    pub minor: Option<u32>,
    /// What the rule is about.
    pub access: Access,
}

/// Which kind of device a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// Both.
    All,
    /// Character devices.
    Char,
    /// Block devices.
    Block,
}

/// What is done with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Access {
    /// Open for reading.
    pub read: bool,
    /// Open for writing.
    pub write: bool,
    /// `mknod`.
    pub make: bool,
}

impl Access {
    /// Everything.
    pub const ALL: Access = Access { read: true, write: true, make: true };

    /// From the letters `r`, `w` and `m`; none for anything else and for nothing at all.
    pub fn parse(letters: &str) -> Option<Access> {
        let mut access = Access::default();
        for letter in letters.chars() {
            match letter {
                'r' => access.read = true,
                'w' => access.write = true,
                'm' => access.make = true,
                _ => return None,
            }
        }
        (access != Access::default()).then_some(access)
    }
}
