//! What becomes of a container by what plugins want. Everything is done or refused by name. Pure.

mod kernel;

use std::path::{Component, Path};

use berth_engine::EngineError;
use berth_engine::model::{HugepageLimit, Resources};
use berth_engine::seams::Adjustable;
use berth_sys::cgroup::Access;
use oci_spec::runtime::{
    Hook, HookBuilder, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceType,
    LinuxNamespaceBuilder, LinuxNamespaceType, LinuxResources, MountBuilder, PosixRlimit, PosixRlimitBuilder,
    PosixRlimitType, Process, Spec,
};

use crate::api::{self, ContainerAdjustment, LinuxContainerAdjustment};
use crate::merge::taken_away;

/// Why an adjustment is not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There is no such thing here.
    Unsupported(&'static str, String),
    /// It cannot mean anything.
    Invalid(&'static str, String),
}

impl From<Refused> for EngineError {
    fn from(refused: Refused) -> Self {
        let field = |field: &str| format!("NRI adjustment of {field}");
        match refused {
            Refused::Unsupported(of, message) => EngineError::Unsupported { field: field(of), message },
            Refused::Invalid(of, message) => EngineError::Invalid { field: field(of), message },
        }
    }
}

fn unsupported<T>(field: &'static str, message: &str) -> Result<T, Refused> {
    Err(Refused::Unsupported(field, message.to_owned()))
}

/// Changes a container that is about to be prepared.
///
/// # Errors
/// A part of it is not supported; the container is not to be created.
pub fn apply(wanted: &ContainerAdjustment, made: &mut Adjustable, has_user: bool) -> Result<(), Refused> {
    annotations(wanted, &mut made.spec);
    mounts(&wanted.mounts, &mut made.spec)?;
    let none = Process::default();
    let mut process = made.spec.process().clone().unwrap_or(none);
    env(&wanted.env, &mut process);
    if !wanted.args.is_empty() {
        process.set_args(Some(wanted.args.clone()));
    }
    rlimits(&wanted.rlimits, &mut process)?;
    if let Some(hooks) = &wanted.hooks {
        add_hooks(hooks, &mut made.spec);
    }
    made.cdi_devices.extend(wanted.cdi_devices.iter().map(|device| device.name.clone()));
    if let Some(linux) = &wanted.linux {
        refuse(linux)?;
        if let Some(score) = &linux.oom_score_adj {
            let score = i32::try_from(score.value).ok().filter(|score| (-1000..=1000).contains(score));
            let score = score
                .ok_or_else(|| Refused::Invalid("oom_score_adj", "it is from -1000 to 1000".to_owned()))?;
            process.set_oom_score_adj(Some(score));
            made.resources.oom_score_adj = Some(score);
        }
        devices(&linux.devices, &mut made.spec, has_user)?;
        namespaces(&linux.namespaces, &mut made.spec)?;
        sysctls(linux, &mut made.spec);
        kernel::apply(linux, &mut made.spec, &mut process)?;
        if let Some(wanted) = &linux.resources {
            rules(&wanted.devices, &mut made.spec)?;
            resources(wanted, &mut made.resources)?;
        }
    }
    made.spec.set_process(Some(process));
    Ok(())
}

/// What no handler here can do for certain.
fn refuse(linux: &LinuxContainerAdjustment) -> Result<(), Refused> {
    let refused = [
        ("cgroups_path", !linux.cgroups_path.is_empty(), "Berth makes the cgroups of containers itself"),
        (
            "net_devices",
            linux.net_devices.keys().any(|key| taken_away(key).is_none()),
            "it is not supported yet",
        ),
        ("rdt", linux.rdt.as_ref().is_some_and(|rdt| !rdt.remove), "it is not supported yet"),
    ];
    match refused.iter().find(|(_, set, _)| *set) {
        Some((field, _, why)) => unsupported(field, why),
        None => Ok(()),
    }
}

fn annotations(wanted: &ContainerAdjustment, spec: &mut Spec) {
    if wanted.annotations.is_empty() {
        return;
    }
    let mut all = spec.annotations().clone().unwrap_or_default();
    all.retain(|key, _| !wanted.annotations.contains_key(&format!("-{key}")));
    let new = wanted.annotations.iter().filter(|(key, _)| taken_away(key).is_none());
    all.extend(new.map(|(key, value)| (key.clone(), value.clone())));
    spec.set_annotations(Some(all));
}

/// The parts of a path in a container, which tell where it is in the order of mounts.
fn depth(path: &Path) -> usize {
    path.components().filter(|part| matches!(part, Component::Normal(_))).count()
}

fn mounts(wanted: &[api::Mount], spec: &mut Spec) -> Result<(), Refused> {
    if wanted.is_empty() {
        return Ok(());
    }
    let mut all = spec.mounts().clone().unwrap_or_default();
    for mount in wanted {
        let place = taken_away(&mount.destination).unwrap_or(&mount.destination);
        all.retain(|other| other.destination() != Path::new(place));
        if taken_away(&mount.destination).is_some() {
            continue;
        }
        if !place.starts_with('/') {
            return Err(Refused::Invalid("mounts", format!("{place:?} is no absolute path")));
        }
        let kind = if mount.r#type.is_empty() { "bind" } else { &mount.r#type };
        let new = MountBuilder::default().destination(place).typ(kind);
        let new = new.source(&mount.source).options(mount.options.clone());
        all.push(new.build().expect("every part is given"));
    }
    // What lies in another comes behind it; else the order stays.
    all.sort_by_key(|mount| depth(mount.destination()));
    spec.set_mounts(Some(all));
    Ok(())
}

fn env(wanted: &[api::KeyValue], process: &mut Process) {
    if wanted.is_empty() {
        return;
    }
    let mut all = process.env().clone().unwrap_or_default();
    for variable in wanted {
        let key = taken_away(&variable.key).unwrap_or(&variable.key);
        let place = all.iter().position(|line| line.split_once('=').is_some_and(|(name, _)| name == key));
        let line = taken_away(&variable.key).is_none().then(|| format!("{key}={}", variable.value));
        match (place, line) {
            (Some(place), Some(line)) => all[place] = line,
            (Some(place), None) => drop(all.remove(place)),
            (None, Some(line)) => all.push(line),
            (None, None) => {}
        }
    }
    process.set_env(Some(all));
}

const RLIMITS: [PosixRlimitType; 16] = [
    PosixRlimitType::RlimitCpu,
    PosixRlimitType::RlimitFsize,
    PosixRlimitType::RlimitData,
    PosixRlimitType::RlimitStack,
    PosixRlimitType::RlimitCore,
    PosixRlimitType::RlimitRss,
    PosixRlimitType::RlimitNproc,
    PosixRlimitType::RlimitNofile,
    PosixRlimitType::RlimitMemlock,
    PosixRlimitType::RlimitAs,
    PosixRlimitType::RlimitLocks,
    PosixRlimitType::RlimitSigpending,
    PosixRlimitType::RlimitMsgqueue,
    PosixRlimitType::RlimitNice,
    PosixRlimitType::RlimitRtprio,
    PosixRlimitType::RlimitRttime,
];

fn rlimits(wanted: &[api::PosixRlimit], process: &mut Process) -> Result<(), Refused> {
    if wanted.is_empty() {
        return Ok(());
    }
    let mut all: Vec<PosixRlimit> = process.rlimits().clone().unwrap_or_default();
    for limit in wanted {
        let known = RLIMITS.into_iter().find(|kind| kind.to_string() == limit.r#type);
        let kind =
            known.ok_or_else(|| Refused::Invalid("rlimits", format!("there is no {:?}", limit.r#type)))?;
        all.retain(|other| other.typ() != kind);
        let new = PosixRlimitBuilder::default().typ(kind).hard(limit.hard).soft(limit.soft);
        all.push(new.build().expect("every part is given"));
    }
    process.set_rlimits(Some(all));
    Ok(())
}

fn add_hooks(wanted: &api::Hooks, spec: &mut Spec) {
    let one = |hook: &api::Hook| -> Hook {
        let made = HookBuilder::default().path(&hook.path);
        let made = if hook.args.is_empty() { made } else { made.args(hook.args.clone()) };
        let made = if hook.env.is_empty() { made } else { made.env(hook.env.clone()) };
        let made = match &hook.timeout {
            Some(seconds) => made.timeout(seconds.value),
            None => made,
        };
        made.build().expect("every part is given")
    };
    let mut all = spec.hooks().clone().unwrap_or_default();
    let add = |list: &mut Option<Vec<Hook>>, new: &[api::Hook]| {
        if !new.is_empty() {
            list.get_or_insert_default().extend(new.iter().map(one));
        }
    };
    #[allow(deprecated, reason = "plugins have it")]
    add(all.prestart_mut(), &wanted.prestart);
    add(all.create_runtime_mut(), &wanted.create_runtime);
    add(all.create_container_mut(), &wanted.create_container);
    add(all.start_container_mut(), &wanted.start_container);
    add(all.poststart_mut(), &wanted.poststart);
    add(all.poststop_mut(), &wanted.poststop);
    spec.set_hooks(Some(all));
}

fn device_type(text: &str) -> Option<LinuxDeviceType> {
    match text {
        "a" => Some(LinuxDeviceType::A),
        "b" => Some(LinuxDeviceType::B),
        "c" => Some(LinuxDeviceType::C),
        "u" => Some(LinuxDeviceType::U),
        _ => None,
    }
}

fn devices(wanted: &[api::LinuxDevice], spec: &mut Spec, has_user: bool) -> Result<(), Refused> {
    let Some(linux) = spec.linux_mut().as_mut().filter(|_| !wanted.is_empty()) else { return Ok(()) };
    let mut all: Vec<LinuxDevice> = linux.devices().clone().unwrap_or_default();
    for device in wanted {
        let path = taken_away(&device.path).unwrap_or(&device.path);
        all.retain(|other| other.path() != Path::new(path));
        if taken_away(&device.path).is_some() {
            continue;
        }
        if has_user {
            return unsupported("devices", "no node can be made in a pod with a user namespace");
        }
        let kind = device_type(&device.r#type).filter(|kind| *kind != LinuxDeviceType::A);
        let kind = kind.ok_or_else(|| {
            Refused::Invalid("devices", format!("{path}: {:?} is neither b nor c", device.r#type))
        })?;
        let new = LinuxDeviceBuilder::default().path(path).typ(kind).major(device.major).minor(device.minor);
        let new = new.file_mode(device.file_mode.as_ref().map_or(0o666, |mode| mode.value & 0o777));
        let new = new.uid(device.uid.as_ref().map_or(0, |uid| uid.value));
        let new = new.gid(device.gid.as_ref().map_or(0, |gid| gid.value));
        all.push(new.build().expect("every part is given"));
    }
    linux.set_devices(Some(all));
    Ok(())
}

/// Rules of devices without a node. They are in the specification only on their way.
fn rules(wanted: &[api::LinuxDeviceCgroup], spec: &mut Spec) -> Result<(), Refused> {
    let Some(linux) = spec.linux_mut().as_mut().filter(|_| !wanted.is_empty()) else { return Ok(()) };
    let mut all = Vec::new();
    for rule in wanted {
        let kind = device_type(if rule.r#type.is_empty() { "a" } else { &rule.r#type });
        let kind = kind.ok_or_else(|| {
            Refused::Invalid("resources.devices", format!("{:?} is none of a, b, c", rule.r#type))
        })?;
        if Access::parse(&rule.access).is_none() {
            let message = format!("access {:?} is not of r, w, m", rule.access);
            return Err(Refused::Invalid("resources.devices", message));
        }
        for number in [&rule.major, &rule.minor].into_iter().flatten() {
            // Below 0 is any.
            if number.value > i64::from(u32::MAX) {
                let message = format!("there is no device number {}", number.value);
                return Err(Refused::Invalid("resources.devices", message));
            }
        }
        let mut new = LinuxDeviceCgroup::default();
        new.set_allow(rule.allow).set_typ(Some(kind)).set_access(Some(rule.access.clone()));
        new.set_major(rule.major.as_ref().map(|major| major.value));
        new.set_minor(rule.minor.as_ref().map(|minor| minor.value));
        all.push(new);
    }
    let mut resources = LinuxResources::default();
    resources.set_devices(Some(all));
    linux.set_resources(Some(resources));
    Ok(())
}

/// A container's namespaces are its pod's, but for the one of cgroups.
fn namespaces(wanted: &[api::LinuxNamespace], spec: &mut Spec) -> Result<(), Refused> {
    let Some(linux) = spec.linux_mut().as_mut().filter(|_| !wanted.is_empty()) else { return Ok(()) };
    let mut all = linux.namespaces().clone().unwrap_or_default();
    for namespace in wanted {
        let kind = taken_away(&namespace.r#type).unwrap_or(&namespace.r#type);
        if kind != "cgroup" || !namespace.path.is_empty() {
            return unsupported(
                "namespaces",
                "only a cgroup namespace of the container's own can be added or taken away",
            );
        }
        all.retain(|other| other.typ() != LinuxNamespaceType::Cgroup);
        if taken_away(&namespace.r#type).is_none() {
            let new = LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::Cgroup);
            all.push(new.build().expect("the kind is given"));
        }
    }
    linux.set_namespaces(Some(all));
    Ok(())
}

fn sysctls(wanted: &LinuxContainerAdjustment, spec: &mut Spec) {
    let Some(linux) = spec.linux_mut().as_mut().filter(|_| !wanted.sysctl.is_empty()) else { return };
    let mut all = linux.sysctl().clone().unwrap_or_default();
    all.retain(|key, _| !wanted.sysctl.contains_key(&format!("-{key}")));
    let new = wanted.sysctl.iter().filter(|(key, _)| taken_away(key).is_none());
    all.extend(new.map(|(key, value)| (key.clone(), value.clone())));
    linux.set_sysctl(Some(all));
}

/// As in the CRI, 0 is a limit that is not set.
fn set(limit: &Option<api::OptionalInt64>) -> Option<i64> {
    limit.as_ref().map(|limit| limit.value).filter(|value| *value != 0)
}

fn positive(limit: &Option<api::OptionalUInt64>) -> Option<u64> {
    limit.as_ref().map(|limit| limit.value).filter(|value| *value != 0)
}

/// Changes limits: what is set replaces what was.
///
/// # Errors
/// A limit that Berth does not have.
pub fn resources(wanted: &api::LinuxResources, now: &mut Resources) -> Result<(), Refused> {
    refuse_resources(wanted)?;
    if let Some(memory) = &wanted.memory {
        if let Some(limit) = set(&memory.limit) {
            now.memory_limit = Some(limit);
            // What was said about swap was about another limit.
            now.memory_swap_limit = now.memory_swap_limit.map(|_| limit);
        }
        now.memory_swap_limit = set(&memory.swap).or(now.memory_swap_limit);
    }
    if let Some(cpu) = &wanted.cpu {
        now.cpu_shares = positive(&cpu.shares).or(now.cpu_shares);
        now.cpu_quota = set(&cpu.quota).or(now.cpu_quota);
        now.cpu_period = positive(&cpu.period).or(now.cpu_period);
        for (new, old) in [(&cpu.cpus, &mut now.cpuset_cpus), (&cpu.mems, &mut now.cpuset_mems)] {
            if !new.is_empty() {
                old.clone_from(new);
            }
        }
    }
    for page in &wanted.hugepage_limits {
        now.hugepages.retain(|other| other.page_size != page.page_size);
        now.hugepages.push(HugepageLimit { page_size: page.page_size.clone(), limit: page.limit });
    }
    now.unified.extend(wanted.unified.clone());
    if let Some(pids) = &wanted.pids {
        now.pids_limit = Some(if pids.limit > 0 { pids.limit } else { -1 });
    }
    Ok(())
}

/// The same for a container that there is.
///
/// # Errors
/// A limit that Berth does not have, or one that is for new containers alone.
pub fn update(wanted: &api::LinuxResources, now: &mut Resources) -> Result<(), Refused> {
    if !wanted.devices.is_empty() {
        return unsupported("resources.devices", "rules are for a container that is being created");
    }
    resources(wanted, now)
}

fn refuse_resources(wanted: &api::LinuxResources) -> Result<(), Refused> {
    let memory = wanted.memory.unwrap_or_default();
    let cpu = wanted.cpu.clone().unwrap_or_default();
    let class = |class: &Option<api::OptionalString>| class.as_ref().is_some_and(|of| !of.value.is_empty());
    let refused = [
        ("memory.reservation", memory.reservation.is_some()),
        ("memory.kernel", memory.kernel.is_some()),
        ("memory.kernel_tcp", memory.kernel_tcp.is_some()),
        ("memory.swappiness", memory.swappiness.is_some()),
        ("memory.disable_oom_killer", memory.disable_oom_killer.as_ref().is_some_and(|of| of.value)),
        ("memory.use_hierarchy", memory.use_hierarchy.is_some()),
        ("cpu.realtime_runtime", cpu.realtime_runtime.is_some()),
        ("cpu.realtime_period", cpu.realtime_period.is_some()),
        ("blockio_class", class(&wanted.blockio_class)),
        ("rdt_class", class(&wanted.rdt_class)),
    ];
    match refused.iter().find(|(_, set)| *set) {
        Some((field, _)) => unsupported(field, "there is no such limit"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
