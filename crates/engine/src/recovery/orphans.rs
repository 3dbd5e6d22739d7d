//! Ending a pod without a readable record: the descendants of its shim say where its processes are.

use std::collections::{HashMap, HashSet};

use berth_sys::cgroup::CgroupPath;
use berth_types::{ContainerId, SandboxId};

use crate::error::EngineError;
use crate::host::placement::KERNEL;
use crate::host::shims;
use crate::sandbox::teardown::Failures;
use crate::shared::Shared;

/// Kills the shim of a pod and everything in the groups that its children are in.
pub(crate) fn end_shim(shared: &Shared, sandbox: &SandboxId) -> Result<(), EngineError> {
    // Searched while the shim lives: its children get another parent afterwards.
    let groups = groups(shared, sandbox)?;
    let mut failures = Failures::default();
    failures.take(shims::kill(shared, sandbox));
    for group in &groups {
        failures.take(shared.placement.end(group));
    }
    failures.result("end the pod's shim")
}

/// The groups of containers that the descendants of a pod's shims are in.
fn groups(shared: &Shared, sandbox: &SandboxId) -> Result<HashSet<CgroupPath>, EngineError> {
    let shims: Vec<i32> = shims::all(shared)?
        .iter()
        .filter(|(_, of)| of == sandbox)
        .map(|(pid, _)| pid.as_raw_nonzero().get())
        .collect();
    if shims.is_empty() {
        return Ok(HashSet::new());
    }
    let spared: Vec<String> =
        shims.iter().map(i32::to_string).chain(["self".to_owned()]).flat_map(|pid| lines(&pid)).collect();
    let parents = parents();
    let below = |pid: &i32| {
        let line = std::iter::successors(Some(*pid), |pid| parents.get(pid).copied());
        // Pids may be reused during the search: a cycle is not followed forever.
        line.skip(1).take(parents.len()).any(|pid| shims.contains(&pid))
    };
    let members = parents.keys().filter(|pid| below(pid));
    let groups = members.flat_map(|pid| lines(&pid.to_string())).filter_map(|path| group(&path, &spared));
    Ok(groups.collect())
}

/// The paths of a process in all hierarchies, as this process sees them.
fn lines(pid: &str) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).map(str::to_owned).collect()
}

/// The group of a container or of a pod's own kernel in a process' path: the last element that is named by an id. None when one of `spared`
/// lies in it: that is the group of a container around this daemon.
fn group(path: &str, spared: &[String]) -> Option<CgroupPath> {
    let is_id = |name: &str| name.strip_prefix(KERNEL).unwrap_or(name).parse::<ContainerId>().is_ok();
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    let last = names.iter().rposition(|name| is_id(name))?;
    let found = CgroupPath::new(&names[..=last].join("/")).ok()?;
    let around = |spared: &String| {
        let spared = spared.trim_matches('/');
        spared == found.as_str()
            || spared.strip_prefix(found.as_str()).is_some_and(|rest| rest.starts_with('/'))
    };
    (!spared.iter().any(around)).then_some(found)
}

/// The parent of every process.
fn parents() -> HashMap<i32, i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, parent(&stat)?))
    })
    .collect()
}

/// `pid (name) state ppid ...`, where the name may hold anything.
fn parent(stat: &[u8]) -> Option<i32> {
    let after = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(after + 1..)?).ok()?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// Ends every group of the instance that is named by a pod which is not known, and what else the manager of cgroups has of
/// such pods.
pub(crate) fn groups_of_none(shared: &Shared, known: &HashSet<SandboxId>) -> Result<(), EngineError> {
    let mut failures = Failures::default();
    for (group, sandbox) in shared.roots.groups(&shared.cgroups) {
        if known.contains(&sandbox) {
            continue;
        }
        tracing::info!(
            sandbox = sandbox.short(),
            group = group.as_str(),
            "ending the cgroup of a pod that no longer exists"
        );
        failures.take(shared.placement.end(&group));
    }
    failures.take(shared.placement.sweep(known));
    failures.result("remove the cgroups of pods that no longer exist")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_a_container_is_the_last_that_is_named_by_an_id() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let spared = [format!("/docker/{b}/kubelet"), "/berth/shims".to_owned()];
        for (path, want) in [
            (format!("/kubepods/burstable/pod1/{a}"), Some(format!("kubepods/burstable/pod1/{a}"))),
            (format!("/berth/{b}/{a}/inner/deep"), Some(format!("berth/{b}/{a}"))),
            (
                format!("/x.slice/berth-pod{b}.scope/{a}/init"),
                Some(format!("x.slice/berth-pod{b}.scope/{a}")),
            ),
            (format!("/kubepods/pod1/kernel-{a}"), Some(format!("kubepods/pod1/kernel-{a}"))),
            (format!("/kubepods/pod1/shell-{a}"), None),
            (format!("/x.slice/berth-pod{b}.scope/pause"), None),
            (format!("/docker/{b}"), None),
            (format!("/docker/{b}/kubelet/x"), None),
            ("/berth/shims".to_owned(), None),
            ("/".to_owned(), None),
        ] {
            assert_eq!(group(&path, &spared).map(|g| g.to_string()), want, "{path}");
        }
    }

    #[test]
    fn a_parent_is_read_whatever_the_process_is_called() {
        assert_eq!(parent(b"12 (a b) c) S 7 12 12"), Some(7));
        assert_eq!(parent(b"12 (\xff) R 1"), Some(1));
        assert_eq!(parent(b"12"), None);
    }
}
