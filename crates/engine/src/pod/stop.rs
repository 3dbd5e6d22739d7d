//! Stopping a container: its stop signal once, SIGKILL when the time is over, success when its processes
//! and its cgroup are gone.

use std::time::Duration;

use berth_sys::cgroup::{self, CgroupPath};
use berth_types::ContainerId;
use berth_types::lifecycle::container::{Event, State};
use berth_types::shim::Request;
use tokio::sync::watch;
use tokio::time::Instant;

use super::container::{ExitOf, Stopping, unknown_exit};
use super::lookup::refused;
use super::owner::Owner;
use super::{Report, Waiter};
use crate::error::EngineError;
use crate::model::{ExitReason, ExitView};
use crate::oci::signal;
use crate::record::{self, EndRecord};
use crate::shared::Shared;
use crate::shim::{Shim, ShimError};

/// The time that a shim has to pass a signal on.
const SIGNAL_LIMIT: Duration = Duration::from_secs(10);
/// The time from SIGKILL until the shim tells the end, before the cgroup is killed from here.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// The longest grace: a longer one is as good as none.
const MAX_GRACE: Duration = Duration::from_secs(60 * 60 * 24 * 365);

impl Owner {
    /// Somebody asks to stop a container.
    pub(crate) fn stop_container(&mut self, id: &ContainerId, grace: Duration, reply: Waiter<()>) {
        let container = match self.container(id) {
            Ok(container) => container,
            Err(error) => return self.answer(reply, Err(error)),
        };
        match container.state {
            State::Created => self.end_soon(id, Duration::ZERO, Some(reply)),
            State::Starting | State::Running | State::Stopping { .. } | State::Unknown => {
                container.apply(Event::Stop).expect("the table takes a stop of what may run");
                self.end_soon(id, grace, Some(reply));
            }
            State::Exited | State::Removing | State::Gone => self.answer(reply, Ok(())),
            // Nobody was told its id yet.
            State::Creating => {
                let error = refused(container, Event::Stop);
                self.answer(reply, Err(error));
            }
        }
    }

    /// Sees to it that the container ends within `grace`. One that is being stopped already is not signalled
    /// again; an earlier end wins.
    pub(crate) fn end_soon(&mut self, id: &ContainerId, grace: Duration, reply: Option<Waiter<()>>) {
        let deadline = Instant::now() + grace.min(MAX_GRACE);
        let shim = self.link.shim.clone();
        let Some(container) = self.containers.get_mut(id) else { return };
        if let Some(stopping) = &mut container.work.stopping {
            stopping.waiters.extend(reply);
            stopping.deadline.send_if_modified(|now| {
                let sooner = deadline < *now;
                if sooner {
                    *now = deadline;
                }
                sooner
            });
            return;
        }
        let (sender, receiver) = watch::channel(deadline);
        container.work.stopping = Some(Stopping { waiters: reply.into_iter().collect(), deadline: sender });
        let Some(facts) = container.facts.clone() else { return };
        let stopper = Stopper {
            id: id.clone(),
            shim: shim.filter(|_| container.state != State::Unknown),
            signal: (!grace.is_zero()).then_some(facts.stop_signal),
            deadline: receiver,
            cgroups: self.desk.shared.cgroups.clone(),
            cgroup: facts.cgroup.clone(),
        };
        let inbox = self.desk.clone();
        // The end of the container drops the deadline's sender, which ends the stopper without a report.
        tokio::spawn(async move {
            if let Some(report) = stopper.run().await {
                inbox.spawn(async move { report });
            }
        });
    }

    /// The container's processes are gone.
    pub(crate) fn end(&mut self, id: &ContainerId, view: ExitView) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if container.exit.is_some() && !container.alive() {
            return;
        }
        if container.apply(Event::Exited).is_err() {
            return;
        }
        // A shim has written down every other end. Told the same after a restart of the daemon, it is no news.
        let unseen = (view.reason == ExitReason::Unknown).then(|| EndRecord {
            started_at: container.started_at,
            at: view.finished_at,
            message: view.message.clone(),
        });
        container.exit = Some(view);
        if let Some(stopping) = container.work.stopping.take() {
            self.answer_all(stopping.waiters, &Ok(()));
        }
        if let Some(end) = unseen {
            self.write_end(id, end);
        }
        self.follow_end(id);
    }

    fn write_end(&self, id: &ContainerId, end: EndRecord) {
        let file = self.desk.shared.layout.pod(&self.id).container_record(id);
        if let Err(error) = record::add_end(&file, end) {
            tracing::warn!(container = id.short(), %error, "the end of a container is not written down");
        }
    }

    /// Its processes are gone and no shim said how. Its record on disk may; without one the reason is `unknown`.
    pub(crate) fn end_by_record(&mut self, id: &ContainerId, unknown: &str) {
        let dir = self.desk.shared.layout.pod(&self.id).container(id);
        let Some(container) = self.containers.get_mut(id) else { return };
        let view = match ExitOf::read(&dir) {
            Some(exit) => {
                container.started_at = exit.started_at.or(container.started_at);
                exit.view
            }
            None => unknown_exit(unknown),
        };
        self.end(id, view);
    }

    /// It still lives; stopping may be asked for again.
    pub(crate) fn stop_failed(&mut self, id: &ContainerId, error: &EngineError) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(stopping) = container.work.stopping.take() else { return };
        let removing = container.work.removing.take().unwrap_or_default();
        self.answer_all(stopping.waiters, &Err(error.clone()));
        self.answer_all(removing, &Err(error.clone()));
    }
}

struct Stopper {
    id: ContainerId,
    shim: Option<Shim>,
    /// None kills at once.
    signal: Option<i32>,
    deadline: watch::Receiver<Instant>,
    cgroups: cgroup::Host,
    cgroup: CgroupPath,
}

impl Stopper {
    /// None when the container ended, as the owner knows already.
    async fn run(mut self) -> Option<Report> {
        if let Some(shim) = self.shim.clone() {
            if let Some(signal) = self.signal {
                match self.send(&shim, signal, false).await {
                    Ok(()) => self.wait().await?,
                    Err(error) => self.note(&error),
                }
            }
            match self.send(&shim, signal::KILL, true).await {
                Ok(()) => {
                    let over = tokio::time::sleep(KILL_LIMIT);
                    tokio::select! {
                        () = over => {}
                        () = closed(&mut self.deadline) => return None,
                    }
                }
                Err(error) => self.note(&error),
            }
        }
        Some(self.by_cgroup().await)
    }

    async fn send(&self, shim: &Shim, signal: i32, all: bool) -> Result<(), ShimError> {
        let request = Request::Signal { container: self.id.clone(), signal, all };
        shim.tell(request, Vec::new(), SIGNAL_LIMIT).await
    }

    fn note(&self, error: &ShimError) {
        tracing::warn!(
            container = self.id.short(),
            error = berth_types::error::chain(error),
            "the shim does not pass a signal on"
        );
    }

    /// Waits for the deadline, which may be brought forward. None when the container ended.
    async fn wait(&mut self) -> Option<()> {
        loop {
            let deadline = *self.deadline.borrow_and_update();
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return Some(()),
                changed = self.deadline.changed() => changed.ok()?,
            }
        }
    }

    /// Kills from here what the shim does not.
    async fn by_cgroup(self) -> Report {
        let (cgroups, path, id) = (self.cgroups, self.cgroup, self.id.clone());
        let killed = Shared::blocking(move || {
            let cgroup = cgroups.open(&path);
            let deadline = std::time::Instant::now() + KILL_LIMIT;
            cgroup
                .kill_all(deadline)
                .map_err(|e| EngineError::failed("kill the container's processes", e))?;
            cgroup.remove().map_err(|e| EngineError::failed("remove the container's cgroup", e))
        });
        match killed.await {
            Ok(()) => Report::Killed(id),
            Err(error) => Report::StopFailed(id, error),
        }
    }
}

/// Completes when the sender is gone.
async fn closed(deadline: &mut watch::Receiver<Instant>) {
    while deadline.changed().await.is_ok() {}
}
