//! The mounts of a container, in the order they are made: the kernel's file systems, the pod's
//! files, then what the configuration asks for, parents before what lies in them.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Mount as OciMount, MountBuilder};

use super::devices::HostDevice;
use super::{Inputs, id_mapping};
use crate::error::EngineError;
use crate::model::{IdMap, Mount, Namespaces, Network, Propagation};

/// What a container hides by default.
pub(crate) const DEFAULT_MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    // Power use reveals the secrets that a processor works with (CVE-2020-8694).
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// What a container makes read-only by default.
pub(crate) const DEFAULT_READONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The options that a mount may have besides what its fields say. None takes away what the host's mount has.
pub(crate) const OPTIONS: [&str; 14] = [
    "noexec",
    "nodev",
    "nosuid",
    "nosymfollow",
    "noatime",
    "nodiratime",
    "relatime",
    "strictatime",
    "rnoexec",
    "rnodev",
    "rnosuid",
    "rnosymfollow",
    "rnoatime",
    "rnodiratime",
];

/// Where the pod's files lie on the host.
#[derive(Debug, Clone, Default)]
pub(crate) struct PodFiles {
    /// The pod's /dev/shm, or the host's.
    pub(crate) shm: PathBuf,
    pub(crate) hosts: PathBuf,
    pub(crate) hostname: PathBuf,
    pub(crate) resolv: PathBuf,
}

/// All mounts of the container.
pub(crate) fn all(inputs: &Inputs<'_>) -> Result<Vec<OciMount>, EngineError> {
    for mount in &inputs.container.mounts {
        check(mount)?;
    }
    // What covers a file system of ours replaces it; other runtimes do so, and a second mount
    // on /dev would hide the device nodes.
    let asked = &inputs.container.mounts;
    let uncovered =
        |made: &OciMount| !asked.iter().any(|mount| same(&mount.container_path, made.destination()));
    let mut mounts: Vec<OciMount> = kernel(inputs).into_iter().filter(uncovered).collect();
    let mut others: Vec<OciMount> = pod_files(inputs).into_iter().filter(uncovered).collect();
    others.extend(host_devices(inputs).into_iter().filter(uncovered));
    others.extend(asked.iter().map(bind));
    // A stable sort by depth: of two at one place the later covers the earlier, and a volume on /dev or
    // /etc does not cover what the pod has in there.
    others.sort_by_key(|mount| depth(mount.destination()));
    mounts.extend(others);
    Ok(mounts)
}

fn check(mount: &Mount) -> Result<(), EngineError> {
    let field = |message: String| Err(EngineError::invalid("mounts", message));
    let place = mount.container_path.display();
    if clean(&mount.container_path) == Path::new("/") {
        return field("a mount on / would hide the whole image".to_owned());
    }
    if !mount.container_path.is_absolute() && mount.container_path.as_os_str().is_empty() {
        return field("container_path is empty".to_owned());
    }
    if !mount.host_path.is_absolute() {
        return field(format!("{place}: host_path {} is not absolute", mount.host_path.display()));
    }
    if mount.uids.is_empty() != mount.gids.is_empty() {
        return field(format!("{place}: mappings of user ids and of group ids come together"));
    }
    if let Some(option) = mount.options.iter().find(|option| !OPTIONS.contains(&option.as_str())) {
        let message = format!("{place}: {option:?} is not one of {}", OPTIONS.join(", "));
        return Err(EngineError::unsupported("mounts.mount_options", message));
    }
    if mount.recursive_readonly && (!mount.readonly || mount.propagation != Propagation::Private) {
        return field(format!("{place}: recursive read-only needs readonly and private propagation"));
    }
    Ok(())
}

/// The path without `.` and doubled slashes; `..` goes up within the root.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

fn same(a: &Path, b: &Path) -> bool {
    clean(a) == clean(b)
}

fn depth(path: &Path) -> usize {
    clean(path).components().count()
}

fn made(destination: &str, kind: &str, source: &str, options: &[&str]) -> OciMount {
    MountBuilder::default()
        .destination(destination)
        .typ(kind)
        .source(source)
        .options(options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
        .build()
        .expect("every part is given")
}

fn kernel(inputs: &Inputs<'_>) -> Vec<OciMount> {
    let access = if inputs.container.security.privileged { "rw" } else { "ro" };
    let nothing = ["nosuid", "noexec", "nodev"];
    let Namespaces { user, network, .. } = &inputs.sandbox.namespaces;
    let mut terminals = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    // The group tty, where the container has one.
    if user.is_none_or(|maps| maps.gids.to_host(5).is_some()) {
        terminals.push("gid=5");
    }
    // A sysfs is of a network namespace, and the host's is not the user namespace's to mount.
    let sys = match (user, network) {
        (Some(_), Network::Host) => {
            made("/sys", "bind", "/sys", &["rbind", "rslave", "rro", "rnosuid", "rnoexec", "rnodev"])
        }
        _ => made("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
    };
    vec![
        made("/proc", "proc", "proc", &nothing),
        made("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        made("/dev/pts", "devpts", "devpts", &terminals),
        made("/dev/mqueue", "mqueue", "mqueue", &nothing),
        sys,
        made("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", access]),
    ]
}

/// /etc/hostname, /etc/hosts, /etc/resolv.conf and /dev/shm, unless the configuration brings its own.
fn pod_files(inputs: &Inputs<'_>) -> Vec<OciMount> {
    let files = inputs.files;
    let access = if inputs.container.security.readonly_rootfs { "ro" } else { "rw" };
    let mut mounts = Vec::new();
    for (place, source) in [
        ("/etc/hostname", &files.hostname),
        ("/etc/hosts", &files.hosts),
        ("/etc/resolv.conf", &files.resolv),
    ] {
        // A pod on the host's network keeps the host's own name, and no file of its own is made.
        if source.as_os_str().is_empty() {
            continue;
        }
        mounts.push(made(place, "bind", &source.to_string_lossy(), &["rbind", "rprivate", access]));
    }
    mounts.push(made("/dev/shm", "bind", &files.shm.to_string_lossy(), &["rbind", "rprivate", "rw"]));
    mounts
}

/// The devices that were asked for, where no node can be made: in a user namespace. The host's are bound, unless there is a
/// /dev of the caller.
fn host_devices(inputs: &Inputs<'_>) -> Vec<OciMount> {
    let foreign = inputs.container.mounts.iter().any(|mount| same(&mount.container_path, Path::new("/dev")));
    if inputs.sandbox.namespaces.user.is_none() || foreign {
        return Vec::new();
    }
    let bound = |device: &HostDevice| {
        let (place, source) = (device.path.to_string_lossy(), device.source.to_string_lossy());
        made(&place, "bind", &source, &["bind", "rprivate", "nosuid", "noexec"])
    };
    inputs.devices.iter().map(bound).collect()
}

pub(crate) fn bind(mount: &Mount) -> OciMount {
    let access = match (mount.readonly, mount.recursive_readonly) {
        (_, true) => "rro",
        (true, false) => "ro",
        (false, false) => "rw",
    };
    let propagation = match mount.propagation {
        Propagation::Private => "rprivate",
        Propagation::HostToContainer => "rslave",
        Propagation::Bidirectional => "rshared",
    };
    let mut options = vec!["rbind", propagation, access];
    options.extend(mount.options.iter().map(String::as_str));
    if !mount.uids.is_empty() {
        options.push("ridmap");
    }
    let place = clean(&mount.container_path);
    let mut bound = made(&place.to_string_lossy(), "bind", &mount.host_path.to_string_lossy(), &options);
    if !mount.uids.is_empty() {
        let maps = |maps: &[IdMap]| Some(maps.iter().copied().map(id_mapping).collect());
        bound.set_uid_mappings(maps(&mount.uids));
        bound.set_gid_mappings(maps(&mount.gids));
    }
    bound
}

/// Makes the directories of the host that mounts name and that do not exist, as other runtimes do.
pub(crate) fn make_sources(config: &crate::model::ContainerConfig) -> Result<(), EngineError> {
    // What an image volume or a part of a volume is bound by is no path of the host's.
    let whole = |mount: &&Mount| mount.image.is_none() && mount.sub_path.as_os_str().is_empty();
    for mount in config.mounts.iter().filter(whole) {
        let host = &mount.host_path;
        // A dangling link is an error: its target must not be created.
        if std::fs::symlink_metadata(host).is_err() {
            std::fs::create_dir_all(host).map_err(|e| {
                EngineError::invalid("mounts", format!("host_path {} cannot be made: {e}", host.display()))
            })?;
        }
    }
    Ok(())
}
