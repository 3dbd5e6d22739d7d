//! Removing a container: killed if it runs, then its snapshot, cgroup and records. Its log stays.

use std::sync::Arc;
use std::time::Duration;

use berth_types::ContainerId;
use berth_types::lifecycle::container::{Event, State};
use berth_types::shim::Request;

use super::lookup::refused;
use super::owner::Owner;
use super::{Report, Waiter};
use crate::error::EngineError;
use crate::record;
use crate::shared::Shared;
use crate::shim::Shim;

const FORGET_LIMIT: Duration = Duration::from_secs(10);

impl Owner {
    /// Somebody asks to remove a container.
    pub(crate) fn remove_container(&mut self, id: &ContainerId, reply: Waiter<()>) {
        let container = match self.container(id) {
            Ok(container) => container,
            Err(error) => return self.answer(reply, Err(error)),
        };
        match container.state {
            // Nobody was told its id yet.
            State::Creating => {
                let error = refused(container, Event::Remove);
                self.answer(reply, Err(error));
            }
            // The process waits before its execve; its end brings the removal about.
            State::Created => {
                container.work.removing.get_or_insert_default().push(reply);
                self.end_soon(id, Duration::ZERO, None);
            }
            State::Starting | State::Running | State::Stopping { .. } | State::Unknown => {
                container.apply(Event::Remove).expect("the table takes the removal of what may run");
                container.work.removing.get_or_insert_default().push(reply);
                self.end_soon(id, Duration::ZERO, None);
            }
            State::Exited | State::Removing => {
                let begun = container.state == State::Removing && container.work.removing.is_some();
                container.apply(Event::Remove).expect("the table takes the removal of what has ended");
                container.work.removing.get_or_insert_default().push(reply);
                if !begun {
                    self.begin_removal(id);
                }
            }
            State::Gone => self.answer(reply, Ok(())),
        }
    }

    /// What follows the end of a container.
    pub(crate) fn follow_end(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if container.state == State::Exited && container.work.removing.is_some() {
            container.apply(Event::Remove).expect("the table takes the removal of what has ended");
        }
        if container.state == State::Removing {
            container.work.removing.get_or_insert_default();
            self.begin_removal(id);
        }
    }

    fn begin_removal(&mut self, id: &ContainerId) {
        let shim = self.link.shim.clone();
        let Some(container) = self.containers.get(id) else { return };
        let cgroup = container.facts.as_ref().map(|facts| facts.cgroup.clone());
        let (shared, sandbox, id) = (Arc::clone(&self.desk.shared), self.id.clone(), id.clone());
        self.desk.spawn(async move {
            let result = files(&shared, shim, &id, cgroup, shared.layout.pod(&sandbox).container(&id)).await;
            Report::Removed(id, result)
        });
    }

    /// Its files are removed, or not all of them: then removing may be asked for again.
    pub(crate) fn is_removed(&mut self, id: &ContainerId, result: &Result<(), EngineError>) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let waiters = container.work.removing.take().unwrap_or_default();
        if result.is_ok() {
            container.apply(Event::Removed).expect("a removal was in flight");
            self.containers.remove(id);
        }
        self.answer_all(waiters, result);
    }
}

/// Removes everything that a container has, going on past failures; the first is the answer.
pub(crate) async fn files(
    shared: &Arc<Shared>,
    shim: Option<Shim>,
    id: &ContainerId,
    cgroup: Option<berth_sys::cgroup::CgroupPath>,
    dir: std::path::PathBuf,
) -> Result<(), EngineError> {
    if let Some(shim) = shim {
        // A shim that does not know it any more has nothing to forget.
        drop(shim.ask(Request::Forget { container: id.clone() }, Vec::new(), FORGET_LIMIT).await);
    }
    let snapshot = shared
        .images
        .remove_snapshot(id)
        .await
        .map_err(|e| EngineError::failed("remove the container's snapshot", e));
    let cgroups = shared.cgroups.clone();
    let rest = Shared::blocking(move || {
        let cgroup = match cgroup {
            Some(path) => cgroups.open(&path).remove(),
            None => Ok(()),
        };
        // The record goes last: as long as it is there, removal is tried again.
        cgroup.map_err(|e| EngineError::failed("remove the container's cgroup", e))?;
        record::remove(&dir).map_err(|e| EngineError::system("remove the container's directory", e))
    });
    match snapshot {
        Ok(()) => rest.await,
        Err(error) => Err(error),
    }
}
