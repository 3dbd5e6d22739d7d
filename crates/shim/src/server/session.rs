//! Requests and events of exec sessions.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use berth_container::plan::ProcessPlan;
use berth_container::run::{self, Stdio};
use berth_types::ExecId;
use berth_types::shim::{Answer, Event, Exec, Failure, FromShim, Reason};
use rustix::process::WaitStatus;
use rustix::termios::Winsize;

use super::Server;
use super::request::set_size;
use crate::container::Asker;
use crate::exec::Session;
use crate::outcome::{self, exec_refused, failure, system};
use crate::stage::Ask;

impl Server {
    pub(super) fn exec(
        &mut self,
        asker: Asker,
        exec: &Exec,
        fds: Vec<OwnedFd>,
    ) -> Result<Option<Answer>, Failure> {
        if self.sessions.contains_key(&exec.exec) {
            return Err(failure(Reason::State, format!("exec session {} is there already", exec.exec)));
        }
        let oom_score = self.oom_score;
        let container = self.container(&exec.container)?;
        container.stage.allows(Ask::Exec)?;
        let mut plan =
            ProcessPlan::decode(&exec.plan).map_err(|e| failure(Reason::Protocol, e.to_string()))?;
        plan.oom_score_adj = plan.oom_score_adj.or(oom_score);
        let stdio = stdio(exec.tty, fds)?;
        let join = container.cgroup.join().map_err(|e| system("open the container's cgroup", &e))?;
        let running =
            run::exec(&plan, container.pidfd.as_fd(), stdio, &join).map_err(|e| exec_refused(&e))?;
        let terminal = running.console.as_ref().and_then(|master| berth_sys::pty::peer(master.as_fd()).ok());
        let timeout = (exec.timeout_ms > 0).then(|| Duration::from_millis(exec.timeout_ms));
        let session = Session {
            container: exec.container.clone(),
            pid: running.pid,
            pidfd: running.pidfd,
            connection: asker.connection,
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            timed_out: false,
            terminal,
        };
        self.sessions.insert(exec.exec.clone(), session);
        let answer = Answer::ExecStarted { pid: running.pid };
        self.answer(asker, Ok(answer), running.console.into_iter().collect());
        Ok(None)
    }

    pub(super) fn kill_exec(&mut self, id: &ExecId) -> Result<Option<Answer>, Failure> {
        let session = self.session(id)?;
        if let Some(container) = self.containers.get(&session.container) {
            session.kill(&container.cgroup);
        }
        Ok(Some(Answer::Done))
    }

    pub(super) fn resize_exec(&mut self, id: &ExecId, size: Winsize) -> Result<Option<Answer>, Failure> {
        let terminal = self.session(id)?.terminal.as_ref();
        let terminal = terminal.ok_or_else(|| failure(Reason::State, "the exec session has no terminal"))?;
        set_size(terminal, size)?;
        Ok(Some(Answer::Done))
    }

    fn session(&self, id: &ExecId) -> Result<&Session, Failure> {
        self.sessions.get(id).ok_or_else(|| failure(Reason::NotFound, format!("no exec session {id}")))
    }

    pub(super) fn end_late_sessions(&mut self, now: Instant) {
        for session in self.sessions.values_mut() {
            if session.deadline.is_some_and(|deadline| deadline <= now) {
                session.deadline = None;
                session.timed_out = true;
                if let Some(container) = self.containers.get(&session.container) {
                    session.kill(&container.cgroup);
                }
            }
        }
    }

    /// If this was an exec session's process, its daemon is told.
    pub(super) fn session_ended(&mut self, pid: i32, status: WaitStatus) -> bool {
        let Some(id) = self.sessions.iter().find(|(_, s)| s.pid == pid).map(|(id, _)| id.clone()) else {
            return false;
        };
        if let Some(session) = self.sessions.remove(&id) {
            let (code, _) = outcome::code(status);
            let event = Event::ExecExited { exec: id, code, timed_out: session.timed_out };
            self.send(session.connection, &FromShim::Event(event), vec![]);
        }
        true
    }
}

fn stdio(tty: bool, fds: Vec<OwnedFd>) -> Result<Stdio, Failure> {
    if tty && fds.is_empty() {
        return Ok(Stdio::Terminal);
    }
    match <[OwnedFd; 3]>::try_from(fds) {
        Ok([stdin, stdout, stderr]) if !tty => {
            Ok(Stdio::Fds { stdin: Some(stdin), stdout: Some(stdout), stderr: Some(stderr) })
        }
        _ => Err(failure(Reason::Protocol, "Exec comes with three descriptors, or none with a terminal")),
    }
}
