//! `delete`: ends what is left of a container and forgets it. Every step succeeds where nothing is left, so it can be repeated.

use std::os::fd::AsFd as _;
use std::time::Instant;

use berth_container::hook;
use berth_sys::cgroup::Held;
use berth_types::hook::At;
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
    let mut record = match container.load() {
        // A create that was killed at its very beginning, or a delete at its very end.
        Err(OciError::NotFound { .. }) => return container.remove(),
        record => record?,
    };
    if !force && let status @ (Status::Running | Status::Paused) = locked.status(&record)? {
        return Err(OciError::State { verb: "delete", id: id.to_owned(), status, needed: "stopped" });
    }
    destroy(container, &mut record, log)
}

/// Kills, removes, and tells the hooks.
pub(super) fn destroy(container: &Container, record: &mut Record, log: &Log) -> Result<(), OciError> {
    let group = record.group()?;
    end(record, &group)?;
    group.remove()?;
    if record.cgroup_numbers.is_empty() {
        // A create that was killed may have made them, but nothing in them.
        record.cgroups.iter().for_each(|dir| drop(std::fs::remove_dir(dir)));
    }
    if !record.poststop_ran && !record.hooks.poststop.is_empty() {
        let state = record.state(Status::Stopped, 0);
        // The specification has the others go on.
        for error in hooks::run_all(At::Poststop, &hook::of_spec(&record.hooks.poststop), &state)? {
            log.warn(&berth_types::error::chain(&error));
        }
        record.poststop_ran = true;
        container.save(record)?;
    }
    container.remove()
}

/// Ends all processes. The first by its own descriptor: it may have been moved out of the cgroup.
pub(super) fn end(record: &Record, group: &Held) -> Result<(), OciError> {
    let io = OciError::system("end the container's process");
    let first = record.open()?;
    if let Some(pidfd) = &first {
        match pidfd_send_signal(pidfd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(e) => return Err(io(e.into())),
        }
    }
    // A v1 freezer keeps also what was killed; the cgroup's own kill thaws it.
    group.with(|group| group.kill_all(Instant::now() + KILL_LIMIT))?;
    let Some(pidfd) = first else { return Ok(()) };
    let limit = Timespec::try_from(KILL_LIMIT).map_err(|_| io(std::io::ErrorKind::InvalidInput.into()))?;
    if has_ended(pidfd.as_fd(), limit).map_err(&io)? {
        return Ok(());
    }
    Err(io(std::io::Error::other(format!("it has not ended within {} seconds", KILL_LIMIT.as_secs()))))
}
