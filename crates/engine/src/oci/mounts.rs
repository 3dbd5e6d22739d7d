//! The mounts of a container, in the order they are made: the kernel's file systems, the pod's
//! files, then what the configuration asks for, parents before what lies in them.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Mount as OciMount, MountBuilder};

use super::Inputs;
use crate::error::EngineError;
use crate::model::{Mount, Propagation};

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
    vec![
        made("/proc", "proc", "proc", &nothing),
        made("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        made(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        made("/dev/mqueue", "mqueue", "mqueue", &nothing),
        made("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
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

fn bind(mount: &Mount) -> OciMount {
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
    made(
        &clean(&mount.container_path).to_string_lossy(),
        "bind",
        &mount.host_path.to_string_lossy(),
        &["rbind", propagation, access],
    )
}

/// Makes the directories of the host that mounts name and that do not exist, as other runtimes do.
pub(crate) fn make_sources(config: &crate::model::ContainerConfig) -> Result<(), EngineError> {
    for mount in &config.mounts {
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
