//! `delete`: ends what is left of a container and forgets it. Every step succeeds where nothing is left, so it can be repeated.

use std::os::fd::AsFd as _;
use std::time::Instant;

use berth_sys::cgroup::Cgroup;
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use super::create::KILL_LIMIT;
use crate::identity::has_ended;
use crate::log::Log;
use crate::record::{Record, Status};
use crate::store::{Container, Store};
use crate::{OciError, hooks};

pub(super) fn delete(store: &Store, id: &str, force: bool, log: &Log) -> Result<(), OciError> {
    let locked = match store.open(id).and_then(Container::lock) {
        Err(OciError::NotFound { .. }) if force => return Ok(()),
        locked => locked?,
    };
    let container = &locked.container;
    let record = match container.load() {
        // A create that was killed at its very beginning.
        Err(OciError::NotFound { .. }) if force => return container.remove(),
        record => record?,
    };
    match locked.status(&record)? {
        status @ (Status::Running | Status::Paused) if !force => {
            return Err(OciError::State { verb: "delete", id: id.to_owned(), status, needed: "stopped" });
        }
        _ => {}
    }
    destroy(container, &record, log)
}

/// Kills, removes, and tells the hooks.
pub(super) fn destroy(container: &Container, record: &Record, log: &Log) -> Result<(), OciError> {
    let cgroup = Cgroup::from_dirs(record.cgroups.clone());
    end_first(record)?;
    cgroup.kill_all(Instant::now() + KILL_LIMIT)?;
    cgroup.remove()?;
    if let Err(error) = hooks::run_here("poststop", &record.hooks.poststop, &record.state(Status::Stopped, 0))
    {
        // The specification has the others go on.
        log.warn(&berth_types::error::chain(&error));
    }
    container.remove()
}

/// By its own descriptor: it may have been moved out of the cgroup.
fn end_first(record: &Record) -> Result<(), OciError> {
    let io = OciError::system("end the container's process");
    let Some(pidfd) = record.process.map(|p| p.open()).transpose().map_err(&io)?.flatten() else {
        return Ok(());
    };
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(e) => return Err(io(e.into())),
    }
    // A v1 freezer keeps also what was killed; the cgroup's own kill thaws it.
    Cgroup::from_dirs(record.cgroups.clone()).kill_all(Instant::now() + KILL_LIMIT)?;
    let limit = Timespec::try_from(KILL_LIMIT).map_err(|_| io(std::io::ErrorKind::InvalidInput.into()))?;
    if has_ended(pidfd.as_fd(), limit).map_err(&io)? {
        return Ok(());
    }
    Err(io(std::io::Error::other(format!("it has not ended within {} seconds", KILL_LIMIT.as_secs()))))
}
