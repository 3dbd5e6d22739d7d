//! The shim's main thread: an event loop over daemons, children and pumps.
//!
//! Nothing here waits: what takes time is a thread (the pumps, which make their containers, and one for each exec
//! session that begins) or comes back later by an event or a deadline.
//!
//! A child is waited for by its owner: the thread that prepares it, and this one from when it is handed over. So no
//! process id is reused under either's hands, and no end is lost: while a thread is at work, this one waits for
//! the children that it knows and for no others, and looks at all of them again when that thread is done. See
//! docs/adr/0040.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use berth_sys::signal::SignalFd;
use berth_types::shim::bundle::Task;
use berth_types::shim::{Answer, Event, Failure, FromShim, Reason, ToShim, decode, request_number};
use berth_types::{ContainerId, ExecId, SandboxId};
use rustix::event::{Timespec, epoll};
use rustix::process::{WaitId, WaitIdOptions, WaitOptions, wait, waitid};

use crate::connection::{Connection, Gone};
use crate::container::{Asker, Container};
use crate::exec::{Beginning, Session};
use crate::foreign::Shim;
use crate::init::Init;
use crate::making::Spaces;
use crate::outcome::{Ended, failure};
use crate::pump::{self, Note, Noted, Notes};
use crate::runtime::{Runtime, Sandbox};

mod create;
mod driver;
mod ending;
mod request;
mod session;
mod shutdown;
mod start;

/// What an event of epoll belongs to; connections come after these.
const LISTENER: u64 = 0;
const SIGNALS: u64 = 1;
const NOTES: u64 = 2;
const FIRST_CONNECTION: u64 = 16;
/// With the number of a process: the gate of a container that is being started.
const GATE: u64 = 1 << 63;
/// The most daemons at once. There is one, or two for a moment when one replaces the other.
const MAX_CONNECTIONS: usize = 16;

/// What the shim knows and holds.
#[derive(Debug)]
pub(crate) struct Server {
    epoll: OwnedFd,
    listener: OwnedFd,
    signals: SignalFd,
    notes: Notes,
    noted: Noted,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    pod: Option<Pod>,
    containers: BTreeMap<ContainerId, Container>,
    sessions: BTreeMap<ExecId, Session>,
    beginning: BTreeMap<ExecId, Beginning>,
    /// Threads in which drivers start or delete containers.
    by_drivers: usize,
    reopening: BTreeMap<u64, (ContainerId, Asker)>,
    next_ticket: u64,
    shutdown: Option<shutdown::Shutdown>,
    /// What begins the kernel of the pod's containers, as long as it does.
    kernel: Option<Arc<Runtime>>,
    /// What containers have whose plans say nothing, if it is not the shim's own.
    oom_score: Option<i32>,
    /// What the containers' mount namespaces begin as copies of.
    base: Arc<OwnedFd>,
    done: bool,
}

/// What the shim was told of its pod.
#[derive(Debug)]
struct Pod {
    sandbox: SandboxId,
    state_dir: PathBuf,
    spaces: Arc<Spaces>,
    init: Option<Init>,
    /// Opened when it is needed: the daemon may still be making it.
    cgroup_dirs: Vec<PathBuf>,
    /// What its containers are in, where they share a kernel of their own.
    inside: OnceLock<Arc<Sandbox>>,
    /// What makes its containers, where that is a shim of others.
    foreign: OnceLock<Arc<Shim>>,
}

impl Pod {
    /// The sandbox of its containers, which is begun with the first of them.
    fn sandbox(&self, notes: &Notes) -> std::io::Result<Arc<Sandbox>> {
        if let Some(sandbox) = self.inside.get() {
            return Ok(Arc::clone(sandbox));
        }
        let sandbox = Arc::new(Sandbox::new(self.sandbox.to_string(), &self.state_dir, notes.clone())?);
        Ok(Arc::clone(self.inside.get_or_init(|| sandbox)))
    }

    /// The shim of others, which is begun with the first of its containers.
    fn foreign(&self, task: &Task) -> std::io::Result<Arc<Shim>> {
        if let Some(shim) = self.foreign.get() {
            return Ok(Arc::clone(shim));
        }
        let shim = Arc::new(Shim::new(task, self.sandbox.to_string(), &self.state_dir)?);
        Ok(Arc::clone(self.foreign.get_or_init(|| shim)))
    }
}

impl Server {
    /// A new shim, with its listening socket and its first connection.
    pub(crate) fn new(
        listener: OwnedFd,
        first: OwnedFd,
        base: OwnedFd,
        signals: SignalFd,
        oom_score: Option<i32>,
    ) -> std::io::Result<Self> {
        let (notes, noted) = Notes::new()?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // Edge-triggered: a caller that cannot be accepted, for lack of descriptors, must not wake the loop
        // again and again.
        let once = epoll::EventFlags::IN | epoll::EventFlags::ET;
        let sources = [
            (listener.as_fd(), LISTENER, once),
            (signals.as_fd(), SIGNALS, epoll::EventFlags::IN),
            (noted.wake.as_fd(), NOTES, epoll::EventFlags::IN),
        ];
        for (fd, token, flags) in sources {
            epoll::add(&epoll, fd, epoll::EventData::new_u64(token), flags)?;
        }
        rustix::io::ioctl_fionbio(&listener, true)?;
        let mut server = Self {
            epoll,
            listener,
            signals,
            notes,
            noted,
            connections: BTreeMap::new(),
            next_connection: FIRST_CONNECTION,
            pod: None,
            containers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            beginning: BTreeMap::new(),
            by_drivers: 0,
            reopening: BTreeMap::new(),
            next_ticket: 0,
            shutdown: None,
            kernel: None,
            oom_score,
            base: Arc::new(base),
            done: false,
        };
        server.connect(first)?;
        Ok(server)
    }

    /// Serves until the pod is shut down, or until the daemon went away before it configured a pod.
    pub(crate) fn run(&mut self) -> std::io::Result<()> {
        let mut events = Vec::with_capacity(16);
        while !self.done {
            events.clear();
            let timeout = self.deadline().map(|deadline| {
                let left = deadline.saturating_duration_since(Instant::now());
                Timespec {
                    tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: left.subsec_nanos().into(),
                }
            });
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            for event in &events {
                let flags = event.flags;
                match event.data.u64() {
                    LISTENER => self.accept(),
                    SIGNALS => self.reap()?,
                    NOTES => self.hear(),
                    gate if gate & GATE != 0 => self.at_gate(gate),
                    connection => self.talk(connection, flags),
                }
            }
            self.keep_time(Instant::now());
            self.done |= self.pod.is_none() && self.connections.is_empty();
        }
        Ok(())
    }

    /// When something is to be done even if nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let containers = self.containers.values().filter_map(Container::deadline);
        let sessions = self.sessions.values().filter_map(|s| s.deadline);
        let beginning = self.beginning.values().filter_map(|beginning| beginning.by_runtime.as_ref());
        let beginning = beginning.filter(|by| !by.timed_out).filter_map(|by| by.deadline);
        let shutdown = self.shutdown.as_ref().map(|s| s.again);
        containers.chain(sessions).chain(beginning).chain(shutdown).min()
    }

    fn keep_time(&mut self, now: Instant) {
        let due = |c: &Container| c.ending.as_ref().is_some_and(|e| e.again <= now);
        let ids: Vec<ContainerId> =
            self.containers.iter().filter(|(_, c)| due(c)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.advance(&id);
        }
        let due = |c: &Container| c.abort_retry.is_some_and(|again| again <= now);
        let ids: Vec<ContainerId> =
            self.containers.iter().filter(|(_, c)| due(c)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.kill_doomed(&id, now);
        }
        self.end_late_starts(now);
        self.end_late_sessions(now);
        self.advance_shutdown(now);
    }

    /// Waits for every child that ended: the pod's and those that were orphaned to this subreaper.
    fn reap(&mut self) -> std::io::Result<()> {
        while self.signals.next()?.is_some() {}
        self.reap_children();
        Ok(())
    }

    fn reap_children(&mut self) {
        while let Some((pid, ended)) = self.next_ended() {
            if !self.session_ended(pid, ended) && !self.main_ended(pid, ended) {
                self.init_ended(pid);
            }
        }
        self.hear_of_ends();
    }

    /// A child that has ended, and is reaped by this.
    fn next_ended(&self) -> Option<(i32, Ended)> {
        if self.at_work() == 0 {
            let (pid, status) = wait(WaitOptions::NOHANG).ok().flatten()?;
            return Some((pid.as_raw_nonzero().get(), status.into()));
        }
        // Among the others may be children that a thread is still preparing.
        let mains = self.containers.values().filter(|c| c.stage.is_alive());
        let mains = mains.filter_map(|c| c.main.as_ref()).map(|main| (main.pid, &main.pidfd));
        let sessions = self.sessions.values().map(|session| (session.pid, &session.pidfd));
        let init = self.pod.iter().filter_map(|pod| pod.init.as_ref());
        let init = init.map(|init| (init.child.pid, &init.child.pidfd));
        let sandbox = self.pod.iter().filter_map(|pod| pod.inside.get()?.process()).next();
        let sandbox = sandbox.iter().map(|(pid, pidfd)| (*pid, pidfd));
        mains.chain(sessions).chain(init).chain(sandbox).find_map(|(pid, pidfd)| {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let status = waitid(WaitId::PidFd(pidfd.as_fd()), options).ok().flatten()?;
            Some((pid, status.into()))
        })
    }

    /// Handles the pumps' notes.
    fn hear(&mut self) {
        pump::reset(&self.noted.wake);
        while let Ok((container, note)) = self.noted.notes.try_recv() {
            match note {
                Note::Opened(outcome) => self.made(&container, outcome),
                Note::Begun(begun) => self.begun(*begun),
                Note::Reopened(ticket, outcome) => {
                    if let Some((_, asker)) = self.reopening.remove(&ticket) {
                        let outcome = outcome.map(|()| Answer::Done);
                        self.answer(asker, outcome.map_err(|m| failure(Reason::System, m)), vec![]);
                    }
                }
                Note::Ended => self.reap_children(),
                Note::Resized(asker, outcome) => {
                    self.answer(asker, outcome.map(|()| Answer::Done), vec![]);
                }
                Note::Drained => self.drained(&container),
                Note::Started(outcome) => self.started_by_driver(&container, outcome),
                Note::KernelBegun => self.kernel_begun(),
                Note::SandboxEnded => self.sandbox_ended(),
                Note::Deleted(outcome) => self.deleted_by_driver(&container, outcome),
            }
        }
    }

    fn accept(&mut self) {
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        while let Ok(socket) = rustix::net::accept_with(&self.listener, flags) {
            if self.connections.len() < MAX_CONNECTIONS {
                // One that cannot be watched is closed, which its daemon sees.
                drop(self.connect(socket));
            }
        }
    }

    fn connect(&mut self, socket: OwnedFd) -> std::io::Result<()> {
        let token = self.next_connection;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(token), epoll::EventFlags::IN)?;
        self.next_connection += 1;
        self.connections.insert(token, Connection::new(socket));
        Ok(())
    }

    fn talk(&mut self, token: u64, flags: epoll::EventFlags) {
        if flags.contains(epoll::EventFlags::OUT) {
            let sent = self.connections.get_mut(&token).map(Connection::flush);
            self.after_sending(token, sent.unwrap_or(Ok(())));
        }
        if !flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            return;
        }
        // The connection may be dropped while one of its requests is being handled.
        while let Some(connection) = self.connections.get_mut(&token) {
            match connection.next() {
                Ok(Some(frame)) => match decode::<ToShim>(&frame.body) {
                    Ok(message) => {
                        let asker = Asker { connection: token, number: message.number };
                        drop(frame.body);
                        self.handle(asker, message.request, frame.fds);
                    }
                    Err(error) => match request_number(&frame.body) {
                        // Perhaps a newer daemon's. Only this message fails.
                        Some(number) => {
                            let refused = failure(Reason::Protocol, error.to_string());
                            self.answer(Asker { connection: token, number }, Err(refused), vec![]);
                        }
                        // What has no number is not a request of any version.
                        None => self.disconnect(token),
                    },
                },
                Ok(None) => return,
                Err(Gone) => self.disconnect(token),
            }
        }
    }

    fn disconnect(&mut self, token: u64) {
        if let Some(connection) = self.connections.remove(&token) {
            // Closing it is not enough while a new child has a copy of every descriptor.
            let _ = epoll::delete(&self.epoll, &connection);
        }
    }

    fn after_sending(&mut self, token: u64, sent: Result<(), Gone>) {
        let Some(connection) = self.connections.get(&token) else { return };
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, connection.waits());
        let data = epoll::EventData::new_u64(token);
        if sent.is_err() || epoll::modify(&self.epoll, connection, data, flags).is_err() {
            self.disconnect(token);
        }
    }

    fn send(&mut self, token: u64, message: &FromShim, fds: Vec<OwnedFd>) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let waited = connection.waits();
        let sent = connection.send(message, fds);
        // Only when it changes; most answers go out at once.
        if sent.is_err() || waited || connection.waits() {
            self.after_sending(token, sent);
        }
    }

    fn answer(&mut self, asker: Asker, outcome: Result<Answer, Failure>, fds: Vec<OwnedFd>) {
        self.send(asker.connection, &FromShim::Answer { number: asker.number, outcome }, fds);
    }

    /// Tells every daemon that said Hello, in a form that its version knows.
    fn tell(&mut self, event: &Event) {
        let greeted: Vec<(u64, u16)> =
            self.connections.iter().filter_map(|(token, c)| Some((*token, c.greeted?))).collect();
        for (token, version) in greeted {
            if let Some(event) = event.clone().for_version(version) {
                self.send(token, &FromShim::Event(event), vec![]);
            }
        }
    }
}

/// A round of killing or removing that did not finish is tried again after so long.
const AGAIN: Duration = Duration::from_millis(10);
