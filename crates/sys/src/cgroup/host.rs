//! The hierarchies that the host has mounted.
//!
//! v1 mounts one hierarchy for each controller or group of controllers, v2 a single one for all.
//! A hybrid host has both: its v2 hierarchy holds few controllers or none, but it still gives what
//! v1 lacks, killing a group at once and being told when it is empty.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{CgroupError, CgroupPath, Controller, Controllers};
use crate::mount::Mounted;

/// How the host's hierarchies are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only v1 hierarchies.
    V1,
    /// v1 hierarchies and a v2 one beside them.
    Hybrid,
    /// A single v2 hierarchy.
    V2,
}

/// The version of one hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// cgroup v1.
    V1,
    /// cgroup v2.
    V2,
}

/// One hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Its version.
    pub version: Version,
    /// The controllers in it.
    pub controllers: Controllers,
    /// The name of a v1 hierarchy made with `name=`: `systemd`, usually.
    pub name: Option<String>,
}

/// The hierarchies of this host that are used for containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    pub(super) mode: Mode,
    pub(super) hierarchies: Vec<Hierarchy>,
    /// Where v1 hierarchies are mounted in which containers get no groups.
    unused: Vec<PathBuf>,
}

/// v1 controllers in which every container gets a group: those that have a limit, and those that
/// node agents read by path (cpuacct).
const WANTED: Controllers = Controllers::NONE
    .with(Controller::Cpu)
    .with(Controller::Cpuacct)
    .with(Controller::Cpuset)
    .with(Controller::Memory)
    .with(Controller::Pids)
    .with(Controller::Blkio)
    .with(Controller::Devices)
    .with(Controller::Hugetlb);

impl Host {
    /// Looks at this host once: `/proc/self/mountinfo` and `/proc/cgroups`.
    pub fn detect() -> Result<Host, CgroupError> {
        let path = "/proc/self/mountinfo";
        let mounts = std::fs::read(path).map_err(|source| CgroupError::Io {
            action: "read",
            path: path.into(),
            source,
        })?;
        // Absent when the kernel has no v1 at all.
        let enabled = std::fs::read_to_string("/proc/cgroups").ok();
        let mut found = parse_mounts(&mounts, enabled.as_deref());
        for hierarchy in &mut found {
            if hierarchy.version == Version::V2 {
                let file = hierarchy.mount.join("cgroup.controllers");
                hierarchy.controllers = Controllers::parse(read(file)?.split_whitespace());
            }
        }
        Host::from_hierarchies(found, Host::has_systemd())
    }

    /// Whether systemd is this host's first process (sd_booted(3)).
    pub fn has_systemd() -> bool {
        Path::new("/run/systemd/system").is_dir()
    }

    /// Chooses among hierarchies. Ignored are v1 hierarchies whose controllers limit nothing
    /// and, beside a v2 one, v1's freezer (v2 kills and freezes by itself). `systemd` says whether
    /// it runs: only then is its own named hierarchy kept, without which a service's stop would
    /// take the containers along.
    pub fn from_hierarchies(found: Vec<Hierarchy>, systemd: bool) -> Result<Host, CgroupError> {
        let v2 = found.iter().any(|h| h.version == Version::V2);
        let v1 = found.iter().any(|h| h.version == Version::V1 && !h.controllers.is_empty());
        let mode = match (v1, v2) {
            (true, true) => Mode::Hybrid,
            (true, false) => Mode::V1,
            (false, true) => Mode::V2,
            (false, false) => return Err(CgroupError::Host { why: "no hierarchy is mounted".to_owned() }),
        };
        let wanted = if v2 { WANTED } else { WANTED.with(Controller::Freezer) };
        let (hierarchies, unused): (Vec<_>, Vec<_>) = found.into_iter().partition(|h| match h.version {
            Version::V2 => true,
            Version::V1 if h.controllers.is_empty() => systemd && h.name.as_deref() == Some("systemd"),
            Version::V1 => !h.controllers.and(wanted).is_empty(),
        });
        let unused = unused.into_iter().map(|hierarchy| hierarchy.mount).collect();
        Ok(Host { mode, hierarchies, unused })
    }

    /// Removes the empty groups of a path in the v1 hierarchies that are not used here, and those above it down to `top`:
    /// other runtimes make groups in every hierarchy, and remove no more of them than the last. What is not empty stays.
    pub fn remove_unused(&self, path: &CgroupPath, top: &CgroupPath) {
        let groups = Path::new(path.as_str()).ancestors();
        let ours = groups.skip(1).take_while(|group| group.starts_with(top.as_str()));
        for hierarchy in &self.unused {
            for group in groups.take(1).chain(ours.clone()) {
                // Most likely it is not there.
                if std::fs::remove_dir(hierarchy.join(group)).is_err_and(|e| e.kind() != ErrorKind::NotFound)
                {
                    break;
                }
            }
        }
    }

    /// How the hierarchies are mounted.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The hierarchies in which containers get groups.
    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    /// The version that the controller is bound to; none when the host lacks it.
    pub fn controller(&self, controller: Controller) -> Option<Version> {
        self.shape().version(controller)
    }

    /// Whether a limit of memory and swap together can be set. A v1 host may be booted without
    /// (`swapaccount=0`): then a request for it that is no more than the host's own lack of swap is
    /// the caller's to drop. v2 takes "none" and "unlimited" as given where it has no swap.
    pub fn accounts_swap(&self) -> bool {
        self.hierarchies.iter().filter(|h| h.controllers.has(Controller::Memory)).any(|h| match h.version {
            Version::V1 => h.mount.join("memory.memsw.limit_in_bytes").exists(),
            Version::V2 => true,
        })
    }

    /// What a plan of writes has to know of the host.
    pub(super) fn shape(&self) -> Shape {
        let mut shape = Shape { mode: self.mode, v1: Controllers::NONE, v2: Controllers::NONE };
        for hierarchy in &self.hierarchies {
            match hierarchy.version {
                Version::V1 => shape.v1 = hierarchy.controllers.iter().fold(shape.v1, Controllers::with),
                Version::V2 => shape.v2 = hierarchy.controllers,
            }
        }
        shape
    }
}

/// Which controllers are available in which version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) mode: Mode,
    pub(super) v1: Controllers,
    pub(super) v2: Controllers,
}

impl Shape {
    /// The version that the controller is bound to. v2 has devices, freezing and accounting of
    /// processor time without a controller.
    pub(super) fn version(self, controller: Controller) -> Option<Version> {
        let implicit = matches!(controller, Controller::Devices | Controller::Freezer | Controller::Cpuacct);
        if self.v1.has(controller) {
            Some(Version::V1)
        } else if self.v2.has(controller) || (implicit && self.mode != Mode::V1) {
            Some(Version::V2)
        } else {
            None
        }
    }
}

fn read(path: impl AsRef<Path>) -> Result<String, CgroupError> {
    std::fs::read_to_string(path.as_ref()).map_err(|source| CgroupError::Io {
        action: "read",
        path: path.as_ref().to_owned(),
        source,
    })
}

/// The cgroup mounts in the text of `/proc/self/mountinfo` (proc_pid_mountinfo(5)); for v1 only
/// controllers that `enabled`, the text of `/proc/cgroups`, does not mark as disabled. When a
/// hierarchy is mounted more than once, the mount of its whole tree counts, else the first.
pub fn parse_mounts(mountinfo: &[u8], enabled: Option<&str>) -> Vec<Hierarchy> {
    let disabled = enabled.map(disabled_controllers).unwrap_or_default();
    let mut found: Vec<(String, bool, Hierarchy)> = Vec::new();
    for mount in crate::mount::parse_mountinfo(mountinfo) {
        let (device, whole) = (mount.device.clone(), mount.root == Path::new("/"));
        let Some(mut hierarchy) = hierarchy(mount) else { continue };
        hierarchy.controllers = hierarchy.controllers.without(disabled);
        match found.iter_mut().find(|(other, ..)| *other == device) {
            Some(known) if whole && !known.1 => *known = (device, whole, hierarchy),
            Some(_) => {}
            None => found.push((device, whole, hierarchy)),
        }
    }
    found.into_iter().map(|(_, _, hierarchy)| hierarchy).collect()
}

fn hierarchy(mount: Mounted) -> Option<Hierarchy> {
    let options = || mount.options.split(',');
    let (version, controllers, name) = match &*mount.kind {
        "cgroup" => {
            let name = options().find_map(|o| o.strip_prefix("name=")).map(str::to_owned);
            (Version::V1, Controllers::parse(options()), name)
        }
        "cgroup2" => (Version::V2, Controllers::NONE, None),
        _ => return None,
    };
    Some(Hierarchy { mount: mount.point, version, controllers, name })
}

/// Controllers whose last column in `/proc/cgroups` is 0.
fn disabled_controllers(text: &str) -> Controllers {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let name = fields.next()?;
            (fields.nth(2)? == "0").then(|| Controller::parse(name)).flatten()
        })
        .collect()
}
