//! Limits of a container or pod.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Limits. None leaves the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Relative weight of CPU time, in cgroup v1 shares (2 to 262144).
    pub cpu_shares: Option<u64>,
    /// CPU time per period in microseconds; -1 is no limit.
    pub cpu_quota: Option<i64>,
    /// The period in microseconds.
    pub cpu_period: Option<u64>,
    /// CPUs it may run on, as `0-2,7`.
    pub cpuset_cpus: String,
    /// Memory nodes it may use.
    pub cpuset_mems: String,
    /// Memory in bytes; -1 is no limit.
    pub memory_limit: Option<i64>,
    /// Memory and swap together in bytes; -1 is no limit.
    pub memory_swap_limit: Option<i64>,
    /// The most processes; -1 is no limit. Not in the CRI; set by local pods.
    pub pids_limit: Option<i64>,
    /// Adjustment of the out-of-memory score, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Huge pages.
    pub hugepages: Vec<HugepageLimit>,
    /// Further cgroup v2 files and what to write to them.
    pub unified: BTreeMap<String, String>,
}

/// A limit of huge pages of one size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugepageLimit {
    /// The size as the kernel names it: `2MB`.
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}
