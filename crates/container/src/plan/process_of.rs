//! `process` of the specification.

use std::os::unix::ffi::OsStrExt as _;

use berth_sys::apparmor::MAX_NAME;
use oci_spec::runtime::{LinuxPersonalityDomain, PosixRlimitType, Process, Spec, User};

use super::scheduling_of::scheduling;
use super::{Identity, Inputs, PlanError, ProcessPlan, Rlimit, WindowSize, capability};

/// The plan of a process: the container's own, or a further one in it (`exec`).
///
/// The inputs count as far as they are about processes: the seccomp filter and whether there is a
/// user namespace.
///
/// # Errors
/// The setting that is not supported.
pub fn process(spec: &Process, inputs: &Inputs<'_>, user_namespace: bool) -> Result<ProcessPlan, PlanError> {
    refuse(spec)?;
    let args = strings(spec.args().as_deref(), "process.args")?;
    if args.first().is_none_or(Vec::is_empty) {
        return Err(PlanError::invalid("process.args", "there is no command"));
    }
    if !spec.cwd().is_absolute() {
        return Err(PlanError::invalid("process.cwd", format!("{:?} is not an absolute path", spec.cwd())));
    }
    no_null("process.cwd", spec.cwd().as_os_str().as_bytes())?;
    let oom_score_adj = spec.oom_score_adj();
    if oom_score_adj.is_some_and(|score| !(-1000..=1000).contains(&score)) {
        return Err(PlanError::invalid("process.oomScoreAdj", "not between -1000 and 1000"));
    }
    Ok(ProcessPlan {
        args,
        env: strings(spec.env().as_deref(), "process.env")?,
        cwd: spec.cwd().as_os_str().as_bytes().to_vec(),
        identity: identity(spec.user()),
        umask: spec.user().umask(),
        capabilities: capability::sets(spec.capabilities().as_ref())?,
        no_new_privileges: spec.no_new_privileges().unwrap_or(false),
        rlimits: rlimits(spec)?,
        oom_score_adj,
        seccomp: inputs.seccomp.clone(),
        personality: None,
        window: window(spec)?,
        user_namespace,
        apparmor: apparmor(spec.apparmor_profile().as_deref())?,
        scheduling: scheduling(spec)?,
    })
}

fn refuse(spec: &Process) -> Result<(), PlanError> {
    let not_empty = |text: &Option<String>| text.as_ref().is_some_and(|t| !t.is_empty());
    let refused = [
        ("process.commandLine", not_empty(spec.command_line()), "a Windows command line"),
        ("process.user.username", not_empty(spec.user().username()), "a user by name"),
        ("process.selinuxLabel", not_empty(spec.selinux_label()), "SELinux"),
        ("process.execCPUAffinity", spec.exec_cpu_affinity().is_some(), "a CPU affinity"),
    ];
    match refused.iter().find(|(_, set, _)| *set) {
        Some((field, _, what)) => Err(PlanError::unsupported(*field, *what)),
        None => Ok(()),
    }
}

/// The name of a loaded profile. Whether there is one of that name is the kernel's to say.
fn apparmor(profile: Option<&str>) -> Result<Option<String>, PlanError> {
    let refused = |what: &str| Err(PlanError::invalid("process.apparmorProfile", what));
    match profile {
        None | Some("") => Ok(None),
        Some(name) if name.len() > MAX_NAME => refused("longer than the kernel takes"),
        Some(name) if name.contains(char::is_control) => refused("has a control character in it"),
        Some(name) => Ok(Some(name.to_owned())),
    }
}

fn no_null(field: &str, bytes: &[u8]) -> Result<(), PlanError> {
    if bytes.contains(&0) { Err(PlanError::invalid(field, "contains a NUL byte")) } else { Ok(()) }
}

fn strings(list: Option<&[String]>, field: &str) -> Result<Vec<Vec<u8>>, PlanError> {
    let mut bytes = Vec::with_capacity(list.map_or(0, <[String]>::len));
    for (index, text) in list.unwrap_or(&[]).iter().enumerate() {
        no_null(&format!("{field}[{index}]"), text.as_bytes())?;
        bytes.push(text.clone().into_bytes());
    }
    Ok(bytes)
}

fn identity(user: &User) -> Identity {
    Identity { uid: user.uid(), gid: user.gid(), groups: user.additional_gids().clone().unwrap_or_default() }
}

fn window(spec: &Process) -> Result<Option<WindowSize>, PlanError> {
    let Some(size) = spec.console_size().filter(|_| spec.terminal() == Some(true)) else {
        return Ok(None);
    };
    let number = |value: u64, name: &str| {
        u16::try_from(value)
            .map_err(|_| PlanError::invalid(format!("process.consoleSize.{name}"), "over 65535"))
    };
    Ok(Some(WindowSize { rows: number(size.height(), "height")?, columns: number(size.width(), "width")? }))
}

fn rlimits(spec: &Process) -> Result<Vec<Rlimit>, PlanError> {
    let mut limits: Vec<Rlimit> = Vec::new();
    for limit in spec.rlimits().iter().flatten() {
        let resource = resource(limit.typ());
        let field = format!("process.rlimits[{}]", limit.typ());
        if limits.iter().any(|l| l.resource == resource) {
            return Err(PlanError::invalid(field, "duplicate"));
        }
        if limit.soft() > limit.hard() {
            return Err(PlanError::invalid(field, "the soft limit is above the hard limit"));
        }
        limits.push(Rlimit { resource, soft: limit.soft(), hard: limit.hard() });
    }
    Ok(limits)
}

/// The number of a resource, from asm-generic/resource.h.
fn resource(kind: PosixRlimitType) -> u32 {
    use PosixRlimitType as T;
    match kind {
        T::RlimitCpu => 0,
        T::RlimitFsize => 1,
        T::RlimitData => 2,
        T::RlimitStack => 3,
        T::RlimitCore => 4,
        T::RlimitRss => 5,
        T::RlimitNproc => 6,
        T::RlimitNofile => 7,
        T::RlimitMemlock => 8,
        T::RlimitAs => 9,
        T::RlimitLocks => 10,
        T::RlimitSigpending => 11,
        T::RlimitMsgqueue => 12,
        T::RlimitNice => 13,
        T::RlimitRtprio => 14,
        T::RlimitRttime => 15,
    }
}

/// `linux.personality`. A flag is not supported.
pub(super) fn personality(spec: &Spec) -> Result<Option<u32>, PlanError> {
    let Some(wanted) = spec.linux().as_ref().and_then(|l| l.personality().as_ref()) else { return Ok(None) };
    if wanted.flags().as_ref().is_some_and(|f| !f.is_empty()) {
        return Err(PlanError::unsupported("linux.personality.flags", "a flag of the personality"));
    }
    Ok(Some(match wanted.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    }))
}
