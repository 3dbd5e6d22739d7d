//! Changing the limits of a container that has processes.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::fd::OwnedFd;

use berth_sys::cgroup::{Cgroup, CgroupPath};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::error::EngineError;
use crate::oci::resources::Change;
use crate::shared::Shared;

/// The most looks for processes that were forked while the others got their score.
const LOOKS: usize = 16;

/// Puts a change in force. When a part of it is refused, what was in force before is written back.
pub(crate) fn apply(shared: &Shared, path: &CgroupPath, change: &Change) -> Result<(), EngineError> {
    let set = shared.placement.update(path, &change.set).and_then(|()| {
        change.score.map_or(Ok(()), |score| {
            let set = set_score(&shared.cgroups.open(path), score.now);
            set.map_err(|e| EngineError::system("set the out-of-memory score", e))
        })
    });
    if set.is_err() {
        take_back(shared, path, change);
    }
    set
}

/// Writes back what was in force before a change.
pub(crate) fn take_back(shared: &Shared, path: &CgroupPath, change: &Change) {
    if let Err(error) = shared.placement.update(path, &change.undo) {
        let error = berth_types::error::chain(&error);
        tracing::warn!(error, "failed to roll back the limits of a refused update");
    }
    if let Some(Err(error)) = change.score.map(|score| set_score(&shared.cgroups.open(path), score.before)) {
        tracing::warn!(%error, "failed to roll back an out-of-memory score");
    }
}

/// Gives every process of the group a score. Looks again until none is new: a child has the score that its parent
/// had when it was forked.
fn set_score(cgroup: &Cgroup, score: i32) -> std::io::Result<()> {
    let pids = || cgroup.pids().map_err(std::io::Error::other);
    let mut done = BTreeSet::new();
    for _ in 0..LOOKS {
        let fresh: Vec<Pid> =
            pids()?.into_iter().filter(|pid| !done.contains(&pid.as_raw_nonzero())).collect();
        if fresh.is_empty() {
            break;
        }
        let open: Vec<_> = fresh.iter().filter_map(|pid| Some((*pid, directory(*pid)?))).collect();
        // A number that is still the group's was the group's when its directory was opened, or belongs to a
        // process that has ended since, to which nothing can be written.
        let still: BTreeSet<_> = pids()?.iter().map(|pid| pid.as_raw_nonzero()).collect();
        for (pid, directory) in open.iter().filter(|(pid, _)| still.contains(&pid.as_raw_nonzero())) {
            write_score(directory, score)?;
            done.insert(pid.as_raw_nonzero());
        }
    }
    Ok(())
}

fn directory(pid: Pid) -> Option<OwnedFd> {
    let path = format!("/proc/{}", pid.as_raw_nonzero());
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()
}

fn write_score(process: &OwnedFd, score: i32) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let written = rustix::fs::openat(process, "oom_score_adj", flags, Mode::empty())
        .map_err(std::io::Error::from)
        .and_then(|file| std::fs::File::from(file).write_all(score.to_string().as_bytes()));
    match written {
        // One that has ended needs no score.
        Err(e)
            if [Some(Errno::SRCH.raw_os_error()), Some(Errno::NOENT.raw_os_error())]
                .contains(&e.raw_os_error()) =>
        {
            Ok(())
        }
        other => other,
    }
}
