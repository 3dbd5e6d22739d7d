//! `start`: lets a container's process become its program.

use std::os::fd::AsFd as _;

use berth_container::hook::{self, Place, pid_inside};
use berth_container::run;
use berth_sys::cgroup::Cgroup;
use berth_sys::signal::SignalFd;
use berth_types::hook::At;

use super::{delete, seal};
use crate::log::Log;
use crate::record::{Phase, Record, Status};
use crate::store::{Container, Store};
use crate::{OciError, bundle, hooks};

/// Starts it. Those of `signals` that end a program interrupt a hook.
pub(super) fn start(store: &Store, id: &str, signals: Option<&SignalFd>, log: &Log) -> Result<(), OciError> {
    let (locked, mut record) = store.locked(id)?;
    let container = &locked.container;
    let wrong = |status| OciError::State { verb: "start", id: id.to_owned(), status, needed: "created" };
    match locked.status(&record)? {
        Status::Created => {}
        status => return Err(wrong(status)),
    }
    if !record.hooks.start_container.is_empty() {
        // A hook's path may lead to this program.
        seal(log)?;
        if let Err(error) = inside(container, &record, signals) {
            record.phase = Phase::Started;
            return Err(stopped(container, &record, error, log));
        }
    }
    let door = container.enter()?.ok_or_else(|| wrong(Status::Running))?;
    let started = run::start_at(door.as_fd(), record.command.as_bytes());
    record.phase = Phase::Started;
    container.save(&record)?;
    started?;
    let state = record.state(Status::Running, record.pid());
    let poststart = hook::of_spec(&record.hooks.poststart);
    let run = hooks::run(At::Poststart, &poststart, Place::Here, &state, signals);
    run.map_err(|error| stopped(container, &record, error, log))
}

/// A hook failed: the specification has the container be stopped, and whoever waits for its end learns of it.
fn stopped(container: &Container, record: &Record, error: OciError, log: &Log) -> OciError {
    let ended = container.save(record).and_then(|()| delete::end(record, &record.group()?));
    if let Err(error) = ended {
        log.warn(&berth_types::error::chain(&error));
    }
    error
}

/// The hooks that run in the container, as its process will.
fn inside(container: &Container, record: &Record, signals: Option<&SignalFd>) -> Result<(), OciError> {
    let (spec, _) = bundle::read_config(&container.config())?;
    let process = spec.process().as_ref().ok_or_else(|| OciError::invalid("process", "there is none"))?;
    let process = bundle::further_process(&spec, process)?;
    let target = record
        .open()?
        .ok_or_else(|| OciError::NotRunning { id: record.id.clone(), status: Status::Stopped })?;
    let join = record.group()?.with(Cgroup::join)?;
    let state = record.state(Status::Created, pid_inside(record.pid()));
    let list = hook::of_spec(&record.hooks.start_container);
    let place = Place::Inside { process: &process, target: target.as_fd(), join: &join };
    hooks::run(At::StartContainer, &list, place, &state, signals)
}
