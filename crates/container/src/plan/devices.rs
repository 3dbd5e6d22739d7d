//! Device nodes and the links of `/dev`.

use std::path::Path;

use berth_sys::mount as sys;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use super::mounts::bytes;
use super::{Attributes, Device, DeviceKind, Mount, MountSource, Origin, PlanError, Propagation, Step};

/// The devices that every container has ("default devices" of the specification).
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// The steps for devices and links. In a user namespace device nodes cannot be created, so the host's are bound.
pub(super) fn steps(list: &[LinuxDevice], user_namespace: bool) -> Result<Vec<Step>, PlanError> {
    let mut devices = Vec::with_capacity(list.len() + DEFAULT.len());
    for (path, major, minor) in DEFAULT {
        if !list.iter().any(|d| d.path() == Path::new(path)) {
            devices.push(Device {
                path: path.into(),
                kind: DeviceKind::Character,
                major,
                minor,
                mode: 0o666,
                uid: 0,
                gid: 0,
            });
        }
    }
    for (index, device) in list.iter().enumerate() {
        devices.push(node(device, &format!("linux.devices[{index}]"))?);
    }
    let mut steps: Vec<Step> = devices
        .into_iter()
        .map(|device| if user_namespace { bound(device.path) } else { Step::Device(device) })
        .collect();
    steps.extend(LINKS.map(|(path, target)| Step::Link { path: path.into(), target: target.into() }));
    Ok(steps)
}

fn node(device: &LinuxDevice, field: &str) -> Result<Device, PlanError> {
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Character,
        LinuxDeviceType::B => DeviceKind::Block,
        LinuxDeviceType::P => DeviceKind::Fifo,
        LinuxDeviceType::A => {
            return Err(PlanError::invalid(format!("{field}.type"), "the type must be c, u, b or p"));
        }
    };
    let path = device.path();
    if !path.is_absolute() {
        return Err(PlanError::invalid(format!("{field}.path"), "not an absolute path"));
    }
    let number = |value: i64, name: &str| {
        u32::try_from(value).map_err(|_| PlanError::invalid(format!("{field}.{name}"), "not a device number"))
    };
    Ok(Device {
        path: bytes(path),
        kind,
        major: number(device.major(), "major")?,
        minor: number(device.minor(), "minor")?,
        mode: device.file_mode().unwrap_or(0o666),
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}

fn bound(path: Vec<u8>) -> Step {
    Step::Mount(Mount {
        source: MountSource::Bind {
            origin: Origin::Path(path.clone()),
            recursive: false,
            uid_map: Vec::new(),
            gid_map: Vec::new(),
        },
        destination: path,
        attributes: Attributes { set: sys::NOSUID | sys::NOEXEC, clear: 0 },
        recursive_attributes: Attributes::default(),
        propagation: Propagation::Private,
        on_proc: false,
    })
}
