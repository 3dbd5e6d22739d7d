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
    Ok(record.group()?.with(|group| group.freeze(Instant::now() + FREEZE_LIMIT))?)
}

/// Also where a pause was cut off, which leaves some processes stopped and some not.
pub(super) fn resume(store: &Store, id: &str) -> Result<(), OciError> {
    let (locked, record) = store.locked(id)?;
    let status = locked.status(&record)?;
    let group = record.group()?;
    if status == Status::Paused || status != Status::Stopped && group.with(Cgroup::is_to_freeze)? {
        return Ok(group.with(Cgroup::thaw)?);
    }
    Err(OciError::State { verb: "resume", id: id.to_owned(), status, needed: "paused" })
}
