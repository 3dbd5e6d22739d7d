//! How a process is scheduled.

use serde::{Deserialize, Serialize};

/// What a process has instead of what its maker has. What it makes begins with the same.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scheduling {
    /// Its processor time.
    pub policy: Option<Policy>,
    /// Its I/O priority: a class of `IOPRIO_CLASS_*` from bit 13 on, and a level.
    pub io_priority: Option<u16>,
    /// Which nodes its memory comes from.
    pub memory: Option<MemoryPolicy>,
}

/// A policy of sched(7). Times are in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// `SCHED_*`.
    pub number: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// From -20 to 19.
    pub nice: i32,
    /// From 1 to 99, of a real-time policy.
    pub priority: u32,
    /// How long it runs in each period, of `SCHED_DEADLINE`.
    pub runtime: u64,
    /// Until when in each period.
    pub deadline: u64,
    /// The period.
    pub period: u64,
}

/// A policy of numa(7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPolicy {
    /// `MPOL_*`, with its flags.
    pub mode: u32,
    /// A bit for each node.
    pub nodes: Vec<u64>,
}
