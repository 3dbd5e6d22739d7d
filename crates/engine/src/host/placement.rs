//! The seam between the engine and what makes cgroups: where pods and containers lie, and when their limits are set.
//!
//! ```text
//! of_pod -> make_pod -> [ of_container -> before -> (the shim prepares the process) -> after -> start ] -> end
//! ```
//!
//! cgroupfs makes a group with its limits before there is a process. systemd makes a scope around a process that
//! exists, so its limits come after: a prepared process waits for both. Why groups lie where they do is in
//! docs/adr/0010.

use std::fmt;
use std::time::{Duration, Instant};

use berth_sys::cgroup::{self, Cgroup, CgroupPath, Resources};
use berth_types::{ContainerId, SandboxId};

use crate::error::EngineError;

/// The time for the processes of one cgroup to die.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// A pod's place among the cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodCgroups {
    /// The pod's own; made only when something lives in it.
    pub pod: CgroupPath,
    /// What containers' cgroups are made in.
    pub parent: CgroupPath,
}

/// Where cgroups lie and who makes them. Methods block.
pub trait Placement: fmt::Debug + Send + Sync {
    /// The place of a new pod. A parent that the caller gives is the caller's: the containers are made directly in it, as
    /// its tools expect, and nothing is made beside it.
    ///
    /// # Errors
    /// The parent is not one of this placement's names.
    fn of_pod(&self, sandbox: &SandboxId, parent: Option<&str>) -> Result<PodCgroups, EngineError>;

    /// The group of a container in its pod's.
    ///
    /// # Errors
    /// The parent is not one of this placement's names.
    fn of_container(&self, parent: &CgroupPath, container: &ContainerId) -> Result<CgroupPath, EngineError>;

    /// Makes the group that a process is born in; limits that need no process are set.
    ///
    /// # Errors
    /// The step or limit that the kernel refuses.
    fn before(&self, path: &CgroupPath, limits: &Resources) -> Result<Cgroup, EngineError>;

    /// Whether [`Placement::after`] is needed.
    fn needs_process(&self) -> bool;

    /// The container's process is prepared and waits in its group: what needs a process is done.
    ///
    /// # Errors
    /// As [`Placement::before`].
    fn after(&self, path: &CgroupPath, pid: i32, limits: &Resources) -> Result<(), EngineError>;

    /// Changes the limits of an existing container.
    ///
    /// # Errors
    /// The limit that the kernel refuses; those before it are set.
    fn update(&self, path: &CgroupPath, limits: &Resources) -> Result<(), EngineError>;

    /// Kills everything in a group and removes it; succeeds when it does not exist.
    ///
    /// # Errors
    /// Something does not die in 10 s, or the group cannot be removed.
    fn end(&self, path: &CgroupPath) -> Result<(), EngineError>;
}

/// Groups made by mkdir, below the daemon's own or the caller's.
#[derive(Debug, Clone)]
pub struct Cgroupfs {
    host: cgroup::Host,
    root: CgroupPath,
}

impl Cgroupfs {
    /// On this host; pods without a parent of their own go below `root`.
    pub fn new(host: cgroup::Host, root: CgroupPath) -> Self {
        Self { host, root }
    }
}

impl Placement for Cgroupfs {
    fn of_pod(&self, sandbox: &SandboxId, parent: Option<&str>) -> Result<PodCgroups, EngineError> {
        let failed = |e| EngineError::failed("cgroup_parent", e);
        match parent.filter(|parent| !parent.trim_matches('/').is_empty()) {
            Some(parent) => {
                let parent = CgroupPath::new(parent).map_err(failed)?;
                Ok(PodCgroups { pod: parent.child(sandbox.as_str()).map_err(failed)?, parent })
            }
            None => {
                let pod = self.root.child(sandbox.as_str()).map_err(failed)?;
                Ok(PodCgroups { parent: pod.clone(), pod })
            }
        }
    }

    fn of_container(&self, parent: &CgroupPath, container: &ContainerId) -> Result<CgroupPath, EngineError> {
        parent.child(container.as_str()).map_err(|e| EngineError::failed("name the container's cgroup", e))
    }

    fn before(&self, path: &CgroupPath, limits: &Resources) -> Result<Cgroup, EngineError> {
        self.host.create(path, limits).map_err(|e| EngineError::failed(format!("make cgroup {path}"), e))
    }

    fn needs_process(&self) -> bool {
        false
    }

    /// Nothing has to be done.
    fn after(&self, _path: &CgroupPath, _pid: i32, _limits: &Resources) -> Result<(), EngineError> {
        Ok(())
    }

    fn update(&self, path: &CgroupPath, limits: &Resources) -> Result<(), EngineError> {
        let updated = self.host.open(path).update(limits);
        updated.map_err(|e| EngineError::failed("change the limits", e))
    }

    fn end(&self, path: &CgroupPath) -> Result<(), EngineError> {
        let cgroup = self.host.open(path);
        if !cgroup.dirs().iter().any(|dir| dir.exists()) {
            return Ok(());
        }
        cgroup
            .kill_all(Instant::now() + KILL_LIMIT)
            .map_err(|e| EngineError::failed(format!("kill the processes of {path}"), e))?;
        cgroup.remove().map_err(|e| EngineError::failed(format!("remove cgroup {path}"), e))
    }
}
