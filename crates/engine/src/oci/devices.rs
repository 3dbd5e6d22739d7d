//! Devices of a container: nodes to make, and rules of the device cgroup.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use berth_sys::cgroup::{Access, DeviceKind, DeviceRule};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType};

use crate::error::EngineError;
use crate::model::{ContainerConfig, Device};

/// A device node of the host that a container gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostDevice {
    /// Where it appears.
    pub(crate) path: PathBuf,
    /// Where it is on the host.
    pub(crate) source: PathBuf,
    pub(crate) kind: DeviceKind,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) access: Access,
}

/// The most devices of one container. A privileged one has all of the host, which may have thousands: some for
/// each processor, disk and partition.
const MAX_DEVICES: usize = 16 << 10;
/// The deepest directory of devices that is looked through.
const MAX_DEPTH: usize = 16;

/// Looks up the devices that `config` asks for, for a container of this user and group; a privileged container gets all of the host's.
pub(crate) fn read(config: &ContainerConfig, user: (u32, u32)) -> Result<Vec<HostDevice>, EngineError> {
    let mut found = Vec::new();
    if config.security.privileged {
        let all = Device {
            container_path: "/dev".into(),
            host_path: "/dev".into(),
            permissions: "rwm".to_owned(),
            node: None,
        };
        walk(&all.host_path, &all.container_path, Access::ALL, 0, &mut found);
    }
    for device in &config.devices {
        one(device, user, &mut found)?;
    }
    if found.len() > MAX_DEVICES {
        let message = format!("{} devices, at most {MAX_DEVICES} are allowed", found.len());
        return Err(EngineError::invalid("devices", message));
    }
    Ok(found)
}

fn one(device: &Device, user: (u32, u32), found: &mut Vec<HostDevice>) -> Result<(), EngineError> {
    let host = device.host_path.display();
    let access = Access::parse(&device.permissions).ok_or_else(|| {
        EngineError::invalid(
            "devices",
            format!("{host}: permissions {:?} are not of r, w, m", device.permissions),
        )
    })?;
    let meta = std::fs::metadata(&device.host_path)
        .map_err(|e| EngineError::invalid("devices", format!("{host}: {e}")))?;
    let before = found.len();
    if meta.is_dir() {
        walk(&device.host_path, &device.container_path, access, 0, found);
    } else if let Some(mut made) = node(&meta, &device.host_path, &device.container_path, access) {
        if let Some(own) = device.node {
            made.mode = own.mode.map_or(made.mode, |mode| mode & 0o777);
            (made.uid, made.gid) = (own.uid.unwrap_or(user.0), own.gid.unwrap_or(user.1));
        }
        // A device named again replaces what a privileged container has anyway.
        found.retain(|other| other.path != made.path);
        found.push(made);
        return Ok(());
    }
    if found.len() == before {
        return Err(EngineError::invalid("devices", format!("{host} is not a device")));
    }
    Ok(())
}

/// What is not readable or not a device is skipped, as are the container's own file systems in /dev.
fn walk(host: &Path, container: &Path, access: Access, depth: usize, found: &mut Vec<HostDevice>) {
    const OWN: [&str; 6] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts"];
    let Ok(entries) = std::fs::read_dir(host) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if found.len() > MAX_DEVICES || OWN.iter().any(|own| name == *own) || name == "console" {
            continue;
        }
        let Ok(meta) = entry.metadata() else { continue };
        let place = container.join(&name);
        if meta.is_dir() && depth < MAX_DEPTH {
            walk(&entry.path(), &place, access, depth + 1, found);
        } else if let Some(device) = node(&meta, &entry.path(), &place, access) {
            found.push(device);
        }
    }
}

fn node(meta: &std::fs::Metadata, source: &Path, path: &Path, access: Access) -> Option<HostDevice> {
    let kind = if meta.file_type().is_char_device() {
        DeviceKind::Char
    } else if meta.file_type().is_block_device() {
        DeviceKind::Block
    } else {
        return None;
    };
    let (major, minor) = split(meta.rdev());
    let mode = meta.mode() & 0o777;
    Some(HostDevice {
        path: path.to_owned(),
        source: source.to_owned(),
        kind,
        major,
        minor,
        mode,
        uid: meta.uid(),
        gid: meta.gid(),
        access,
    })
}

/// Major and minor number in the kernel's user-space form of a device number.
fn split(number: u64) -> (u32, u32) {
    let low = |bits: u64| u32::try_from(bits & 0xffff_ffff).expect("32 bits were left");
    (
        low(((number >> 8) & 0xfff) | ((number >> 32) & 0xffff_f000)),
        low((number & 0xff) | ((number >> 12) & 0xffff_ff00)),
    )
}

/// The nodes to make beside those that every container has.
pub(crate) fn nodes(devices: &[HostDevice]) -> Vec<LinuxDevice> {
    let make = |device: &HostDevice| {
        let kind = match device.kind {
            DeviceKind::Block => LinuxDeviceType::B,
            DeviceKind::Char | DeviceKind::All => LinuxDeviceType::C,
        };
        LinuxDeviceBuilder::default()
            .path(device.path.clone())
            .typ(kind)
            .major(i64::from(device.major))
            .minor(i64::from(device.minor))
            .file_mode(device.mode)
            .uid(device.uid)
            .gid(device.gid)
            .build()
            .expect("every part is given")
    };
    devices.iter().map(make).collect()
}

/// The rules of the device cgroup: nothing, then what every container may use, then what was asked for.
pub(crate) fn rules(devices: &[HostDevice], privileged: bool) -> Vec<DeviceRule> {
    let rule = |allow, kind, major, minor, access| DeviceRule { allow, kind, major, minor, access };
    if privileged {
        return vec![rule(true, DeviceKind::All, None, None, Access::ALL)];
    }
    let make = Access { make: true, ..Access::default() };
    let char = |major, minor| rule(true, DeviceKind::Char, Some(major), minor, Access::ALL);
    let mut rules = vec![
        rule(false, DeviceKind::All, None, None, Access::ALL),
        rule(true, DeviceKind::Char, None, None, make),
        rule(true, DeviceKind::Block, None, None, make),
        // null, zero, full, random, urandom
        char(1, Some(3)),
        char(1, Some(5)),
        char(1, Some(7)),
        char(1, Some(8)),
        char(1, Some(9)),
        // tty, console, ptmx, pts/*
        char(5, Some(0)),
        char(5, Some(1)),
        char(5, Some(2)),
        char(136, None),
    ];
    rules.extend(allowed(devices));
    rules
}

/// What may be done with these devices.
pub(crate) fn allowed(devices: &[HostDevice]) -> Vec<DeviceRule> {
    let rule = |of: &HostDevice| DeviceRule {
        allow: true,
        kind: of.kind,
        major: Some(of.major),
        minor: Some(of.minor),
        access: of.access,
    };
    devices.iter().map(rule).collect()
}
