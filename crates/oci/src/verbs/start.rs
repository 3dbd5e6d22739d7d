//! `start`: lets a container's process become its program.

use std::os::fd::AsFd as _;

use berth_container::plan;
use berth_container::run;
use berth_sys::cgroup::Cgroup;
use berth_sys::fs::read_bounded;

use super::seal;
use crate::log::Log;
use crate::record::{Phase, Record, Status};
use crate::store::{Container, Store};
use crate::{OciError, bundle, hooks};

pub(super) fn start(store: &Store, id: &str, log: &Log) -> Result<(), OciError> {
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
        inside(container, &record)?;
    }
    let door = container.knock()?.ok_or_else(|| wrong(Status::Running))?;
    let started = run::start_at(door.as_fd(), record.command.as_bytes());
    record.phase = Phase::Started;
    container.save(&record)?;
    started?;
    let state = record.state(Status::Running, record.pid());
    if let Err(error) = hooks::run_here("poststart", &record.hooks.poststart, &state) {
        // The specification has the container go on.
        log.warn(&berth_types::error::chain(&error));
    }
    Ok(())
}

/// The hooks that run in the container, as its process will.
fn inside(container: &Container, record: &Record) -> Result<(), OciError> {
    let path = container.config();
    let json = read_bounded(&path, plan::MAX_SPEC as u64).map_err(OciError::io("read", &path))?;
    let spec = plan::parse(&json)?;
    let process = spec.process().as_ref().ok_or_else(|| OciError::invalid("process", "there is none"))?;
    let inputs = plan::Inputs { seccomp: bundle::filter(&spec)?, ..plan::Inputs::default() };
    let process = plan::process(process, &inputs, bundle::has_user_namespace(&spec))?;
    let target = record.process.map(|p| p.open()).transpose();
    let target = target.map_err(OciError::system("look for the container's process"))?.flatten();
    let target =
        target.ok_or_else(|| OciError::NotRunning { id: record.id.clone(), status: Status::Stopped })?;
    let join = Cgroup::from_dirs(record.cgroups.clone()).join()?;
    let state = record.state(Status::Created, record.pid());
    hooks::run_inside(
        "startContainer",
        &record.hooks.start_container,
        &state,
        (&process, target.as_fd(), &join),
    )
}
