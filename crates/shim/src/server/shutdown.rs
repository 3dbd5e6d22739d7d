//! The end of a pod.

use std::time::{Duration, Instant};

use berth_sys::cgroup::Cgroup;
use berth_types::shim::{Answer, Event, Failure, Reason};
use rustix::process::Signal;

use super::{AGAIN, Server};
use crate::container::Asker;
use crate::outcome::failure;
use crate::stage::Stage;

/// A pod that is not gone after this long is left to the daemon.
const LIMIT: Duration = Duration::from_secs(15);

/// A shutdown under way.
#[derive(Debug)]
pub(super) struct Shutdown {
    askers: Vec<Asker>,
    since: Instant,
    pub(super) again: Instant,
}

impl Server {
    pub(super) fn shut_down(&mut self, asker: Asker) -> Result<Option<Answer>, Failure> {
        let now = Instant::now();
        let shutdown =
            self.shutdown.get_or_insert_with(|| Shutdown { askers: Vec::new(), since: now, again: now });
        shutdown.askers.push(asker);
        self.kill_containers();
        self.advance_shutdown(now);
        Ok(None)
    }

    /// Ends every main process; each container's own ending does the rest.
    fn kill_containers(&mut self) {
        let alive = self.containers.iter().filter(|(_, c)| c.stage.is_alive());
        for id in alive.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.end_early(&id);
        }
    }

    pub(super) fn advance_shutdown(&mut self, now: Instant) {
        let Some(shutdown) = &mut self.shutdown else { return };
        let late = now >= shutdown.since + LIMIT;
        shutdown.again = if late { now } else { now + AGAIN.max(Duration::from_millis(50)) };
        if !late && self.containers.values().any(|c| c.stage != Stage::Exited) {
            return;
        }
        let Some(pod) = &mut self.pod else { return self.end(&Ok(Answer::Done)) };
        // Closing its pipe would end it too; killing needs no cooperation.
        if let Some(init) = &pod.init {
            drop(super::request::send(&init.child.pidfd, Signal::KILL));
        }
        let cgroup = Cgroup::from_dirs(pod.cgroup_dirs.clone());
        match cgroup.kill_all(now + Duration::from_millis(2)) {
            Ok(()) => self.end(&Ok(Answer::Done)),
            Err(e) if late => {
                let message = berth_types::error::chain(&e);
                self.end(&Err(failure(Reason::System, message)));
            }
            Err(_) => {}
        }
    }

    fn end(&mut self, outcome: &Result<Answer, Failure>) {
        let askers = self.shutdown.take().map(|s| s.askers).unwrap_or_default();
        for asker in askers {
            self.answer(asker, outcome.clone(), vec![]);
        }
        self.done = true;
    }

    /// If this was the pod's init, the kernel has ended everything in its namespace, and the pod ends.
    pub(super) fn init_ended(&mut self, pid: i32) {
        let Some(pod) = &mut self.pod else { return };
        if pod.init.as_ref().is_some_and(|init| init.child.pid == pid) {
            pod.init = None;
            self.kill_containers();
            self.tell(&Event::PodEnded);
        }
    }
}
