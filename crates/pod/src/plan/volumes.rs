//! Volumes: directories and files of the host that containers mount.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Fault, FaultKind, Faults, absolute, name, wrong};
use crate::manifest::{self, HostPathType, Medium};

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name in the pod.
    pub name: String,
    /// Where it is on the host.
    pub path: PathBuf,
    /// What is checked or made before the first container.
    pub kind: VolumeKind,
}

/// What is checked or made before the first container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeKind {
    /// An empty directory that is removed with the pod.
    Empty,
    /// Something of the host.
    Host(HostPathType),
}

/// The volumes of a pod whose directory is `dir`, without those that have a fault.
pub(super) fn plan(volumes: &[manifest::Volume], dir: &Path, faults: &mut Faults) -> Vec<Volume> {
    let mut seen = BTreeSet::new();
    let mut planned = Vec::with_capacity(volumes.len());
    for (index, volume) in volumes.iter().enumerate() {
        let at = format!("spec.volumes[{index}]");
        let named = name(&format!("{at}.name"), &volume.name, 63, false).and_then(|()| {
            let fresh = seen.insert(&volume.name);
            let twice = || wrong(format!("{at}.name"), format!("duplicate {:?}", volume.name));
            fresh.then_some(()).ok_or_else(twice)
        });
        let named = faults.take(named);
        planned.extend(faults.take(one(volume, &at, dir)).filter(|_| named.is_some()));
    }
    planned
}

fn one(volume: &manifest::Volume, at: &str, dir: &Path) -> Result<Volume, Fault> {
    let (path, kind) = match (&volume.empty_dir, &volume.host_path) {
        (Some(empty), None) => {
            if empty.medium == Medium::Memory {
                return Err((format!("{at}.emptyDir.medium"), FaultKind::Later));
            }
            if empty.size_limit.is_some() {
                return Err((format!("{at}.emptyDir.sizeLimit"), FaultKind::Later));
            }
            (dir.join("volumes").join(&volume.name), VolumeKind::Empty)
        }
        (None, Some(host)) => {
            (absolute(&format!("{at}.hostPath.path"), &host.path)?, VolumeKind::Host(host.kind))
        }
        (Some(_), Some(_)) => return Err(wrong(at, "a volume has either emptyDir or hostPath, not both")),
        // As Kubernetes defaults it.
        (None, None) => (dir.join("volumes").join(&volume.name), VolumeKind::Empty),
    };
    Ok(Volume { name: volume.name.clone(), path, kind })
}
