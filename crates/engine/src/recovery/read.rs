//! What is on disk about pods.

use std::collections::BTreeSet;
use std::io;

use berth_types::{ContainerId, SandboxId};

use crate::error::EngineError;
use crate::host::layout::PodDir;
use crate::host::record::{self, ContainerRecord, SandboxRecord};
use crate::shared::Shared;

/// What is on disk about a pod.
#[derive(Debug)]
pub(super) struct OnDisk {
    pub(super) sandbox: SandboxRecord,
    pub(super) containers: Vec<ContainerRecord>,
    /// Containers of which no record can be read.
    pub(super) unreadable: Vec<ContainerId>,
}

/// Every pod that has a directory.
pub(super) fn pods(shared: &Shared) -> Result<BTreeSet<SandboxId>, EngineError> {
    let mut ids = BTreeSet::new();
    for dir in [shared.layout.sandboxes(), shared.layout.pods()] {
        let failed = |e| EngineError::system(format!("read {}", dir.display()), e);
        for entry in std::fs::read_dir(&dir).map_err(failed)? {
            // What is not named by an id is not a pod; `doctor` reports it.
            ids.extend(entry.map_err(failed)?.file_name().to_str().and_then(|name| name.parse().ok()));
        }
    }
    Ok(ids)
}

/// Whether an error says that a record is damaged, and not that it cannot be read now.
pub(super) fn is_damaged(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

/// The records of a pod; None when it has none.
pub(super) fn records(dir: &PodDir) -> io::Result<Option<OnDisk>> {
    let Some(sandbox) = record::read_either::<SandboxRecord>(&dir.record(), &dir.record_copy())? else {
        return Ok(None);
    };
    if sandbox.version > record::VERSION {
        let (version, id) = (sandbox.version, sandbox.id.short());
        tracing::warn!(
            sandbox = id,
            version,
            "the record was written by a newer Berth; only what this version knows is used"
        );
    }
    let (mut containers, mut unreadable) = (Vec::new(), Vec::new());
    for id in container_ids(dir)? {
        match record::read_either::<ContainerRecord>(&dir.container_record(&id), &dir.container_copy(&id)) {
            Ok(Some(record)) => containers.push(record),
            // A directory before its record: nothing else was made yet.
            Ok(None) => drop(record::remove(&dir.container(&id))),
            Err(error) => {
                let id_short = id.short();
                tracing::error!(container = id_short, %error, "a container's record cannot be read; the container is left as it is");
                unreadable.push(id);
            }
        }
    }
    Ok(Some(OnDisk { sandbox, containers, unreadable }))
}

/// The containers that a pod has directories or second copies of.
fn container_ids(dir: &PodDir) -> io::Result<BTreeSet<ContainerId>> {
    let mut ids = BTreeSet::new();
    for (dir, suffix) in [(dir.containers(), ""), (dir.run.clone(), ".copy.json")] {
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            // Killed while it removed the pod, or after a restart of the machine.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        for entry in entries {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(suffix)).map(str::parse);
            ids.extend(id.and_then(Result::ok));
        }
    }
    Ok(ids)
}
