//! The end of a container: kill the rest, finish the log, write the record, remove the cgroup, tell. See
//! docs/adr/0043.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use berth_types::ContainerId;
use berth_types::shim::{Answer, Event, Exit, Reason, record};
use rustix::process::{Signal, WaitId, WaitIdOptions, waitid};

use super::{AGAIN, Server};
use crate::container::{Asker, Container, Ending, Start, Step};
use crate::driver::End;
use crate::outcome::Ended;
use crate::pump::Command;
use crate::stage::{Stage, StageEvent};
use crate::{outcome, pump, records};

/// The status of a container whose own nobody knows.
const LOST: i32 = 255;
/// One round of killing may take so long before the loop goes on with other things.
const ROUND: Duration = Duration::from_millis(2);
/// Processes that do not die within this time (uninterruptible sleep, most likely) are reported, and killed less often.
const KILL_LIMIT: Duration = Duration::from_secs(2);
/// What lives on is killed again after so long.
const KILL_AGAIN: Duration = Duration::from_secs(1);
/// How long the log may take to be finished; a disk that hangs must not delay the exit.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// The kernel may need a moment after the last process until a cgroup can be removed.
const REMOVE_LIMIT: Duration = Duration::from_secs(2);

impl Server {
    /// If this was a container's main process, its container ends.
    pub(super) fn main_ended(&mut self, pid: i32, ended: Ended) -> bool {
        let alive = |c: &Container| c.stage.is_alive() && c.main.as_ref().is_some_and(|main| main.pid == pid);
        let Some(id) = self.containers.iter().find(|(_, c)| alive(c)).map(|(id, _)| id.clone()) else {
            return false;
        };
        self.main_of_ended(&id, ended);
        true
    }

    /// The main process of this container has ended.
    fn main_of_ended(&mut self, id: &ContainerId, ended: Ended) {
        let starting = |c: &Container| {
            c.stage == Stage::Starting && c.start.as_ref().is_some_and(|s| s.failed.is_none())
        };
        if self.containers.get(id).is_some_and(starting) {
            if self.waits_for_driver(id, ended) {
                return;
            }
            // The result of its execve is reported before its end.
            self.executed(id);
        }
        let Some(container) = self.containers.get_mut(id) else { return };
        if let Some(main) = &mut container.main {
            main.prepared = None;
        }
        let failed = container.start.as_ref().and_then(|start| start.failed.as_ref());
        let exit = failed.map(|(_, exit)| exit.clone());
        self.begin_ending(id, exit.unwrap_or_else(|| outcome::exit(ended, pump::now())));
    }

    /// Looks for ends that drivers tell.
    pub(super) fn hear_of_ends(&mut self) {
        let told = |(id, c): (&ContainerId, &Container)| {
            let alive = c.stage.is_alive() && c.main.is_some();
            Some((id.clone(), c.driver.as_ref().filter(|_| alive)?.ended()?))
        };
        let ended: Vec<(ContainerId, End)> = self.containers.iter().filter_map(told).collect();
        for (id, end) in ended {
            if !self.containers.get(&id).is_some_and(|container| container.stage.is_alive()) {
                continue;
            }
            match end {
                End::Code(code) => self.main_of_ended(&id, Ended::with(code)),
                End::Unknown(why) => self.lost(&id, why),
            }
        }
        self.hear_of_sessions();
    }

    /// Nobody can say how a container ended, or whether it has: it is ended.
    fn lost(&mut self, id: &ContainerId, why: String) {
        let Some(container) = self.containers.get(id) else { return };
        // An orphan by now is a child of this one.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let main = container.main.as_ref().map(|main| waitid(WaitId::PidFd(main.pidfd.as_fd()), options));
        if let Some(Ok(Some(status))) = main {
            return self.main_of_ended(id, status.into());
        }
        let killed = container.killed.is_some();
        let ended = if killed { Ended::by(Signal::KILL) } else { Ended::with(LOST) };
        let waits = container.start.as_ref().is_some_and(|start| start.failed.is_none());
        if waits && self.waits_for_driver(id, ended) {
            return;
        }
        let message = if killed { String::new() } else { why };
        self.begin_ending(id, Exit { message, ..outcome::exit(ended, pump::now()) });
    }

    /// The main process is gone and reaped.
    pub(super) fn begin_ending(&mut self, id: &ContainerId, exit: Exit) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.stage = container.stage.after(StageEvent::MainEnded);
        container.terminal = None;
        if let Some(driver) = &container.driver {
            // It may hang in making a further process, for which the end would wait.
            driver.cancel();
        }
        let (exit, now) = (container.judged(exit), Instant::now());
        container.ending = Some(Ending { exit, step: Step::Kill, since: now, again: now, lingers: None });
        // What serves it on the host is needed for its end in the sandbox.
        if !(container.is_inside() && self.delete_by_driver(id)) {
            self.advance(id);
        }
    }

    /// Goes on with an ending as far as it goes now.
    pub(super) fn advance(&mut self, id: &ContainerId) {
        match self.kill_rest(id) {
            Rest::Gone => {
                // Exec sessions died with the rest: they are reported first.
                self.reap_children();
                self.begin_draining(id);
            }
            Rest::Lingers(text) => self.tell(&Event::Lingers { container: id.clone(), text }),
            Rest::Alive | Rest::Done => {}
        }
        if let Some(container) = self.containers.get_mut(id)
            && let Some(ending) = &mut container.ending
        {
            match ending.step {
                Step::Drain if Instant::now() >= ending.again => {
                    ending.say("the log may lack the last output: its disk does not answer");
                    self.drained(id);
                }
                Step::Remove => self.remove(id),
                Step::Kill | Step::Drain | Step::Delete => {}
            }
        }
    }

    /// One round of killing what is left in the cgroup.
    fn kill_rest(&mut self, id: &ContainerId) -> Rest {
        // A session that is being made may not have joined the group yet.
        let begins = self.beginning.values().any(|beginning| beginning.container == *id);
        let Some(container) = self.containers.get_mut(id) else { return Rest::Done };
        let Some(ending) = &mut container.ending else { return Rest::Done };
        if ending.step != Step::Kill {
            return Rest::Done;
        }
        let left = match container.cgroup.kill_all(Instant::now() + ROUND) {
            Ok(()) if begins => "a process that was joining it is not ready yet".to_owned(),
            Ok(()) => return Rest::Gone,
            Err(e) => berth_types::error::chain(&e),
        };
        let now = Instant::now();
        if now < ending.since + KILL_LIMIT {
            ending.again = now + AGAIN;
            return Rest::Alive;
        }
        ending.again = now + KILL_AGAIN;
        if ending.lingers.as_ref() == Some(&left) {
            return Rest::Alive;
        }
        ending.lingers = Some(left.clone());
        Rest::Lingers(format!("the main process ended, but not the rest of the container: {left}"))
    }

    fn begin_draining(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(ending) = &mut container.ending else { return };
        ending.enter(Step::Drain, DRAIN_LIMIT);
        // A pump that has ended has nothing more to write; nor has one that never existed.
        if !container.pump.send(Command::Finish) {
            self.drained(id);
        }
    }

    /// All output is in the log.
    pub(super) fn drained(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(ending) = &mut container.ending else { return };
        if ending.step != Step::Drain {
            return;
        }
        let exited = record::Exited { started_at: container.started_at, exit: ending.exit.clone() };
        if let Err(e) = records::write(&container.dir, record::EXIT, &exited) {
            // The daemon is told anyway, and keeps its own record.
            ending.say(&format!("the exit record could not be written: {e}"));
        }
        if container.is_inside() || !self.delete_by_driver(id) {
            self.begin_removing(id);
        }
    }

    /// Nothing is left but the cgroup.
    pub(super) fn begin_removing(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(ending) = &mut container.ending else { return };
        ending.enter(Step::Remove, Duration::ZERO);
        self.remove(id);
    }

    fn remove(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(ending) = &mut container.ending else { return };
        let now = Instant::now();
        if let Err(e) = container.cgroup.remove() {
            // Something joined it in between.
            if container.cgroup.pids().is_ok_and(|pids| !pids.is_empty()) {
                drop(container.cgroup.kill_all(now + ROUND));
                ending.again = Instant::now() + AGAIN;
                return;
            }
            if now < ending.since + REMOVE_LIMIT {
                ending.again = now + AGAIN;
                return;
            }
            ending.say(&berth_types::error::chain(&e));
        }
        self.finish(id);
    }

    fn finish(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(ending) = container.ending.take() else { return };
        if container.driver.is_some() {
            self.end_sessions_of(id);
        }
        let Some(container) = self.containers.get_mut(id) else { return };
        container.stage = container.stage.after(StageEvent::Finished);
        container.exit = Some(ending.exit.clone());
        let starter = container.start.take();
        let creator = container.creator.take();
        let forgetters = std::mem::take(&mut container.forgetters);
        self.tell(&Event::Exited { container: id.clone(), exit: ending.exit });
        if let Some(Start { asker, failed, .. }) = starter {
            let gone = || outcome::failure(Reason::State, "the process is gone");
            self.answer(asker, Err(failed.map_or_else(gone, |(failure, _)| failure)), vec![]);
        }
        // Callers that still wait for a log that never opened are told of the end.
        let over = |(_, (of, _)): &(&u64, &(ContainerId, Asker))| of == id;
        let reopening: Vec<u64> = self.reopening.iter().filter(over).map(|(ticket, _)| *ticket).collect();
        let askers: Vec<Asker> = reopening
            .iter()
            .filter_map(|t| self.reopening.remove(t))
            .map(|(_, a)| a)
            .chain(creator)
            .collect();
        for asker in askers {
            let ended = outcome::failure(Reason::State, "the container ended, and its log does not answer");
            self.answer(asker, Err(ended), vec![]);
        }
        if !forgetters.is_empty() {
            self.containers.remove(id);
        }
        for asker in forgetters {
            self.answer(asker, Ok(Answer::Done), vec![]);
        }
        let now = Instant::now();
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.again = now;
        }
        self.advance_shutdown(now);
    }
}

/// What is left after a round of killing.
enum Rest {
    /// The container is not at that step.
    Done,
    /// Nothing.
    Gone,
    /// Something, which another round may end.
    Alive,
    /// The same for a long time, and it has not been reported yet.
    Lingers(String),
}

impl Ending {
    pub(super) fn enter(&mut self, step: Step, limit: Duration) {
        self.step = step;
        self.since = Instant::now();
        self.again = self.since + limit;
    }

    pub(super) fn say(&mut self, text: &str) {
        let message = &mut self.exit.message;
        if !message.is_empty() {
            message.push_str("; ");
        }
        message.push_str(text);
    }
}
