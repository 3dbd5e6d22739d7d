//! Plugins that a killed daemon had called and that still run: they would go on adding what this daemon removes.

use std::collections::HashSet;
use std::time::Duration;

use berth_sys::fs::read_bounded;
use berth_types::SandboxId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The time for a killed process to end.
const LIMIT: Duration = Duration::from_secs(2);
/// How often processes that start others are looked for.
const ROUNDS: u32 = 4;
/// The largest environment that is read.
const MAX_ENVIRONMENT: u64 = 1 << 20;

/// Kills every process that was called about one of `sandboxes`, with what it called: their environment names the pod.
pub(super) fn end(sandboxes: &HashSet<SandboxId>) {
    if sandboxes.is_empty() {
        return;
    }
    for _ in 0..ROUNDS {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let ended: Vec<_> = pids.filter(|pid| end_one(*pid, sandboxes)).collect();
        if ended.is_empty() {
            return;
        }
        tracing::warn!(pids = ?ended, "killed CNI plugins that an earlier daemon had called");
    }
}

/// Whether the process was one.
fn end_one(pid: i32, sandboxes: &HashSet<SandboxId>) -> bool {
    // Opened first: what is read and killed is then one process, whatever happens to its number.
    let Some(pidfd) = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        return false;
    };
    let Ok(environment) = read_bounded(format!("/proc/{pid}/environ").as_ref(), MAX_ENVIRONMENT) else {
        return false;
    };
    let ours = container_of(&environment).is_some_and(|id| sandboxes.contains(&id));
    if !ours || pidfd_send_signal(&pidfd, Signal::KILL).is_err() {
        return false;
    }
    let limit = Timespec::try_from(LIMIT).expect("two seconds");
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).ok();
    true
}

/// The pod that a plugin with this environment was called about.
fn container_of(environment: &[u8]) -> Option<SandboxId> {
    let mut variables = environment.split(|byte| *byte == 0);
    let id = variables.find_map(|variable| variable.strip_prefix(b"CNI_CONTAINERID="))?;
    std::str::from_utf8(id).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_of_a_plugin_is_in_its_environment() {
        let id = "a".repeat(64);
        let environment = format!("PATH=/bin\0CNI_COMMAND=ADD\0CNI_CONTAINERID={id}\0CNI_IFNAME=eth0\0");
        assert_eq!(container_of(environment.as_bytes()).map(String::from), Some(id));
        for other in ["", "CNI_CONTAINERID=short\0", "XCNI_CONTAINERID=", "PATH=/bin"] {
            assert_eq!(container_of(other.as_bytes()), None, "{other}");
        }
    }
}
