//! Limits in the types of the cgroup code.

use std::collections::BTreeSet;

use berth_sys::cgroup::{self, Cpu, DeviceRule, Hugepage, Memory};

use crate::model::{HugepageLimit, Resources};
use crate::oci::HostFacts;

/// The cgroup's limits for `from`, with these rules about devices.
pub(crate) fn cgroup(from: &Resources, devices: Vec<DeviceRule>, host: &HostFacts) -> cgroup::Resources {
    // As in other runtimes: when swap is not set there is none beyond the limit. Where the
    // host does not account for swap, that is left unsaid; a limit of its own is passed on and refused by name.
    let swap = from.memory_swap_limit.or(from.memory_limit);
    let swap = swap.filter(|swap| host.accounts_swap || Some(*swap) != from.memory_limit);
    let text = |s: &String| Some(s.clone()).filter(|s| !s.is_empty());
    cgroup::Resources {
        cpu: Cpu {
            shares: from.cpu_shares,
            quota: from.cpu_quota,
            period: from.cpu_period,
            cpus: text(&from.cpuset_cpus),
            mems: text(&from.cpuset_mems),
            ..Cpu::default()
        },
        memory: Memory { limit: from.memory_limit, swap, check_before_update: true, ..Memory::default() },
        pids: from.pids_limit,
        // A kubelet sends a limit for each size that the kernel has, of every container: without the controller it keeps none of them
        // itself, and neither do other runtimes.
        hugepages: from
            .hugepages
            .iter()
            .filter(|_| host.limits_hugepages)
            .map(|h| Hugepage { page_size: h.page_size.clone(), limit: h.limit })
            .collect(),
        devices,
        unified: from.unified.clone(),
        ..cgroup::Resources::default()
    }
}

/// The result of a change of limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// The limits in force afterwards, all of them.
    pub(crate) now: Resources,
    /// What to write for it.
    pub(crate) set: cgroup::Resources,
    /// What to write when the kernel refuses a part of it, so that what was in force is in force again.
    pub(crate) undo: cgroup::Resources,
    /// The score of the container's processes, where it changes.
    pub(crate) score: Option<Score>,
}

/// A change of the out-of-memory score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Score {
    pub(crate) before: i32,
    pub(crate) now: i32,
}

impl Change {
    /// The result of `asked` where `before` is in force. What it leaves unset stays.
    pub(crate) fn of(before: &Resources, asked: &Resources, host: &HostFacts) -> Self {
        let now = merge(before, asked);
        let set = cgroup(&touched(&now, asked), Vec::new(), host);
        let mut undo = cgroup(&touched(&unlimited(before, asked), asked), Vec::new(), host);
        // What was in force may be below what is in use now, and is restored nevertheless.
        undo.memory.check_before_update = false;
        let usable = |score: i32| score.max(host.least_oom_score);
        let score = now.oom_score_adj.filter(|_| now.oom_score_adj != before.oom_score_adj);
        let before_score = before.oom_score_adj.unwrap_or(0);
        let score = score.map(|score| Score { before: usable(before_score), now: usable(score) });
        Self { now, set, undo, score }
    }
}

/// The part of `all` that a change is about. What the kernel keeps as one setting is written as a whole: quota and
/// period, and memory with swap.
fn touched(all: &Resources, asked: &Resources) -> Resources {
    let about: BTreeSet<String> = files(asked).into_iter().chain(asked.unified.keys().cloned()).collect();
    let has = |file: &str| about.contains(file);
    let text = |file: &str, all: &String| if has(file) { all.clone() } else { String::new() };
    let page = |page: &&HugepageLimit| has(&huge(page));
    let mut unified = all.unified.clone();
    unified.retain(|file, _| has(file));
    Resources {
        cpu_shares: all.cpu_shares.filter(|_| has("cpu.weight")),
        cpu_quota: all.cpu_quota.filter(|_| has("cpu.max")),
        cpu_period: all.cpu_period.filter(|_| has("cpu.max")),
        cpuset_cpus: text("cpuset.cpus", &all.cpuset_cpus),
        cpuset_mems: text("cpuset.mems", &all.cpuset_mems),
        memory_limit: all.memory_limit.filter(|_| has("memory.max")),
        memory_swap_limit: all.memory_swap_limit.filter(|_| has("memory.swap.max")),
        pids_limit: all.pids_limit.filter(|_| has("pids.max")),
        oom_score_adj: None,
        hugepages: all.hugepages.iter().filter(page).cloned().collect(),
        unified,
    }
}

/// The same limits, with the kernel's own value where none is set. CPUs, memory nodes and files of cgroup v2 have none
/// that is the same everywhere.
fn unlimited(from: &Resources, asked: &Resources) -> Resources {
    let new = |page: &&HugepageLimit| !from.hugepages.iter().any(|other| other.page_size == page.page_size);
    let open = |page: &HugepageLimit| HugepageLimit { limit: u64::MAX, ..page.clone() };
    let hugepages = from.hugepages.iter().cloned().chain(asked.hugepages.iter().filter(new).map(open));
    Resources {
        hugepages: hugepages.collect(),
        cpu_shares: from.cpu_shares.or(Some(1024)),
        cpu_quota: from.cpu_quota.or(Some(-1)),
        cpu_period: from.cpu_period.or(Some(100_000)),
        memory_limit: from.memory_limit.or(Some(-1)),
        // When swap is not set there is none beyond the limit, and no limit without one of memory.
        memory_swap_limit: from.memory_swap_limit.or(from.memory_limit).or(Some(-1)),
        pids_limit: from.pids_limit.or(Some(-1)),
        ..from.clone()
    }
}

/// Memory and swap together cannot be less than memory alone.
fn swap(limit: Option<i64>, swap: Option<i64>) -> Option<i64> {
    match (limit, swap) {
        (Some(limit), Some(swap)) if swap >= 0 && (limit < 0 || limit > swap) => Some(limit),
        (_, swap) => swap,
    }
}

/// `now` with every field that `change` sets. An earlier limit of swap is raised for more memory.
pub(crate) fn merge(now: &Resources, change: &Resources) -> Resources {
    let text = |change: &String, now: &String| if change.is_empty() { now.clone() } else { change.clone() };
    let mut unified = now.unified.clone();
    unified.extend(change.unified.clone());
    let mut hugepages = now.hugepages.clone();
    for page in &change.hugepages {
        hugepages.retain(|other| other.page_size != page.page_size);
        hugepages.push(page.clone());
    }
    let memory_limit = change.memory_limit.or(now.memory_limit);
    let mut merged = Resources {
        cpu_shares: change.cpu_shares.or(now.cpu_shares),
        cpu_quota: change.cpu_quota.or(now.cpu_quota),
        cpu_period: change.cpu_period.or(now.cpu_period),
        cpuset_cpus: text(&change.cpuset_cpus, &now.cpuset_cpus),
        cpuset_mems: text(&change.cpuset_mems, &now.cpuset_mems),
        memory_limit,
        memory_swap_limit: change.memory_swap_limit.or_else(|| swap(memory_limit, now.memory_swap_limit)),
        pids_limit: change.pids_limit.or(now.pids_limit),
        oom_score_adj: change.oom_score_adj.or(now.oom_score_adj),
        hugepages,
        unified,
    };
    // Of two settings of one file of cgroup v2 the later one counts.
    for file in files(change) {
        if !change.unified.contains_key(&file) {
            merged.unified.remove(&file);
        }
    }
    for file in change.unified.keys() {
        forget(&mut merged, file);
    }
    merged
}

/// The files of cgroup v2 that the fields set are written to.
fn files(from: &Resources) -> Vec<String> {
    let memory = from.memory_limit.is_some();
    let fixed = [
        ("cpu.weight", from.cpu_shares.is_some()),
        ("cpu.max", from.cpu_quota.is_some() || from.cpu_period.is_some()),
        ("cpuset.cpus", !from.cpuset_cpus.is_empty()),
        ("cpuset.mems", !from.cpuset_mems.is_empty()),
        ("memory.max", memory),
        ("memory.swap.max", memory || from.memory_swap_limit.is_some()),
        ("pids.max", from.pids_limit.is_some()),
    ];
    let fixed = fixed.into_iter().filter(|(_, set)| *set).map(|(file, _)| file.to_owned());
    fixed.chain(from.hugepages.iter().map(huge)).collect()
}

/// The file of a limit of huge pages.
fn huge(page: &HugepageLimit) -> String {
    format!("hugetlb.{}.max", page.page_size)
}

/// Unsets the fields that are written to a file of cgroup v2.
fn forget(limits: &mut Resources, file: &str) {
    match file {
        "cpu.weight" => limits.cpu_shares = None,
        "cpu.max" => (limits.cpu_quota, limits.cpu_period) = (None, None),
        "cpuset.cpus" => limits.cpuset_cpus.clear(),
        "cpuset.mems" => limits.cpuset_mems.clear(),
        "memory.max" => limits.memory_limit = None,
        "memory.swap.max" => limits.memory_swap_limit = None,
        "pids.max" => limits.pids_limit = None,
        other => limits.hugepages.retain(|page| huge(page) != other),
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::host as test_host;
