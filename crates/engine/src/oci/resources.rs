//! Limits in the words of the cgroup code.

use berth_sys::cgroup::{self, Cpu, DeviceRule, Hugepage, Memory};

use crate::model::Resources;
use crate::oci::HostFacts;

/// The cgroup's limits for `from`, with these rules about devices.
pub(crate) fn cgroup(from: &Resources, devices: Vec<DeviceRule>, host: &HostFacts) -> cgroup::Resources {
    // Like the field's other runtimes: without a word about swap there is none beyond the limit. Where the
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
        hugepages: from
            .hugepages
            .iter()
            .map(|h| Hugepage { page_size: h.page_size.clone(), limit: h.limit })
            .collect(),
        devices,
        unified: from.unified.clone(),
        ..cgroup::Resources::default()
    }
}

/// The cgroup's limits for `change`, where `now` is what is in force after it. Memory and swap are one limit
/// to the kernel, so that who changes the one says the other too.
pub(crate) fn change(now: &Resources, change: &Resources, host: &HostFacts) -> cgroup::Resources {
    let mut change = change.clone();
    if change.memory_limit.is_some() {
        change.memory_swap_limit = now.memory_swap_limit;
    }
    cgroup(&change, Vec::new(), host)
}

/// Memory and swap together cannot be less than memory alone.
fn swap(limit: Option<i64>, swap: Option<i64>) -> Option<i64> {
    match (limit, swap) {
        (Some(limit), Some(swap)) if swap >= 0 && (limit < 0 || limit > swap) => Some(limit),
        (_, swap) => swap,
    }
}

/// `now` with every field that `change` sets. A limit of swap of before gives way to more memory.
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
    Resources {
        cpu_shares: change.cpu_shares.or(now.cpu_shares),
        cpu_quota: change.cpu_quota.or(now.cpu_quota),
        cpu_period: change.cpu_period.or(now.cpu_period),
        cpuset_cpus: text(&change.cpuset_cpus, &now.cpuset_cpus),
        cpuset_mems: text(&change.cpuset_mems, &now.cpuset_mems),
        memory_limit,
        memory_swap_limit: change.memory_swap_limit.or_else(|| swap(memory_limit, now.memory_swap_limit)),
        pids_limit: change.pids_limit.or(now.pids_limit),
        oom_score_adj: now.oom_score_adj,
        hugepages,
        unified,
    }
}

#[cfg(test)]
mod tests;
