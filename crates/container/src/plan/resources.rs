//! `linux.resources` in the types of the cgroup module.

use berth_sys::cgroup::{
    Access, DeviceKind, DeviceRule, Hugepage, Resources, Throttle, ThrottleKind, WeightDevice,
};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxResources,
    LinuxThrottleDevice, Spec,
};

use super::PlanError;

/// What the container's cgroup gets. Without `linux.resources` nothing is limited but devices: as under runc, every
/// access is denied to begin with, then the rules count in their order, then come the default devices.
///
/// # Errors
/// The setting that is not supported.
pub fn resources(spec: &Spec) -> Result<Resources, PlanError> {
    match spec.linux().as_ref().and_then(|l| l.resources().as_ref()) {
        Some(list) => convert(list),
        None => Ok(Resources { devices: with_defaults(Vec::new()), ..Resources::default() }),
    }
}

/// The rules, with those that Berth adds before and after them.
fn with_defaults(rules: Vec<DeviceRule>) -> Vec<DeviceRule> {
    let deny =
        DeviceRule { allow: false, kind: DeviceKind::All, major: None, minor: None, access: Access::ALL };
    std::iter::once(deny).chain(rules).chain(default_devices()).collect()
}

fn convert(spec: &LinuxResources) -> Result<Resources, PlanError> {
    let network = spec.network().as_ref();
    if network.is_some_and(|n| n.class_id().is_some_and(|id| id != 0)) {
        return Err(PlanError::unsupported("linux.resources.network.classID", "a network class"));
    }
    if network.is_some_and(|n| n.priorities().as_ref().is_some_and(|p| !p.is_empty())) {
        return Err(PlanError::unsupported("linux.resources.network.priorities", "a network priority"));
    }
    if spec.rdma().as_ref().is_some_and(|r| !r.is_empty()) {
        return Err(PlanError::unsupported("linux.resources.rdma", "an RDMA limit"));
    }
    let mut resources = Resources::default();
    if let Some(cpu) = spec.cpu() {
        resources.cpu = cpu_of(cpu)?;
    }
    if let Some(memory) = spec.memory() {
        resources.memory = memory_of(memory)?;
    }
    resources.pids = spec.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit);
    for (index, limit) in spec.hugepage_limits().iter().flatten().enumerate() {
        let field = format!("linux.resources.hugepageLimits[{index}].limit");
        let bytes = u64::try_from(limit.limit()).map_err(|_| PlanError::invalid(field, "negative"))?;
        resources.hugepages.push(Hugepage { page_size: limit.page_size().clone(), limit: bytes });
    }
    if let Some(block) = spec.block_io() {
        block_of(block, &mut resources)?;
    }
    let mut rules = Vec::new();
    for (index, rule) in spec.devices().iter().flatten().enumerate() {
        rules.push(device(rule, &format!("linux.resources.devices[{index}]"))?);
    }
    resources.devices = with_defaults(rules);
    resources.unified = spec.unified().clone().unwrap_or_default().into_iter().collect();
    Ok(resources)
}

/// What every container may use, whatever the rules before say, as runc has it: making any node,
/// the default devices, terminals.
fn default_devices() -> Vec<DeviceRule> {
    let make = Access { read: false, write: false, make: true };
    let rule = |kind, major, minor, access| DeviceRule { allow: true, kind, major, minor, access };
    let mut rules = vec![rule(DeviceKind::Char, None, None, make), rule(DeviceKind::Block, None, None, make)];
    let numbers = [(1, 3), (1, 8), (1, 7), (5, 0), (1, 5), (1, 9), (5, 2)];
    rules.extend(numbers.map(|(major, minor)| rule(DeviceKind::Char, Some(major), Some(minor), Access::ALL)));
    rules.push(rule(DeviceKind::Char, Some(136), None, Access::ALL));
    rules
}

fn cpu_of(spec: &LinuxCpu) -> Result<berth_sys::cgroup::Cpu, PlanError> {
    let idle = match spec.idle() {
        None => None,
        Some(0) => Some(false),
        Some(1) => Some(true),
        Some(_) => return Err(PlanError::invalid("linux.resources.cpu.idle", "neither 0 nor 1")),
    };
    Ok(berth_sys::cgroup::Cpu {
        shares: spec.shares(),
        quota: spec.quota(),
        period: spec.period(),
        burst: spec.burst(),
        realtime_runtime: spec.realtime_runtime(),
        realtime_period: spec.realtime_period(),
        idle,
        cpus: spec.cpus().clone().filter(|c| !c.is_empty()),
        mems: spec.mems().clone().filter(|m| !m.is_empty()),
    })
}

fn memory_of(spec: &LinuxMemory) -> Result<berth_sys::cgroup::Memory, PlanError> {
    if spec.kernel().is_some_and(|k| k > 0) {
        return Err(PlanError::unsupported("linux.resources.memory.kernel", "a limit of kernel memory"));
    }
    if spec.kernel_tcp().is_some_and(|k| k > 0) {
        return Err(PlanError::unsupported("linux.resources.memory.kernelTCP", "a limit of TCP memory"));
    }
    // The kernel no longer has another way.
    if spec.use_hierarchy() == Some(false) {
        return Err(PlanError::unsupported(
            "linux.resources.memory.useHierarchy",
            "memory without hierarchy",
        ));
    }
    Ok(berth_sys::cgroup::Memory {
        limit: spec.limit(),
        reservation: spec.reservation(),
        swap: spec.swap(),
        swappiness: spec.swappiness(),
        disable_oom_killer: spec.disable_oom_killer().unwrap_or(false),
        check_before_update: spec.check_before_update().unwrap_or(false),
    })
}

fn number(value: i64, field: String) -> Result<u32, PlanError> {
    u32::try_from(value).map_err(|_| PlanError::invalid(field, "not a device number"))
}

fn block_of(spec: &LinuxBlockIo, resources: &mut Resources) -> Result<(), PlanError> {
    let blkio = &mut resources.blkio;
    blkio.weight = spec.weight();
    blkio.leaf_weight = spec.leaf_weight();
    for (index, device) in spec.weight_device().iter().flatten().enumerate() {
        let field = format!("linux.resources.blockIO.weightDevice[{index}]");
        if device.leaf_weight().is_some_and(|w| w != 0) {
            return Err(PlanError::unsupported(format!("{field}.leafWeight"), "a leaf weight of a device"));
        }
        blkio.weight_devices.push(WeightDevice {
            major: number(device.major(), format!("{field}.major"))?,
            minor: number(device.minor(), format!("{field}.minor"))?,
            weight: device.weight().unwrap_or(0),
        });
    }
    let lists: [(_, &Option<Vec<LinuxThrottleDevice>>, _); 4] = [
        ("throttleReadBpsDevice", spec.throttle_read_bps_device(), ThrottleKind::ReadBytes),
        ("throttleWriteBpsDevice", spec.throttle_write_bps_device(), ThrottleKind::WriteBytes),
        ("throttleReadIOPSDevice", spec.throttle_read_iops_device(), ThrottleKind::ReadOperations),
        ("throttleWriteIOPSDevice", spec.throttle_write_iops_device(), ThrottleKind::WriteOperations),
    ];
    for (name, list, kind) in lists {
        for (index, device) in list.iter().flatten().enumerate() {
            let field = format!("linux.resources.blockIO.{name}[{index}]");
            blkio.throttles.push(Throttle {
                kind,
                major: number(device.major(), format!("{field}.major"))?,
                minor: number(device.minor(), format!("{field}.minor"))?,
                rate: device.rate(),
            });
        }
    }
    Ok(())
}

fn device(rule: &LinuxDeviceCgroup, field: &str) -> Result<DeviceRule, PlanError> {
    let kind = match rule.typ() {
        None | Some(LinuxDeviceType::A) => DeviceKind::All,
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => DeviceKind::Char,
        Some(LinuxDeviceType::B) => DeviceKind::Block,
        Some(LinuxDeviceType::P) => {
            return Err(PlanError::invalid(format!("{field}.type"), "the type must be a, b or c"));
        }
    };
    let part = |value: Option<i64>, name: &str| match value {
        None | Some(-1) => Ok(None),
        Some(value) => number(value, format!("{field}.{name}")).map(Some),
    };
    let access = match rule.access().as_deref() {
        None | Some("") => Access::ALL,
        Some(letters) => Access::parse(letters)
            .ok_or_else(|| PlanError::invalid(format!("{field}.access"), "letters other than r, w and m"))?,
    };
    Ok(DeviceRule {
        allow: rule.allow(),
        kind,
        major: part(rule.major(), "major")?,
        minor: part(rule.minor(), "minor")?,
        access,
    })
}
