//! Starting a container: its process is released, and its gate tells the loop the result of the `execve`.

use std::time::{Duration, Instant};

use berth_container::run::{Prepared, RunError};
use berth_types::ContainerId;
use berth_types::shim::{Answer, Event, Failure, Reason};
use rustix::event::{PollFd, PollFlags, Timespec, epoll};

use super::{GATE, Server};
use crate::container::{Asker, Start, Timed, clock};
use crate::outcome::{self, failure, system};
use crate::pump;
use crate::stage::{Ask, Stage, StageEvent};

/// The time that an `execve` may take: the program may lie on a slow disk. Less than what the daemon waits, which then
/// is told why.
const LIMIT: Duration = Duration::from_secs(45);

impl Server {
    /// Releases a prepared process. The answer comes when its `execve` succeeded or failed.
    pub(super) fn start(&mut self, asker: Asker, id: &ContainerId) -> Result<Option<Answer>, Failure> {
        let gone = || failure(Reason::State, "the process is gone");
        let container = self.container(id)?;
        container.stage.allows(Ask::Start)?;
        if let Some(driver) = container.driver.clone() {
            return self.start_by_driver(asker, id, driver);
        }
        let main = container.main.as_mut().ok_or_else(gone)?;
        let token = GATE | u64::from(main.pid.unsigned_abs());
        let prepared = main.prepared.take().ok_or_else(gone)?;
        let watched =
            epoll::add(&self.epoll, prepared.gate(), epoll::EventData::new_u64(token), epoll::EventFlags::IN);
        let container = self.container(id)?;
        if let Err(e) = watched {
            // Nothing has happened yet: it may be started again.
            if let Some(main) = &mut container.main {
                main.prepared = Some(prepared);
            }
            return Err(system("wait for the process", &std::io::Error::from(e)));
        }
        container.stage = container.stage.after(StageEvent::Released);
        container.start = Some(Start {
            asker,
            since: clock(),
            deadline: Some(Instant::now() + LIMIT),
            failed: None,
            ended: None,
        });
        match prepared.release() {
            Ok(()) => {
                if let Some(main) = &mut container.main {
                    main.prepared = Some(prepared);
                }
            }
            Err(error) => self.start_failed(id, prepared, &error),
        }
        Ok(None)
    }

    /// The gate of the process with this number is readable.
    pub(super) fn at_gate(&mut self, token: u64) {
        let of = |pid: i32| GATE | u64::from(pid.unsigned_abs());
        let found = self.containers.iter().find(|(_, c)| {
            c.stage == Stage::Starting && c.main.as_ref().is_some_and(|main| of(main.pid) == token)
        });
        if let Some(id) = found.map(|(id, _)| id.clone()) {
            self.executed(&id);
        }
    }

    /// Reads the result of the `execve` of a released process.
    pub(super) fn executed(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(prepared) = container.main.as_mut().and_then(|main| main.prepared.take()) else { return };
        // The process may be dead and its gate only be held by another child.
        let outcome = if readable(&prepared) {
            prepared.outcome()
        } else {
            Err(RunError::Died { before: "it was started" })
        };
        if let Err(error) = outcome {
            return self.start_failed(id, prepared, &error);
        }
        // Other processes may have copies of it for a moment, so closing it is not enough.
        let _ = epoll::delete(&self.epoll, prepared.gate());
        drop(prepared.into_running());
        self.runs(id);
    }

    /// The command of a container runs, since now.
    pub(super) fn runs(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let at = pump::now();
        container.started_at = at;
        container.stage = container.stage.after(StageEvent::Started);
        let start = container.start.take();
        container.steps.extend(start.as_ref().map(|start| Timed("execve", start.since, clock())));
        self.tell(&Event::Started { container: id.clone(), at });
        if let Some(start) = start {
            self.answer(start.asker, Ok(Answer::Started { at }), vec![]);
        }
    }

    /// The process ends, or is killed; its end is told when it is reaped.
    fn start_failed(&mut self, id: &ContainerId, prepared: Prepared, error: &RunError) {
        let _ = epoll::delete(&self.epoll, prepared.gate());
        let Some(container) = self.containers.get_mut(id) else { return };
        if let Some(start) = &mut container.start {
            start.failed = Some((outcome::refused(error), outcome::not_started(error, pump::now())));
        }
        container.kill_main();
        if let Some(main) = &mut container.main {
            main.prepared = Some(prepared);
        }
    }

    /// Ends starts that take too long.
    pub(super) fn end_late_starts(&mut self, now: Instant) {
        let late = |start: &Start| start.failed.is_none() && start.deadline.is_some_and(|at| at <= now);
        let ids: Vec<ContainerId> = self
            .containers
            .iter()
            .filter(|(_, c)| c.start.as_ref().is_some_and(late))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            let main = self.containers.get_mut(&id).and_then(|c| c.main.as_mut());
            if let Some(prepared) = main.and_then(|main| main.prepared.take()) {
                self.start_failed(&id, prepared, &RunError::Slow { seconds: LIMIT.as_secs() });
            }
        }
    }
}

fn readable(prepared: &Prepared) -> bool {
    let gate = prepared.gate();
    let mut polled = [PollFd::from_borrowed_fd(gate, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&now))).is_ok_and(|ready| ready > 0)
}
