//! Whether what a file says may be said, and in its version. Pure.

use std::path::Path;

use crate::name;
use crate::spec::{DeviceNode, Edits, Hook, IntelRdt, Mount, NetDevice, Spec};

/// Where, and what is wrong.
type Fault = (String, String);

/// The versions of the specification, oldest first.
const VERSIONS: [&str; 10] =
    ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];
/// When hooks are run.
const HOOKS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
/// The most of anything in one file.
const MAX: usize = 10_000;

/// Checks all of a file.
pub(crate) fn check(spec: &Spec) -> Result<(), Fault> {
    let version = version(spec)?;
    name::is_kind(&spec.kind).map_err(|why| fault("kind", format!("{:?}: {why}", spec.kind)))?;
    let needed = needed(spec);
    if version < index(needed.0) {
        let why =
            format!("{} is of version {} on, and the file's is {}", needed.1, needed.0, spec.cdi_version);
        return Err(fault("cdiVersion", why));
    }
    if spec.devices.is_empty() {
        return Err(fault("devices", "there is none".to_owned()));
    }
    if spec.devices.len() > MAX {
        return Err(fault("devices", format!("{} devices, {MAX} are allowed", spec.devices.len())));
    }
    for (number, device) in spec.devices.iter().enumerate() {
        let at = format!("devices[{number}]");
        name::is_device(&device.name)
            .map_err(|why| (format!("{at}.name"), format!("{:?}: {why}", device.name)))?;
        if spec.devices.iter().take(number).any(|other| other.name == device.name) {
            return Err((format!("{at}.name"), format!("duplicate {:?}", device.name)));
        }
        let at = format!("{at}.containerEdits");
        if device.container_edits == Edits::default() {
            return Err((at, "nothing changes with the device".to_owned()));
        }
        edits(&at, &device.container_edits)?;
    }
    edits("containerEdits", &spec.container_edits)
}

fn fault(field: &str, why: String) -> Fault {
    (field.to_owned(), why)
}

fn index(version: &str) -> usize {
    VERSIONS.iter().position(|known| *known == version).unwrap_or(VERSIONS.len())
}

fn version(spec: &Spec) -> Result<usize, Fault> {
    let said = spec.cdi_version.strip_prefix('v').unwrap_or(&spec.cdi_version);
    let known = VERSIONS.iter().position(|known| *known == said);
    known.ok_or_else(|| {
        let newest = VERSIONS.last().copied().unwrap_or_default();
        fault("cdiVersion", format!("{:?} is not known: the newest is {newest}", spec.cdi_version))
    })
}

/// The oldest version in which all of it may be said, and what needs it.
fn needed(spec: &Spec) -> (&'static str, &'static str) {
    let any = |is: &dyn Fn(&Edits) -> bool| {
        is(&spec.container_edits) || spec.devices.iter().any(|device| is(&device.container_edits))
    };
    let newer_rdt = |rdt: &IntelRdt| rdt.schemata.is_some() || rdt.enable_monitoring;
    let annotated = !spec.annotations.is_empty() || spec.devices.iter().any(|d| !d.annotations.is_empty());
    let by_digit = |name: &str| name.starts_with(|c: char| c.is_ascii_digit());
    match () {
        () if any(&|e| !e.net_devices.is_empty()) => ("1.1.0", "netDevices"),
        () if any(&|e| e.intel_rdt.as_ref().is_some_and(newer_rdt)) => {
            ("1.1.0", "intelRdt.schemata or intelRdt.enableMonitoring")
        }
        () if any(&|e| e.intel_rdt.is_some()) => ("0.7.0", "intelRdt"),
        () if any(&|e| !e.additional_gids.is_empty()) => ("0.7.0", "additionalGids"),
        () if annotated => ("0.6.0", "annotations"),
        () if spec.kind.split_once('/').is_some_and(|(_, class)| class.contains('.')) => {
            ("0.6.0", "a dot in the class")
        }
        () if spec.devices.iter().any(|device| by_digit(&device.name)) => {
            ("0.5.0", "a device's name that begins with a digit")
        }
        () if any(&|e| e.device_nodes.iter().any(|node| !node.host_path.as_os_str().is_empty())) => {
            ("0.5.0", "deviceNodes.hostPath")
        }
        () if any(&|e| e.mounts.iter().any(|mount| !mount.kind.is_empty())) => ("0.4.0", "mounts.type"),
        () => ("0.1.0", "it"),
    }
}

fn edits(at: &str, edits: &Edits) -> Result<(), Fault> {
    let counts = [edits.env.len(), edits.device_nodes.len(), edits.mounts.len(), edits.hooks.len()];
    if counts.into_iter().chain([edits.net_devices.len(), edits.additional_gids.len()]).any(|n| n > MAX) {
        return Err((at.to_owned(), format!("more than {MAX} of one kind")));
    }
    env(&format!("{at}.env"), &edits.env)?;
    each(at, "deviceNodes", &edits.device_nodes, node)?;
    each(at, "mounts", &edits.mounts, mount)?;
    each(at, "hooks", &edits.hooks, hook)?;
    each(at, "netDevices", &edits.net_devices, net_device)?;
    let (host, name) = (|d: &NetDevice| d.host_interface_name.clone(), |d: &NetDevice| d.name.clone());
    let duplicate = repeated(&edits.net_devices, host).or_else(|| repeated(&edits.net_devices, name));
    if let Some(name) = duplicate {
        return Err((format!("{at}.netDevices"), format!("duplicate {name:?}")));
    }
    match &edits.intel_rdt {
        Some(rdt) => clos(&rdt.clos_id).map_err(|why| (format!("{at}.intelRdt.closID"), why)),
        None => Ok(()),
    }
}

fn each<T>(
    at: &str,
    what: &str,
    list: &[T],
    check: impl Fn(&T) -> Result<(), (&'static str, String)>,
) -> Result<(), Fault> {
    for (number, one) in list.iter().enumerate() {
        check(one).map_err(|(field, why)| (format!("{at}.{what}[{number}].{field}"), why))?;
    }
    Ok(())
}

fn repeated<T>(list: &[T], name: impl Fn(&T) -> String) -> Option<String> {
    let mut seen = std::collections::BTreeSet::new();
    list.iter().map(name).find(|name| !seen.insert(name.clone()))
}

fn env(at: &str, list: &[String]) -> Result<(), Fault> {
    let good = |v: &str| v.find('=').is_some_and(|place| place > 0) && !v.contains('\0');
    match list.iter().enumerate().find(|(_, variable)| !good(variable)) {
        Some((number, variable)) => {
            Err((format!("{at}[{number}]"), format!("{variable:?} is not NAME=VALUE")))
        }
        None => Ok(()),
    }
}

fn absolute(path: &Path) -> Result<(), String> {
    let up = path.components().any(|part| part == std::path::Component::ParentDir);
    if path.is_absolute() && !up {
        Ok(())
    } else {
        Err(format!("{:?} is not an absolute path", path.display()))
    }
}

fn node(node: &DeviceNode) -> Result<(), (&'static str, String)> {
    absolute(&node.path).map_err(|why| ("path", why))?;
    absolute(node.source()).map_err(|why| ("hostPath", why))?;
    if !["", "b", "c", "u", "p"].contains(&node.kind.as_str()) {
        return Err(("type", format!("{:?} is none of b, c, u and p", node.kind)));
    }
    let letters = || node.permissions.chars().all(|c| "rwm".contains(c));
    if node.permissions != "none" && !letters() {
        return Err(("permissions", format!("{:?} is not of r, w and m", node.permissions)));
    }
    Ok(())
}

fn mount(mount: &Mount) -> Result<(), (&'static str, String)> {
    absolute(&mount.host_path).map_err(|why| ("hostPath", why))?;
    absolute(&mount.container_path).map_err(|why| ("containerPath", why))
}

fn hook(hook: &Hook) -> Result<(), (&'static str, String)> {
    if !HOOKS.contains(&hook.hook_name.as_str()) {
        return Err(("hookName", format!("{:?} is none of {}", hook.hook_name, HOOKS.join(", "))));
    }
    absolute(&hook.path).map_err(|why| ("path", why))?;
    env("env", &hook.env).map_err(|(_, why)| ("env", why))?;
    match hook.timeout {
        Some(seconds) if seconds <= 0 => Err(("timeout", format!("{seconds} is not above 0"))),
        _ => Ok(()),
    }
}

fn net_device(device: &NetDevice) -> Result<(), (&'static str, String)> {
    if device.host_interface_name.is_empty() {
        return Err(("hostInterfaceName", "it is empty".to_owned()));
    }
    if device.name.is_empty() { Err(("name", "it is empty".to_owned())) } else { Ok(()) }
}

/// A directory of resctrl(5), of which `/` is the root.
fn clos(id: &str) -> Result<(), String> {
    let bad = id.len() >= 4096 || id == "." || id == ".." || id.contains(['/', '\n']);
    if id != "/" && bad { Err(format!("{id:?} is no name of a directory")) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
