//! Facts of the host that plans depend on, read once.

use berth_sys::cgroup;
use rustix::thread::CapabilitySet;

use crate::confinement::{self, Confinement};
use crate::oci::HostFacts;

/// Reads them.
pub(crate) fn facts(cgroups: &cgroup::Host) -> HostFacts {
    let held = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
    let own_score =
        || -> Option<i32> { std::fs::read_to_string("/proc/self/oom_score_adj").ok()?.trim().parse().ok() };
    let least = if held.contains(CapabilitySet::SYS_RESOURCE) { -1000 } else { own_score().unwrap_or(0) };
    if least > -1000 {
        tracing::info!(
            least,
            "the daemon cannot set a lower out-of-memory score than this; lower ones are raised to it"
        );
    }
    let name = rustix::system::uname();
    let facts = HostFacts {
        capabilities: held.bits(),
        least_oom_score: least,
        hostname: name.nodename().to_string_lossy().into_owned(),
        unified: cgroups.mode() == cgroup::Mode::V2,
        accounts_swap: cgroups.accounts_swap(),
        limits_hugepages: cgroups.controller(cgroup::Controller::Hugetlb).is_some(),
        // Permissive too: what is asked for would be audited.
        selinux: std::fs::read_to_string("/sys/fs/selinux/enforce")
            .is_ok_and(|text| text.trim_start().starts_with(['1', '0'])),
    };
    if !facts.limits_hugepages
        && std::fs::read_dir("/sys/kernel/mm/hugepages").is_ok_and(|sizes| sizes.count() > 0)
    {
        tracing::info!("limits of huge pages have no effect: this host has no cgroup controller \"hugetlb\"");
    }
    if let Some(Confinement { module, message, .. }) = confinement::of_selinux(&facts) {
        tracing::warn!(module, "{message}");
    }
    facts
}
