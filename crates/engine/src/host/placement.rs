//! The seam between the engine and what makes cgroups: where pods, containers and shims lie.
//!
//! ```text
//! of_pod -> make_pod -> [ make -> update -> end ] -> end of the pod's own
//! make_shim -> (the shim is born in it) -> adopt_shim -> end_shim
//! ```
//!
//! Two programs may be the host's manager of cgroups: this one itself ([`Cgroupfs`]) or systemd ([`Systemd`]), which hands a
//! part of its hierarchy over for each pod. In both, a container's group is made and changed by this program alone. Why groups
//! lie where they do is in docs/adr/0010.

mod cgroupfs;
mod systemd;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_sys::cgroup::{self, Cgroup, CgroupPath, Mode, Resources};
use berth_types::SandboxId;

pub use cgroupfs::Cgroupfs;
pub use systemd::Slice;
use systemd::Systemd;

use crate::config::{CgroupDriver, EngineConfig};
use crate::error::EngineError;
use crate::shim::spawn::Program;

/// The time for the processes of one cgroup to die.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// Who manages the host's cgroups, as a kubelet has to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// This program, by mkdir.
    Cgroupfs,
    /// systemd.
    Systemd,
}

impl Driver {
    /// The kubelet's word.
    pub fn name(self) -> &'static str {
        match self {
            Driver::Cgroupfs => "cgroupfs",
            Driver::Systemd => "systemd",
        }
    }
}

/// A pod's place among the cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodCgroups {
    /// The pod's own; made only when something lives in it.
    pub pod: CgroupPath,
    /// What containers' cgroups are made in.
    pub parent: CgroupPath,
}

impl PodCgroups {
    /// The group of the pod's own kernel, where its handler has one.
    ///
    /// # Errors
    /// It cannot have that name.
    pub(crate) fn kernel(&self, sandbox: &SandboxId) -> Result<CgroupPath, EngineError> {
        let child = self.parent.child(&format!("{KERNEL}{sandbox}"));
        child.map_err(|e| EngineError::failed("name the kernel's cgroup", e))
    }
}

/// What the name of the group of a pod's own kernel begins with; the pod's id follows.
pub(crate) const KERNEL: &str = "kernel-";

/// Where cgroups lie and who makes them. Methods block, but for [`Placement::driver`] and [`Placement::of_pod`].
pub trait Placement: fmt::Debug + Send + Sync {
    /// Whose hierarchy it is.
    fn driver(&self) -> Driver;

    /// The place of a new pod. A parent that the caller gives is the caller's: what the pod has is made in it, as its tools
    /// expect, and nothing is made beside it.
    ///
    /// # Errors
    /// The parent is not one of this placement's names.
    fn of_pod(&self, sandbox: &SandboxId, parent: Option<&str>) -> Result<PodCgroups, EngineError>;

    /// Makes what the groups of a pod are made in; with `limits`, the pod's own group too.
    ///
    /// # Errors
    /// The step or limit that is refused; [`Placement::end`] of the pod's own group undoes the rest.
    fn make_pod(
        &self,
        sandbox: &SandboxId,
        place: &PodCgroups,
        limits: Option<&Resources>,
    ) -> Result<(), EngineError>;

    /// Makes the group that a container's process is born in, with its limits.
    ///
    /// # Errors
    /// The step or limit that the kernel refuses.
    fn make(&self, path: &CgroupPath, limits: &Resources) -> Result<Cgroup, EngineError>;

    /// Changes the limits of an existing container.
    ///
    /// # Errors
    /// The limit that the kernel refuses; those before it are set.
    fn update(&self, path: &CgroupPath, limits: &Resources) -> Result<(), EngineError>;

    /// Kills everything in a group and removes it; with a pod's own group, everything that was made for the pod. Succeeds
    /// when it does not exist.
    ///
    /// # Errors
    /// Something does not die in 10 s, or the group cannot be removed.
    fn end(&self, path: &CgroupPath) -> Result<(), EngineError>;

    /// The group that the shim of a pod is born in.
    ///
    /// # Errors
    /// It cannot be made.
    fn make_shim(&self, sandbox: &SandboxId) -> Result<Cgroup, EngineError>;

    /// The shim runs in its group.
    ///
    /// # Errors
    /// The manager does not take it.
    fn adopt_shim(&self, sandbox: &SandboxId, pid: i32) -> Result<(), EngineError>;

    /// The shim of a pod has ended: nothing is left of its group.
    ///
    /// # Errors
    /// As [`Placement::end`].
    fn end_shim(&self, sandbox: &SandboxId) -> Result<(), EngineError>;

    /// Ends what the manager alone knows of pods that are not among these. Their groups have been ended.
    ///
    /// # Errors
    /// As [`Placement::end`].
    fn sweep(&self, known: &HashSet<SandboxId>) -> Result<(), EngineError>;
}

/// The places of one instance under either manager. What a daemon made under another manager than today's is found, too.
#[derive(Debug, Clone)]
pub(crate) struct Roots {
    cgroupfs: CgroupPath,
    slice: Slice,
}

/// The leaf below cgroupfs' root that shims live in.
const SHIMS: &str = "shims";

impl Roots {
    pub(crate) fn of(config: &EngineConfig) -> Result<Self, EngineError> {
        let failed = |e| EngineError::failed("the instance's cgroup", e);
        let cgroupfs = CgroupPath::new(&config.cgroup_root).map_err(failed)?;
        cgroupfs.child(SHIMS).map_err(failed)?;
        let slice = Slice::parse(&config.cgroup_slice);
        let slice = slice.map_err(|why| EngineError::invalid("the instance's slice", why))?;
        Ok(Self { cgroupfs, slice })
    }

    /// Every group that belongs to the instance alone.
    pub(crate) fn all(&self) -> [CgroupPath; 2] {
        [self.cgroupfs.clone(), self.slice.path()]
    }

    /// Every group that shims live in or below.
    pub(crate) fn shims(&self) -> [CgroupPath; 2] {
        let leaf = self.cgroupfs.child(SHIMS).expect("it was named when the roots were read");
        [leaf, systemd::shims(&self.slice).path()]
    }

    /// Every group that is named by a pod of this instance: the children of the roots, and scopes wherever they lie. Found
    /// in the hierarchy itself, so that neither a record nor the manager is needed.
    pub(crate) fn groups(&self, host: &cgroup::Host) -> HashMap<CgroupPath, SandboxId> {
        let mut found: HashMap<_, _> = self.scopes(host).into_iter().collect();
        for root in self.all() {
            let names = host.open(&root).dirs().into_iter().flat_map(|dir| children(&dir));
            found.extend(names.filter_map(|name| Some((root.child(&name).ok()?, self.pod_of(&name)?))));
        }
        found
    }

    /// The scopes of pods and their shims, in whichever slice; none where systemd does not run.
    pub(crate) fn scopes(&self, host: &cgroup::Host) -> Vec<(CgroupPath, SandboxId)> {
        match host.hierarchies() {
            [alone] if host.mode() == Mode::V2 && cgroup::Host::has_systemd() => {
                systemd::scopes(&alone.mount, &self.slice)
            }
            _ => Vec::new(),
        }
    }

    /// The pod of this instance that a child of one of the roots is named by.
    pub(crate) fn pod_of(&self, name: &str) -> Option<SandboxId> {
        name.parse().ok().or_else(|| systemd::own(&self.slice, name))
    }

    /// Whether a child of one of the roots is there for all pods, or is the pod's of another instance, which a caller put
    /// there.
    pub(crate) fn is_shared(&self, name: &str) -> bool {
        let others = systemd::pod_of(name).is_some() && systemd::own(&self.slice, name).is_none();
        name == SHIMS || name == systemd::shims(&self.slice).name() || others
    }
}

/// The manager of this host's cgroups.
///
/// # Errors
/// The configuration names one that the host does not have.
pub(crate) fn choose(choice: CgroupDriver, host: &cgroup::Host) -> Result<Driver, EngineError> {
    let runs = cgroup::Host::has_systemd();
    match (choice, host.mode()) {
        (CgroupDriver::Cgroupfs, _) => Ok(Driver::Cgroupfs),
        (CgroupDriver::Auto, Mode::V2) if runs => Ok(Driver::Systemd),
        (CgroupDriver::Auto, _) => Ok(Driver::Cgroupfs),
        (CgroupDriver::Systemd, _) if !runs => Err(EngineError::unsupported(
            "cgroup-driver systemd",
            "systemd is not the first process of this host",
        )),
        (CgroupDriver::Systemd, Mode::V2) => Ok(Driver::Systemd),
        (CgroupDriver::Systemd, Mode::V1 | Mode::Hybrid) => Err(EngineError::unsupported(
            "cgroup-driver systemd",
            "it needs cgroup v2 alone, and this host has cgroup v1 (boot with systemd.unified_cgroup_hierarchy=1, or leave the driver out)",
        )),
    }
}

/// The placement under that manager.
pub(crate) fn open(
    driver: Driver,
    host: &cgroup::Host,
    roots: &Roots,
    program: Arc<Program>,
) -> Result<Arc<dyn Placement>, EngineError> {
    Ok(match driver {
        Driver::Cgroupfs => Arc::new(Cgroupfs::new(host.clone(), roots.cgroupfs.clone())?),
        Driver::Systemd => Arc::new(Systemd::new(host.clone(), roots.slice.clone(), program)),
    })
}

/// The names of what is in a group's directory; none where it does not exist.
fn children(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Kills everything in a group and removes it. Succeeds when it does not exist.
fn end(host: &cgroup::Host, path: &CgroupPath) -> Result<(), EngineError> {
    kill(host, path)?;
    remove(host, path)
}

fn kill(host: &cgroup::Host, path: &CgroupPath) -> Result<(), EngineError> {
    let cgroup = host.open(path);
    if !cgroup.dirs().iter().any(|dir| dir.exists()) {
        return Ok(());
    }
    cgroup
        .kill_all(Instant::now() + KILL_LIMIT)
        .map_err(|e| EngineError::failed(format!("kill the processes of {path}"), e))
}

fn remove(host: &cgroup::Host, path: &CgroupPath) -> Result<(), EngineError> {
    host.open(path).remove().map_err(|e| EngineError::failed(format!("remove cgroup {path}"), e))
}

#[cfg(test)]
mod tests;
