//! The end of a container: kill the rest, finish the log, write the record, remove the cgroup, tell.

use std::time::{Duration, Instant};

use berth_types::ContainerId;
use berth_types::shim::{Answer, Event, Exit, Reason, record};
use rustix::process::WaitStatus;

use super::{AGAIN, Server};
use crate::container::{Asker, Container, Ending, Step};
use crate::pump::Command;
use crate::stage::{Happening, Stage};
use crate::{outcome, pump, records};

/// One round of killing may take so long before the loop goes on with other things.
const ROUND: Duration = Duration::from_millis(2);
/// Processes that do not die within this time (uninterruptible sleep) are left and named in the message.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// The log is given this long to be finished; a disk that hangs must not hide the exit.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// The kernel may need a moment after the last process until a cgroup can be removed.
const REMOVE_LIMIT: Duration = Duration::from_secs(2);

impl Server {
    /// If this was a container's main process, its container ends.
    pub(super) fn main_ended(&mut self, pid: i32, status: WaitStatus) -> bool {
        let alive = |c: &Container| c.pid == pid && !matches!(c.stage, Stage::Ending | Stage::Exited);
        let Some((id, container)) = self.containers.iter_mut().find(|(_, c)| alive(c)) else {
            return false;
        };
        let id = id.clone();
        container.prepared = None;
        self.begin_ending(&id, outcome::exit(status, pump::now()));
        true
    }

    /// The main process is gone and reaped.
    pub(super) fn begin_ending(&mut self, id: &ContainerId, exit: Exit) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.stage = container.stage.after(Happening::MainEnded);
        container.terminal = None;
        let now = Instant::now();
        container.ending = Some(Ending { exit, step: Step::Kill, since: now, again: now });
        self.advance(id);
    }

    /// Goes on with an ending as far as it goes now.
    pub(super) fn advance(&mut self, id: &ContainerId) {
        if let Some(container) = self.containers.get_mut(id)
            && let Some(ending) = &mut container.ending
            && ending.step == Step::Kill
            && kill(&container.cgroup, ending)
        {
            ending.enter(Step::Drain, DRAIN_LIMIT);
            container.pump.send(Command::Finish);
            // Exec sessions died with the rest: they are told first.
            self.reap_children();
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
                Step::Kill | Step::Drain => {}
            }
        }
    }

    /// All output is in the log.
    pub(super) fn drained(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(ending) = &mut container.ending else { return };
        if ending.step != Step::Drain {
            return;
        }
        ending.exit.oom_killed = container.cgroup.oom_kills().is_ok_and(|kills| kills > 0);
        ending.enter(Step::Remove, Duration::ZERO);
        let exited = record::Exited { started_at: container.started_at, exit: ending.exit.clone() };
        if let Err(e) = records::write(&container.dir, record::EXIT, &exited) {
            // The daemon is told all the same, and keeps its own record.
            ending.say(&format!("the exit record could not be written: {e}"));
        }
        self.remove(id);
    }

    fn remove(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(ending) = &mut container.ending else { return };
        let now = Instant::now();
        if let Err(e) = container.cgroup.remove() {
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
        container.stage = container.stage.after(Happening::Finished);
        container.exit = Some(ending.exit.clone());
        let starter = container.starter.take();
        let creator = container.creator.take();
        let forgetters = std::mem::take(&mut container.forgetters);
        self.tell(&Event::Exited { container: id.clone(), exit: ending.exit });
        if let Some((asker, failure)) = starter {
            self.answer(asker, Err(failure), vec![]);
        }
        // Whoever still waits for a log that never opened hears of the end.
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
        self.advance_shutdown(Instant::now());
    }
}

/// One round of killing. True when nothing is left, or what is left was given up.
fn kill(cgroup: &berth_sys::cgroup::Cgroup, ending: &mut Ending) -> bool {
    let now = Instant::now();
    let Err(e) = cgroup.kill_all(now + ROUND) else { return true };
    if now >= ending.since + KILL_LIMIT {
        ending.say(&berth_types::error::chain(&e));
        return true;
    }
    ending.again = Instant::now() + AGAIN;
    false
}

impl Ending {
    fn enter(&mut self, step: Step, limit: Duration) {
        self.step = step;
        self.since = Instant::now();
        self.again = self.since + limit;
    }

    fn say(&mut self, text: &str) {
        let message = &mut self.exit.message;
        if !message.is_empty() {
            message.push_str("; ");
        }
        message.push_str(text);
    }
}
