//! `pause` and `resume`.

use std::time::{Duration, Instant};

use berth_sys::cgroup::Cgroup;

use crate::OciError;
use crate::record::Status;
use crate::store::Store;

/// How long the processes of a container may take to stop where they are.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);

pub(super) fn pause(store: &Store, id: &str) -> Result<(), OciError> {
    let (locked, record) = store.locked(id)?;
    match locked.status(&record)? {
        Status::Created | Status::Running => {}
        status => {
            let needed = "created or running";
            return Err(OciError::State { verb: "pause", id: id.to_owned(), status, needed });
        }
    }
    Ok(Cgroup::from_dirs(record.cgroups).freeze(Instant::now() + FREEZE_LIMIT)?)
}

pub(super) fn resume(store: &Store, id: &str) -> Result<(), OciError> {
    let (locked, record) = store.locked(id)?;
    match locked.status(&record)? {
        Status::Paused => Ok(Cgroup::from_dirs(record.cgroups).thaw()?),
        status => Err(OciError::State { verb: "resume", id: id.to_owned(), status, needed: "paused" }),
    }
}
