//! The pod's place among the cgroups.

use berth_sys::cgroup::CgroupPath;
use berth_types::{ContainerId, SandboxId};

use crate::config::CgroupDriver;
use crate::error::EngineError;
use crate::model::SandboxConfig;
use crate::shared::Shared;

/// The pod's place among the cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodCgroups {
    /// The pod's own; made only when something lives in it.
    pub(crate) pod: CgroupPath,
    /// What containers' cgroups are made in.
    pub(crate) parent: CgroupPath,
}

/// The place of a new pod. A parent that the caller gives is the caller's: the containers are made directly in it, as
/// its tools expect, and nothing is made beside it.
pub(crate) fn of_pod(
    shared: &Shared,
    id: &SandboxId,
    config: &SandboxConfig,
) -> Result<PodCgroups, EngineError> {
    let failed = |e| EngineError::failed("cgroup_parent", e);
    match config.cgroup_parent.as_deref().filter(|p| !p.trim_matches('/').is_empty()) {
        Some(parent) => {
            let base = parent.rsplit('/').find(|part| !part.is_empty()).unwrap_or_default();
            let slice = shared.config.cgroup_driver == CgroupDriver::Systemd && base.ends_with(".slice");
            let parent = if slice {
                berth_sys::cgroup::systemd::slice_path(base).map_err(failed)?
            } else {
                CgroupPath::new(parent).map_err(failed)?
            };
            Ok(PodCgroups { pod: parent.child(id.as_str()).map_err(failed)?, parent })
        }
        None => {
            let root = CgroupPath::new(&shared.config.cgroup_root).map_err(failed)?;
            let pod = root.child(id.as_str()).map_err(failed)?;
            Ok(PodCgroups { parent: pod.clone(), pod })
        }
    }
}

/// The group of a container in its pod's.
pub(crate) fn of_container(
    shared: &Shared,
    parent: &CgroupPath,
    id: &ContainerId,
) -> Result<CgroupPath, EngineError> {
    let failed = |e| EngineError::failed("name the container's cgroup", e);
    let base = parent.as_str().rsplit('/').next().unwrap_or_default();
    if shared.config.cgroup_driver == CgroupDriver::Systemd && base.ends_with(".slice") {
        return berth_sys::cgroup::systemd::scope_path(base, "cri-berth", id.as_str()).map_err(failed);
    }
    parent.child(id.as_str()).map_err(failed)
}
