//! Groups made by mkdir, below the daemon's own or the caller's.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use berth_sys::cgroup::{self, Cgroup, CgroupPath, Resources};
use berth_types::SandboxId;

use super::{Driver, Placement, PodCgroups, SHIMS, systemd};
use crate::error::EngineError;

/// The time for systemd to remove a scope that is empty.
const FORGET_LIMIT: Duration = Duration::from_secs(2);
/// How often is looked whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Groups made by mkdir, below the daemon's own or the caller's.
#[derive(Debug, Clone)]
pub struct Cgroupfs {
    host: cgroup::Host,
    root: CgroupPath,
    shims: Cgroup,
}

impl Cgroupfs {
    /// On this host; pods without a parent of their own go below `root`.
    ///
    /// # Errors
    /// The group of all shims cannot be made in it.
    pub fn new(host: cgroup::Host, root: CgroupPath) -> Result<Self, EngineError> {
        let failed = |e| EngineError::failed("make the shims' cgroup", e);
        let path = root.child(SHIMS).map_err(failed)?;
        let shims = host.ensure(&path, &Resources::default()).map_err(failed)?;
        Ok(Self { host, root, shims })
    }
}

impl Cgroupfs {
    /// Empties a scope that a daemon made under systemd, which removes it then, and forgets it. Removed before systemd has
    /// looked, it may be made again by it, and stay.
    fn forget(&self, scope: &CgroupPath) -> Result<(), EngineError> {
        super::kill(&self.host, scope)?;
        let deadline = Instant::now() + FORGET_LIMIT;
        let exists = || self.host.open(scope).dirs().iter().any(|dir| dir.exists());
        while exists() && Instant::now() < deadline {
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }
}

impl Placement for Cgroupfs {
    fn driver(&self) -> Driver {
        Driver::Cgroupfs
    }

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

    fn make_pod(
        &self,
        _sandbox: &SandboxId,
        place: &PodCgroups,
        limits: Option<&Resources>,
    ) -> Result<(), EngineError> {
        limits.map_or(Ok(()), |limits| self.make(&place.pod, limits).map(drop))
    }

    fn make(&self, path: &CgroupPath, limits: &Resources) -> Result<Cgroup, EngineError> {
        self.host.create(path, limits).map_err(|e| EngineError::failed(format!("make cgroup {path}"), e))
    }

    fn update(&self, path: &CgroupPath, limits: &Resources) -> Result<(), EngineError> {
        let updated = self.host.open(path).update(limits);
        updated.map_err(|e| EngineError::failed("change the limits", e))
    }

    fn end(&self, path: &CgroupPath) -> Result<(), EngineError> {
        let whole = systemd::whole(path);
        if whole.as_str().ends_with(".scope") && cgroup::Host::has_systemd() {
            self.forget(&whole)?;
        }
        super::end(&self.host, &whole)?;
        self.host.remove_unused(&whole, &self.root);
        Ok(())
    }

    fn make_shim(&self, _sandbox: &SandboxId) -> Result<Cgroup, EngineError> {
        Ok(self.shims.clone())
    }

    /// Nothing has to be done: the group is everybody's.
    fn adopt_shim(&self, _sandbox: &SandboxId, _pid: i32) -> Result<(), EngineError> {
        Ok(())
    }

    /// Nothing has to be done: the group stays.
    fn end_shim(&self, _sandbox: &SandboxId) -> Result<(), EngineError> {
        Ok(())
    }

    /// Nothing has to be done: groups are all that there is.
    fn sweep(&self, _known: &HashSet<SandboxId>) -> Result<(), EngineError> {
        Ok(())
    }
}
