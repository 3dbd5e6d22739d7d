//! Requests and events of exec sessions.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_container::plan::ProcessPlan;
use berth_container::run::{self, Join, Running, Stdio};
use berth_types::shim::bundle;
use berth_types::shim::{Answer, Event, Exec, Failure, FromShim, Reason};
use berth_types::{ContainerId, ExecId};
use rustix::process::Signal;
use rustix::termios::Winsize;

use super::Server;
use super::create::MAX_AT_WORK;
use super::request::set_size;
use crate::container::Asker;
use crate::driver::{Cancel, Driver, End};
use crate::exec::{Beginning, Begun, ByRuntime, Inner, Session};
use crate::outcome::{self, Ended, exec_refused, failure, system};
use crate::pump::Note;
use crate::stage::Ask;

/// The most sessions of one container that begin at once. A container may stop the processes that join it: they take
/// nothing from other containers then.
const MAX_BEGINNING: usize = 16;
/// Stack of the thread in which one begins.
const STACK: usize = 256 << 10;

impl Server {
    pub(super) fn exec(
        &mut self,
        asker: Asker,
        exec: Exec,
        fds: Vec<OwnedFd>,
    ) -> Result<Option<Answer>, Failure> {
        if self.sessions.contains_key(&exec.exec) || self.beginning.contains_key(&exec.exec) {
            return Err(failure(Reason::State, format!("exec session {} already exists", exec.exec)));
        }
        let of_it = self.beginning.values().filter(|b| b.container == exec.container).count();
        if of_it >= MAX_BEGINNING || self.at_work() >= MAX_AT_WORK {
            let message = "too many processes of the container are being prepared already";
            return Err(failure(Reason::State, message));
        }
        let oom_score = self.oom_score;
        let container = self.container(&exec.container)?;
        container.stage.allows(Ask::Exec)?;
        let missing = || failure(Reason::State, "the container's main process is gone");
        let target = container.pidfd().ok_or_else(missing)?.try_clone();
        let target = target.map_err(|e| system("duplicate a descriptor", &e))?;
        let stdio = stdio(exec.tty, fds)?;
        let join = container.cgroup.join().map_err(|e| system("open the container's cgroup", &e))?;
        let timeout = (exec.timeout_ms > 0).then(|| Duration::from_millis(exec.timeout_ms));
        let driver = container.driver.clone().filter(|driver| driver.makes_sessions());
        let by_runtime = by_runtime(driver.is_some(), timeout)?;
        let cancel = by_runtime.as_ref().map(|by| by.cancel.clone());
        let by = driver.zip(cancel).map(|(driver, cancel)| (driver, exec.exec.clone(), cancel));
        let begin = Begin { plan: exec.plan, by, target, stdio, join, oom_score };
        let (notes, container, id) = (self.notes.clone(), exec.container.clone(), exec.exec.clone());
        let thread = std::thread::Builder::new().name("exec".to_owned()).stack_size(STACK);
        let begun = thread.spawn(move || {
            let (outcome, inner) = begin.begin().map_or_else(|e| (Err(e), None), |(r, i)| (Ok(r), i));
            notes.send(&container, Note::Begun(Box::new(Begun { exec: id, outcome, inner })));
        });
        begun.map_err(|e| system("start a thread for the process", &e))?;
        let beginning = Beginning { container: exec.container, asker, timeout, killed: false, by_runtime };
        self.beginning.insert(exec.exec, beginning);
        Ok(None)
    }

    /// A session's process runs, or why not.
    pub(super) fn begun(&mut self, begun: Begun) {
        let Begun { exec, outcome, inner } = begun;
        let Some(beginning) = self.beginning.remove(&exec) else { return };
        let Beginning { container, asker, timeout, killed, by_runtime } = beginning;
        let deadline = by_runtime.as_ref().and_then(|by| by.deadline);
        let timed_out = by_runtime.is_some_and(|by| by.timed_out);
        match outcome {
            Ok(running) => {
                let terminal =
                    running.console.as_ref().and_then(|master| berth_sys::pty::peer(master.as_fd()).ok());
                let session = Session {
                    container: container.clone(),
                    pid: running.pid,
                    pidfd: running.pidfd,
                    connection: asker.connection,
                    deadline: deadline
                        .or_else(|| timeout.and_then(|timeout| Instant::now().checked_add(timeout))),
                    timed_out: false,
                    terminal,
                    inner,
                };
                if killed && let Some(container) = self.containers.get(&container) {
                    session.kill(&container.cgroup);
                }
                self.sessions.insert(exec, session);
                let answer = Answer::ExecStarted { pid: running.pid };
                self.answer(asker, Ok(answer), running.console.into_iter().collect());
            }
            Err(_) if timed_out => {
                // As of one that ran: to its caller its time is over, whoever took it.
                self.answer(asker, Ok(Answer::ExecStarted { pid: 0 }), vec![]);
                let (code, _) = outcome::code(Ended::by(Signal::KILL));
                let event = Event::ExecExited { exec, code, timed_out };
                self.send(asker.connection, &FromShim::Event(event), vec![]);
            }
            Err(failure) => {
                // A process that joins meets the container's end as an error of the system.
                self.reap_children();
                let ended = self.container(&container).and_then(|c| c.stage.allows(Ask::Exec)).err();
                self.answer(asker, Err(ended.unwrap_or(failure)), vec![]);
            }
        }
        // What ended while the thread was at work, and a container whose end has waited for it.
        self.reap_children();
        self.advance(&container);
    }

    pub(super) fn kill_exec(&mut self, id: &ExecId) -> Result<Option<Answer>, Failure> {
        if let Some(beginning) = self.beginning.get_mut(id) {
            beginning.killed = true;
            if let Some(by) = &beginning.by_runtime {
                by.cancel.set();
            }
            return Ok(Some(Answer::Done));
        }
        let session = self.session(id)?;
        if let Some(container) = self.containers.get(&session.container) {
            session.kill(&container.cgroup);
        }
        Ok(Some(Answer::Done))
    }

    pub(super) fn resize_exec(
        &mut self,
        asker: Asker,
        id: &ExecId,
        size: Winsize,
    ) -> Result<Option<Answer>, Failure> {
        let session = self.session(id)?;
        let driver = self.containers.get(&session.container).and_then(|container| container.driver.as_ref());
        if let Some(driver) = driver.filter(|driver| driver.has_terminal(Some(id))) {
            driver.resize(Some(id), size, self.resized(asker, &session.container));
            return Ok(None);
        }
        let terminal = session.terminal.as_ref();
        let terminal = terminal.ok_or_else(|| failure(Reason::State, "the exec session has no terminal"))?;
        set_size(terminal, size)?;
        Ok(Some(Answer::Done))
    }

    fn session(&self, id: &ExecId) -> Result<&Session, Failure> {
        self.sessions.get(id).ok_or_else(|| failure(Reason::NotFound, format!("no exec session {id}")))
    }

    pub(super) fn end_late_sessions(&mut self, now: Instant) {
        for by in self.beginning.values_mut().filter_map(|beginning| beginning.by_runtime.as_mut()) {
            if !by.timed_out && by.deadline.is_some_and(|deadline| deadline <= now) {
                by.timed_out = true;
                by.cancel.set();
            }
        }
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
    pub(super) fn session_ended(&mut self, pid: i32, ended: Ended) -> bool {
        let Some(id) = self.sessions.iter().find(|(_, s)| s.pid == pid).map(|(id, _)| id.clone()) else {
            return false;
        };
        self.end_session(id, outcome::code(ended).0);
        true
    }

    /// Looks for ends of sessions that drivers tell.
    pub(super) fn hear_of_sessions(&mut self) {
        let told = |(id, session): (&ExecId, &Session)| {
            let driver = self.containers.get(&session.container)?.driver.as_ref()?;
            Some((id.clone(), driver.session_ended(id)?))
        };
        let ended: Vec<(ExecId, End)> = self.sessions.iter().filter_map(told).collect();
        for (id, end) in ended {
            let code = match end {
                End::Code(code) => code,
                End::Unknown(_) => outcome::code(Ended::by(Signal::KILL)).0,
            };
            self.end_session(id, code);
        }
    }

    /// What is left of the sessions of a container that has ended, whose ends a driver tells: they ended with it.
    pub(super) fn end_sessions_of(&mut self, id: &ContainerId) {
        self.hear_of_sessions();
        let of_it = self.sessions.iter().filter(|(_, session)| session.container == *id);
        let left: Vec<ExecId> = of_it.map(|(exec, _)| exec.clone()).collect();
        for exec in left {
            self.end_session(exec, outcome::code(Ended::by(Signal::KILL)).0);
        }
    }

    fn end_session(&mut self, id: ExecId, code: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            let event = Event::ExecExited { exec: id, code, timed_out: session.timed_out };
            self.send(session.connection, &FromShim::Event(event), vec![]);
        }
    }
}

/// What ends a session that a runtime begins.
fn by_runtime(has_runtime: bool, timeout: Option<Duration>) -> Result<Option<ByRuntime>, Failure> {
    if !has_runtime {
        return Ok(None);
    }
    let cancel = Cancel::new().map_err(|e| system("make a runtime's event", &e))?;
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    Ok(Some(ByRuntime { cancel, deadline, timed_out: false }))
}

/// What a session's process is made of, in its thread.
struct Begin {
    plan: Vec<u8>,
    /// What makes it, the session's id, and what ends the attempt.
    by: Option<(Arc<dyn Driver>, ExecId, Cancel)>,
    target: OwnedFd,
    stdio: Stdio,
    join: Join,
    oom_score: Option<i32>,
}

impl Begin {
    fn begin(self) -> Result<(Running, Option<Inner>), Failure> {
        if let Some((driver, id, cancel)) = self.by {
            let process = bundle::decode(&self.plan).map_err(|e| failure(Reason::Protocol, e.to_string()))?;
            return driver.exec(&id, &process, self.stdio, &cancel);
        }
        let mut plan =
            ProcessPlan::decode(&self.plan).map_err(|e| failure(Reason::Protocol, e.to_string()))?;
        plan.oom_score_adj = plan.oom_score_adj.or(self.oom_score);
        let running = run::exec(&plan, self.target.as_fd(), self.stdio, &self.join);
        running.map(|running| (running, None)).map_err(|e| exec_refused(&e))
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
