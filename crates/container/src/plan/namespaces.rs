//! `linux.namespaces` and what depends on them.

use std::os::unix::ffi::OsStrExt as _;

use oci_spec::runtime::{Linux, LinuxNamespaceType};

use super::{ClockOffsets, Inputs, Namespaces, PlanError, Space};

/// The namespaces of the container.
pub(super) fn namespaces(linux: Option<&Linux>, inputs: &Inputs<'_>) -> Result<Namespaces, PlanError> {
    let mut spaces = Namespaces::default();
    let mut mount = false;
    let mut seen = Vec::new();
    for (index, entry) in linux.and_then(|l| l.namespaces().as_ref()).into_iter().flatten().enumerate() {
        let field = format!("linux.namespaces[{index}]");
        let kind = entry.typ();
        if seen.contains(&kind) {
            return Err(PlanError::invalid(field, format!("duplicate {kind}")));
        }
        seen.push(kind);
        let path = entry.path().as_ref().filter(|p| !p.as_os_str().is_empty());
        if path.is_some_and(|p| !p.is_absolute()) {
            return Err(PlanError::invalid(format!("{field}.path"), "not an absolute path"));
        }
        let space = match path {
            _ if inputs.given.contains(&kind) => Space::Given,
            Some(path) => Space::Path(path.as_os_str().as_bytes().to_vec()),
            None => Space::New,
        };
        match kind {
            LinuxNamespaceType::Mount if space == Space::New => mount = true,
            LinuxNamespaceType::Mount => {
                return Err(PlanError::unsupported(format!("{field}.path"), "a mount namespace that exists"));
            }
            LinuxNamespaceType::Time if space == Space::New => spaces.time = Some(ClockOffsets::default()),
            LinuxNamespaceType::Time => {
                return Err(PlanError::unsupported(format!("{field}.path"), "a time namespace that exists"));
            }
            LinuxNamespaceType::Cgroup => spaces.cgroup = space,
            LinuxNamespaceType::Uts => spaces.uts = space,
            LinuxNamespaceType::Ipc => spaces.ipc = space,
            LinuxNamespaceType::User => spaces.user = space,
            LinuxNamespaceType::Pid => spaces.pid = space,
            LinuxNamespaceType::Network => spaces.net = space,
        }
    }
    if !mount {
        return Err(PlanError::unsupported(
            "linux.namespaces",
            "a container without a mount namespace of its own",
        ));
    }
    if let Some(kind) = inputs.given.iter().find(|kind| !seen.contains(kind)) {
        return Err(PlanError::invalid(
            "linux.namespaces",
            format!("the pod's {kind} namespace is not asked for"),
        ));
    }
    clocks(linux, &mut spaces)?;
    Ok(spaces)
}

fn clocks(linux: Option<&Linux>, spaces: &mut Namespaces) -> Result<(), PlanError> {
    for (clock, offset) in linux.and_then(|l| l.time_offsets().as_ref()).into_iter().flatten() {
        let field = format!("linux.timeOffsets.{clock}");
        let Some(offsets) = &mut spaces.time else {
            return Err(PlanError::invalid(field, "there is no time namespace"));
        };
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        if nanoseconds > 999_999_999 {
            return Err(PlanError::invalid(format!("{field}.nanosecs"), "over 999999999"));
        }
        let value = (offset.secs().unwrap_or(0), nanoseconds);
        match clock.as_str() {
            "monotonic" => offsets.monotonic = value,
            "boottime" => offsets.boottime = value,
            _ => return Err(PlanError::invalid(field, "not a clock of a time namespace")),
        }
    }
    Ok(())
}

/// A sysctl as the path below `/proc/sys`, if the container has its own.
pub(super) fn sysctl_path(key: &str, spaces: &Namespaces) -> Result<String, PlanError> {
    let field = format!("linux.sysctl.{key}");
    // With a slash first, dots belong to names (of interfaces); otherwise the other way round.
    let slash_first = key.find('/').is_some_and(|s| key.find('.').is_none_or(|d| s < d));
    let path: String = if slash_first {
        key.to_owned()
    } else {
        key.chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect()
    };
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) || path.contains('\0') {
        return Err(PlanError::invalid(field, "not the name of a sysctl"));
    }
    let (needed, space) = match path.as_str() {
        "kernel/hostname" => return Err(PlanError::invalid(field, "set hostname instead")),
        "kernel/domainname" => ("UTS", &spaces.uts),
        p if p.starts_with("net/") => ("network", &spaces.net),
        p if p.starts_with("kernel/shm") || p.starts_with("kernel/msg") || p == "kernel/sem" => {
            ("IPC", &spaces.ipc)
        }
        p if p.starts_with("fs/mqueue/") => ("IPC", &spaces.ipc),
        _ => return Err(PlanError::invalid(field, "not a namespaced sysctl")),
    };
    if *space == Space::Host {
        return Err(PlanError::invalid(field, format!("the container uses the host's {needed} namespace")));
    }
    Ok(path)
}
