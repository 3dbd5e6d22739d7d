//! What each request does.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use berth_types::ContainerId;
use berth_types::shim::{self, Abilities, Answer, Failure, Reason, Request, VERSION};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{Pod, Server};
use crate::container::{Asker, Container, Timed};
use crate::driver::Resized;
use crate::init;
use crate::making::Spaces;
use crate::outcome::{failure, system};
use crate::pump::{Command, Joining, MAX_CLIENTS, Note, Since};
use crate::stage::{Ask, Stage, Verdict};

/// The outcome of a request that is answered at once; None when the answer comes later.
type Outcome = Result<Option<Answer>, Failure>;

const DONE: Outcome = Ok(Some(Answer::Done));
/// The first version of daemons that know [`Answer::Welcome`].
const WELCOMED: u16 = 2;
/// What this shim reports about itself.
const ABILITIES: Abilities =
    Abilities::APART.and(Abilities::ENDS_EMPTY).and(Abilities::BEGINS).and(Abilities::STEPS);
/// The most requests to open one container's log again that wait for an answer.
const MAX_REOPENING: usize = 8;

impl Server {
    pub(super) fn handle(&mut self, asker: Asker, request: Request, fds: Vec<OwnedFd>) {
        let outcome = match request {
            Request::Hello { version } => self.hello(asker, version),
            Request::Pod(pod) => self.take_pod(pod, None, fds),
            Request::PodWithUser(pod) => self.take_pod_with_user(pod, fds),
            Request::Create(create) => self.create(asker, create, fds),
            Request::Start { container } => self.start(asker, &container),
            Request::Signal { container, signal, all } => self.signal(&container, signal, all),
            Request::Forget { container } => self.forget(asker, &container),
            Request::Exec(exec) => self.exec(asker, exec, fds),
            Request::KillExec { exec } => self.kill_exec(&exec),
            Request::ReopenLog { container } => self.reopen(asker, &container),
            Request::Attach { container } => self.attach(&container, true, fds),
            Request::AttachClient { container, stdin } => self.attach(&container, stdin, fds),
            Request::Resize { container, exec, rows, columns } => {
                let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                match exec {
                    Some(exec) => self.resize_exec(asker, &exec, size),
                    None => self.resize(asker, &container, size),
                }
            }
            Request::Begin { plan } => self.begin_kernel(&plan),
            Request::Steps { container } => self.steps(&container),
            Request::Shutdown => self.shut_down(asker),
        };
        match outcome {
            Ok(None) => {}
            Ok(Some(answer)) => self.answer(asker, Ok(answer), vec![]),
            Err(failure) => self.answer(asker, Err(failure), vec![]),
        }
    }

    fn steps(&mut self, id: &ContainerId) -> Outcome {
        let steps = self.container(id)?.steps.iter();
        let told = |Timed(name, since, until): &Timed| shim::Step {
            name: (*name).to_owned(),
            since: *since,
            until: *until,
        };
        Ok(Some(Answer::Steps(steps.map(told).collect())))
    }

    fn hello(&mut self, asker: Asker, daemon: u16) -> Outcome {
        if let Some(connection) = self.connections.get_mut(&asker.connection) {
            connection.greeted = Some(daemon);
        }
        let sandbox = self.pod.as_ref().map(|pod| pod.sandbox.clone());
        let containers = self.containers.iter().map(|(id, c)| c.known(id)).collect();
        if daemon < WELCOMED {
            return Ok(Some(Answer::Hello { version: VERSION, sandbox, containers }));
        }
        let mut plans = berth_container::plan::VERSIONS.to_vec();
        plans.extend(shim::bundle::VERSIONS);
        Ok(Some(Answer::Welcome { version: VERSION, plans, abilities: ABILITIES, sandbox, containers }))
    }

    fn take_pod_with_user(&mut self, told: shim::Pod, mut fds: Vec<OwnedFd>) -> Outcome {
        if fds.is_empty() {
            return Err(failure(Reason::Protocol, "PodWithUser comes with a user namespace"));
        }
        let user = fds.remove(0);
        self.take_pod(told, Some(user), fds)
    }

    fn take_pod(&mut self, told: shim::Pod, user: Option<OwnedFd>, fds: Vec<OwnedFd>) -> Outcome {
        if self.pod.is_some() {
            return Err(failure(Reason::State, "the shim already has a pod"));
        }
        if fds.len() != told.namespaces.iter().filter(|given| **given).count() {
            return Err(failure(Reason::Protocol, "Pod lacks descriptors that it names"));
        }
        let mut fds = fds.into_iter();
        let [network, ipc, uts] = told.namespaces.map(|given| if given { fds.next() } else { None });
        let init = match told.shared_pid {
            false => None,
            true => {
                let namespaces: Vec<_> =
                    [&network, &ipc, &uts].into_iter().flatten().map(AsFd::as_fd).collect();
                let user = user.as_ref().map(AsFd::as_fd);
                Some(
                    init::start(self.base.as_fd(), user, &namespaces)
                        .map_err(|e| system("start the pod's init", &e))?,
                )
            }
        };
        let cgroup_dirs = told.cgroup_dirs.into_iter().map(Into::into).collect();
        let (sandbox, state_dir) = (told.sandbox, told.state_dir.into());
        let spaces = Arc::new(Spaces { user, network, ipc, uts, base: Arc::clone(&self.base) });
        let (inside, foreign) = (OnceLock::new(), OnceLock::new());
        self.pod = Some(Pod { sandbox, state_dir, spaces, init, cgroup_dirs, inside, foreign });
        DONE
    }

    fn signal(&mut self, id: &ContainerId, signal: i32, all: bool) -> Outcome {
        let container = self.container(id)?;
        let verdict = container.stage.allows(Ask::Signal)?;
        let number = signal;
        let signal = berth_sys::signal::named(signal)
            .ok_or_else(|| failure(Reason::Protocol, format!("{number} is not a signal")))?;
        if signal == Signal::KILL && verdict == Verdict::Do {
            self.container(id)?.is_killed();
        }
        let container = self.container(id)?;
        match verdict {
            Verdict::Already => {}
            Verdict::End => self.end_early(id),
            Verdict::Do if all && !container.is_inside() => signal_all(container, signal)?,
            Verdict::Do => signal_main(container, signal)?,
        }
        DONE
    }

    fn forget(&mut self, asker: Asker, id: &ContainerId) -> Outcome {
        let container = self.container(id)?;
        match container.stage.allows(Ask::Forget)? {
            Verdict::Do => {
                self.containers.remove(id);
                return DONE;
            }
            Verdict::End => self.end_early(id),
            Verdict::Already => {}
        }
        self.container(id)?.forgetters.push(asker);
        Ok(None)
    }

    fn reopen(&mut self, asker: Asker, id: &ContainerId) -> Outcome {
        // A daemon asks again and again while the log's disk hangs.
        if self.reopening.values().filter(|(of, _)| of == id).count() >= MAX_REOPENING {
            return Err(failure(Reason::State, "the log is being opened already: its disk does not answer"));
        }
        let ticket = self.next_ticket;
        self.command(id, Ask::ReopenLog, Command::Reopen(ticket))?;
        self.next_ticket += 1;
        self.reopening.insert(ticket, (id.clone(), asker));
        Ok(None)
    }

    /// Joins a client; whether one of an older daemon gives input is not known, so it is taken for one that does.
    fn attach(&mut self, id: &ContainerId, stdin: bool, mut fds: Vec<OwnedFd>) -> Outcome {
        match (fds.pop(), fds.is_empty()) {
            (Some(socket), true) => {
                let since = match self.container(id)?.stage {
                    Stage::Preparing | Stage::Aborting | Stage::Created | Stage::Starting => Since::Before,
                    Stage::Running | Stage::Ending | Stage::Exited => Since::Later,
                };
                let container = self.container(id)?;
                container.stage.allows(Ask::Attach)?;
                let full = || failure(Reason::State, format!("{MAX_CLIENTS} clients are attached already"));
                let slot = container.pump.slot().ok_or_else(full)?;
                self.command(id, Ask::Attach, Command::Attach(Joining { socket, since, stdin, slot }))
            }
            _ => Err(failure(Reason::Protocol, "Attach comes with one descriptor")),
        }
    }

    fn resize(&mut self, asker: Asker, id: &ContainerId, size: Winsize) -> Outcome {
        let container = self.container(id)?;
        container.stage.allows(Ask::Resize)?;
        if let Some(driver) = container.driver.clone().filter(|driver| driver.has_terminal(None)) {
            driver.resize(None, size, self.resized(asker, id));
            return Ok(None);
        }
        let terminal = container.terminal.as_ref();
        let terminal = terminal.ok_or_else(|| failure(Reason::State, "the container has no terminal"))?;
        set_size(terminal, size)?;
        DONE
    }

    /// What answers when a driver has set a terminal's size.
    pub(super) fn resized(&self, asker: Asker, id: &ContainerId) -> Resized {
        let (notes, id) = (self.notes.clone(), id.clone());
        Box::new(move |outcome| notes.send(&id, Note::Resized(asker, outcome)))
    }

    /// Passes something on to a container's pump.
    fn command(&mut self, id: &ContainerId, ask: Ask, command: Command) -> Outcome {
        let container = self.container(id)?;
        container.stage.allows(ask)?;
        if container.pump.send(command) {
            DONE
        } else {
            Err(failure(Reason::State, "the container's output has ended"))
        }
    }

    pub(super) fn container(&mut self, id: &ContainerId) -> Result<&mut Container, Failure> {
        let missing = || failure(Reason::NotFound, format!("no container {id} in this pod"));
        self.containers.get_mut(id).ok_or_else(missing)
    }
}

/// Signals a process; succeeds when it has ended.
pub(super) fn send(pidfd: &OwnedFd, signal: Signal) -> Result<(), Failure> {
    match pidfd_send_signal(pidfd, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(e) => Err(system("send the signal", &std::io::Error::from(e))),
    }
}

/// Sets a terminal's size, which tells its foreground programs.
pub(super) fn set_size(terminal: &OwnedFd, size: Winsize) -> Result<(), Failure> {
    tcsetwinsize(terminal, size).map_err(|e| system("set the terminal's size", &std::io::Error::from(e)))
}

/// Signals everything in the container: each by a handle taken before its membership was checked.
fn signal_all(container: &Container, signal: Signal) -> Result<(), Failure> {
    let pids = || container.cgroup.pids().map_err(|e| system("list the container's processes", &e));
    let handles: Vec<(Pid, OwnedFd)> = pids()?
        .into_iter()
        .filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok().map(|fd| (pid, fd)))
        .collect();
    let members = pids()?;
    for (_, pidfd) in handles.iter().filter(|(pid, _)| members.contains(pid)) {
        send(pidfd, signal)?;
    }
    // Another process may have moved the main process out of the group, or removed the group.
    let main = container.main.as_ref().map(|main| main.pid);
    if members.iter().all(|pid| Some(pid.as_raw_nonzero().get()) != main) {
        signal_main(container, signal)?;
    }
    Ok(())
}

fn signal_main(container: &Container, signal: Signal) -> Result<(), Failure> {
    if let Some(driver) = container.driver.as_ref().filter(|of| of.is_inside() && signal != Signal::KILL) {
        return driver.signal(signal.as_raw()).map_err(|e| system("signal the container", &e));
    }
    container.pidfd().map_or(Ok(()), |pidfd| send(pidfd, signal))
}
