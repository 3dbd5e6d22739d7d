//! What an OCI runtime is given: a specification that says everything, and as text with places for what the shim knows. Pure.

use std::path::Path;

use berth_sys::cgroup::{Access, DeviceKind, DeviceRule};
use berth_types::shim::bundle::{Namespace, Piece};
use oci_spec::runtime::{
    LinuxDeviceCgroup, LinuxDeviceType, LinuxNamespaceType, LinuxResources, LinuxSeccomp, Mount, RootBuilder,
    Spec,
};

/// The version of the specification: runtimes refuse one that is newer than they are, and this has all that is said.
const VERSION: &str = "1.0.2";

/// The devices that runtimes make in every container (OCI runtime-spec, config-linux.md). One that is bound there already may be in
/// their way: `/dev/tty` cannot be opened without a terminal.
const OWN_DEVICES: [&str; 8] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/console",
];

/// What the specification of a container does not say, since Berth itself sees to it for its own runtime.
#[derive(Debug)]
pub(super) struct Rest<'a> {
    /// The mounted root file system.
    pub(super) root: &'a Path,
    /// What may be done with which devices.
    pub(super) devices: &'a [DeviceRule],
    /// Which system calls may be made.
    pub(super) seccomp: Option<LinuxSeccomp>,
    /// The score for the out-of-memory killer where none was asked for: the runtime's own protects it.
    pub(super) oom_score: Option<i32>,
}

/// The specification with the rest.
pub(super) fn complete(mut spec: Spec, rest: Rest<'_>) -> Spec {
    spec.set_version(VERSION.to_owned());
    let readonly = spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false);
    let root = RootBuilder::default().path(rest.root).readonly(readonly);
    spec.set_root(Some(root.build().expect("both parts are given")));
    if let Some(process) = spec.process_mut()
        && process.oom_score_adj().is_none()
    {
        process.set_oom_score_adj(rest.oom_score);
    }
    let mounts = spec.mounts().iter().flatten().filter(|mount| !is_own_device(mount));
    let mounts: Vec<Mount> = mounts.cloned().collect();
    spec.set_mounts(Some(mounts));
    let mut linux = spec.linux().clone().unwrap_or_default();
    // Limits are set before there is a process, by who made the cgroup; rules of devices are the runtime's to set again.
    let mut resources = LinuxResources::default();
    resources.set_devices(Some(rest.devices.iter().map(rule).collect()));
    linux.set_resources(Some(resources)).set_seccomp(rest.seccomp);
    // Else it is below the runtime's own.
    let group = linux.cgroups_path().as_ref().map(|path| Path::new("/").join(path));
    linux.set_cgroups_path(group);
    // A mount propagates only as far as the root above it.
    let asked = |option: &str| {
        let mounts = spec.mounts().iter().flatten().filter_map(|mount| mount.options().as_ref());
        mounts.flatten().any(|of| of == option)
    };
    let propagation = ["rshared", "rslave"].into_iter().find(|option| asked(option));
    linux.set_rootfs_propagation(propagation.map(str::to_owned));
    spec.set_linux(Some(linux));
    spec
}

/// Whether it binds a device of the host where the runtime makes the same.
fn is_own_device(mount: &Mount) -> bool {
    mount.source().as_ref() == Some(mount.destination())
        && OWN_DEVICES.iter().any(|device| mount.destination() == Path::new(device))
}

fn rule(rule: &DeviceRule) -> LinuxDeviceCgroup {
    let mut made = LinuxDeviceCgroup::default();
    let kind = match rule.kind {
        DeviceKind::All => LinuxDeviceType::A,
        DeviceKind::Char => LinuxDeviceType::C,
        DeviceKind::Block => LinuxDeviceType::B,
    };
    let Access { read, write, make } = rule.access;
    let letters = [(read, 'r'), (write, 'w'), (make, 'm')];
    made.set_allow(rule.allow)
        .set_typ(Some(kind))
        .set_major(rule.major.map(i64::from))
        .set_minor(rule.minor.map(i64::from))
        .set_access(Some(letters.iter().filter(|(has, _)| *has).map(|(_, letter)| letter).collect()));
    made
}

/// The text of a specification in which the shim's namespaces have places. `token` occurs nowhere in it.
///
/// # Errors
/// Only for what has no JSON.
pub(super) fn pieces(
    mut spec: Spec,
    given: &[LinuxNamespaceType],
    token: &str,
) -> Result<Vec<Piece>, serde_json::Error> {
    const KINDS: [(LinuxNamespaceType, Namespace, char); 5] = [
        (LinuxNamespaceType::Network, Namespace::Network, 'n'),
        (LinuxNamespaceType::Ipc, Namespace::Ipc, 'i'),
        (LinuxNamespaceType::Uts, Namespace::Uts, 'u'),
        (LinuxNamespaceType::Pid, Namespace::Pid, 'p'),
        (LinuxNamespaceType::User, Namespace::User, 's'),
    ];
    let mut linux = spec.linux().clone().unwrap_or_default();
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    for namespace in &mut namespaces {
        let kind = KINDS.iter().find(|(kind, ..)| *kind == namespace.typ());
        if let Some((.., letter)) = kind.filter(|(kind, ..)| given.contains(kind)) {
            namespace.set_path(Some(format!("{token}{letter}").into()));
        }
    }
    linux.set_namespaces(Some(namespaces));
    spec.set_linux(Some(linux));
    let text = serde_json::to_string(&spec)?;
    let mut parts = text.split(token);
    let mut pieces: Vec<Piece> =
        parts.next().map(|first| Piece::Text(first.to_owned())).into_iter().collect();
    for part in parts {
        let found = KINDS.iter().find_map(|(_, which, letter)| Some((*which, part.strip_prefix(*letter)?)));
        match found {
            Some((which, rest)) => pieces.extend([Piece::Namespace(which), Piece::Text(rest.to_owned())]),
            None => pieces.push(Piece::Text(part.to_owned())),
        }
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests;
