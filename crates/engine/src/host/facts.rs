//! Facts of the host that plans depend on, read once.

use berth_sys::cgroup;
use rustix::thread::CapabilitySet;

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
    let enabled = |path: &str| {
        std::fs::read_to_string(path).is_ok_and(|text| text.trim_start().starts_with(['Y', '1', '0']))
    };
    let facts = HostFacts {
        capabilities: held.bits(),
        least_oom_score: least,
        hostname: name.nodename().to_string_lossy().into_owned(),
        unified: cgroups.mode() == cgroup::Mode::V2,
        accounts_swap: cgroups.accounts_swap(),
        apparmor: enabled("/sys/module/apparmor/parameters/enabled")
            && std::path::Path::new("/sys/kernel/security/apparmor").exists(),
        selinux: enabled("/sys/fs/selinux/enforce"),
    };
    for crate::confinement::Unconfined { module, message } in crate::confinement::unconfined(&facts) {
        tracing::warn!(module, "{message}");
    }
    facts
}
