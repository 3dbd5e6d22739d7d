//! The end of a pod.

use std::time::{Duration, Instant};

use berth_sys::cgroup::Cgroup;
use berth_types::shim::{Answer, Event, Failure, Reason};
use rustix::process::Signal;

use super::{AGAIN, Server};
use crate::container::Asker;
use crate::driver::Driver as _;
use crate::outcome::failure;
use crate::stage::Stage;

/// How long until the caller of a shutdown is told what is still alive.
const LIMIT: Duration = Duration::from_secs(15);
/// What lives on is killed again after so long.
const LATE_AGAIN: Duration = Duration::from_secs(1);

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
        // Another request starts the wait again.
        (shutdown.since, shutdown.again) = (now, now);
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
        if now < shutdown.again {
            return;
        }
        let late = now >= shutdown.since + LIMIT;
        shutdown.again = now + if late { LATE_AGAIN } else { AGAIN.max(Duration::from_millis(50)) };
        match self.kill_pod(now) {
            Ok(()) => self.end(),
            Err(what) if late => self.say_late(&what),
            Err(_) => {}
        }
    }

    /// Looks at once at what is left: something of it has ended.
    pub(super) fn look_at_shutdown(&mut self) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.again = Instant::now();
        }
    }

    /// One round of ending everything; what is left of it.
    fn kill_pod(&mut self, now: Instant) -> Result<(), String> {
        let lives = self.containers.iter().find(|(_, c)| c.stage != Stage::Exited);
        if let Some((id, container)) = lives {
            let lingers = container.ending.as_ref().and_then(|ending| ending.lingers.as_ref());
            let what = lingers.map_or("its main process has not ended", String::as_str);
            return Err(format!("container {} has not ended: {what}", id.short()));
        }
        if let Some(kernel) = &self.kernel {
            kernel.cancel();
            return Err("its kernel is being made".to_owned());
        }
        let Some(pod) = &mut self.pod else { return Ok(()) };
        // Closing its pipe would end it too; killing needs no cooperation.
        if let Some(init) = &pod.init {
            drop(super::request::send(&init.child.pidfd, Signal::KILL));
        }
        // It takes its socket away, if it is let.
        pod.foreign.get().map_or(Ok(()), |shim| shim.end(now))?;
        let sandbox = pod.inside.get().and_then(|sandbox| sandbox.cgroup());
        let foreign = pod.foreign.get().map(|shim| shim.cgroup().clone());
        let groups = [Cgroup::from_dirs(pod.cgroup_dirs.clone())].into_iter().chain(sandbox).chain(foreign);
        let deadline = now + Duration::from_millis(2);
        groups
            .map(|group| group.kill_all(deadline))
            .fold(Ok(()), Result::and)
            .map_err(|e| berth_types::error::chain(&e))
    }

    /// Callers are told what is still alive; it is killed again and again, and the shim stays until it is dead.
    fn say_late(&mut self, what: &str) {
        let askers = self.shutdown.as_mut().map(|s| std::mem::take(&mut s.askers)).unwrap_or_default();
        for asker in askers {
            let message = format!("the pod did not end within {} s: {what}", LIMIT.as_secs());
            self.answer(asker, Err(failure(Reason::System, message)), vec![]);
        }
    }

    fn end(&mut self) {
        let askers = self.shutdown.take().map(|s| s.askers).unwrap_or_default();
        for asker in askers {
            self.answer(asker, Ok(Answer::Done), vec![]);
        }
        self.done = true;
    }

    /// The containers ended with their sandbox, and the pod. What stands for each ends by itself, but for those whose sandbox never
    /// told it.
    pub(super) fn sandbox_ended(&mut self) {
        let alive = self.containers.iter().filter(|(_, c)| c.stage.is_alive());
        for id in alive.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            match self.containers.get(&id).and_then(|container| container.pidfd()) {
                // Not as one whose end was asked for: memory may have run out.
                Some(pidfd) => drop(super::request::send(pidfd, Signal::KILL)),
                None => self.end_early(&id),
            }
        }
        self.tell(&Event::PodEnded);
    }

    /// If this was the pod's init or sandbox, the kernel has ended everything in its namespace, and the pod ends.
    pub(super) fn init_ended(&mut self, pid: i32) {
        let Some(pod) = &mut self.pod else { return };
        if pod.inside.get().is_some_and(|sandbox| sandbox.has_ended(pid)) {
            self.sandbox_ended();
            return self.look_at_shutdown();
        }
        if pod.init.as_ref().is_some_and(|init| init.child.pid == pid) {
            pod.init = None;
            self.kill_containers();
            self.tell(&Event::PodEnded);
        }
    }
}
