//! A container's stdio: one thread that reads its output, writes the log, serves attached clients and
//! feeds its stdin.
//!
//! It is a thread of its own because writing a log can hang (a broken disk): then it is this
//! container's output that waits and nothing else. The main thread only sends it commands and
//! never waits for it without a deadline. For the same reason it begins with making the container: mounts can hang
//! too. What becomes of output, clients and the log is in docs/adr/0043.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use berth_types::ContainerId;
use berth_types::shim::{Failure, MAX_PACKET, Reason, Stream};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd};
use rustix::io::Errno;

use crate::container::{Asker, Made};
use crate::exec::Begun;
use crate::outcome::failure;

mod client;
mod fifos;
mod file;
mod input;
mod lines;
mod recorder;

pub(crate) use berth_sys::clock::now;
use client::{Client, Fate};
pub(crate) use client::{Joining, MAX_CLIENTS, Since};
pub(crate) use fifos::{Fifos, Then};
use input::Stdin;
use recorder::Recorder;

/// Stack of the thread. Serving goes no deeper than a few frames with small arrays; making the container needs more.
const STACK: usize = 256 << 10;
/// One read of output, or one packet of input. A pipe holds 64 KiB, of which a thread need not hold all at
/// once.
const CHUNK: usize = MAX_PACKET;
/// How long output is waited for after everything in the container's cgroup is dead: a process outside of it
/// may hold the pipe.
const GRACE: Duration = Duration::from_secs(2);

/// What the main thread asks of a pump.
#[derive(Debug)]
pub(crate) enum Command {
    /// Open the log again; answered by [`Note::Reopened`] with the ticket.
    Reopen(u64),
    /// A further client.
    Attach(Joining),
    /// Every writer is dead: read to the end, then [`Note::Drained`].
    Finish,
}

/// What a thread tells the main thread.
#[derive(Debug)]
pub(crate) enum Note {
    /// The container is made and its log file is open, or why not; the pump ended then.
    Opened(Result<Option<Box<Made>>, Failure>),
    /// A further process of the container runs, or why not.
    Begun(Box<Begun>),
    /// A process ended whose end its driver tells.
    Ended,
    /// A driver has set a terminal's size, or why not.
    Resized(Asker, Result<(), Failure>),
    /// Its runtime has started it, or why not.
    Started(Result<(), Failure>),
    /// The sandbox of the pod's containers runs, or has to be begun by the first of them.
    KernelBegun,
    /// The sandbox that it was to be in has ended, and was no child of this process.
    SandboxEnded,
    /// Its runtime has deleted it, or why not.
    Deleted(Result<(), String>),
    /// The answer to a [`Command::Reopen`].
    Reopened(u64, Result<(), String>),
    /// All output is in the log and the pump has ended.
    Drained,
}

/// The queue of all pumps' notes.
#[derive(Debug, Clone)]
pub(crate) struct Notes {
    queue: Sender<(ContainerId, Note)>,
    wake: Arc<OwnedFd>,
}

/// Where notes arrive.
#[derive(Debug)]
pub(crate) struct Noted {
    /// The notes, with whose they are.
    pub(crate) notes: Receiver<(ContainerId, Note)>,
    /// Readable when there are some; [`reset`] it first.
    pub(crate) wake: Arc<OwnedFd>,
}

/// A counter that makes a poll return.
fn new_eventfd() -> std::io::Result<Arc<OwnedFd>> {
    Ok(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
}

fn notify(wake: &OwnedFd) {
    // It fails only when the counter is full, and then poll returns already.
    let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
}

/// Clears the counter again.
pub(crate) fn reset(wake: &OwnedFd) {
    let _ = rustix::io::read(wake, &mut [0u8; 8]);
}

impl Notes {
    /// The notes, and where they arrive.
    pub(crate) fn new() -> std::io::Result<(Self, Noted)> {
        let (queue, notes) = channel();
        let wake = new_eventfd()?;
        Ok((Self { queue, wake: Arc::clone(&wake) }, Noted { notes, wake }))
    }

    pub(crate) fn send(&self, container: &ContainerId, note: Note) {
        // The main thread lives as long as the process.
        drop(self.queue.send((container.clone(), note)));
        notify(&self.wake);
    }
}

/// The ends that the shim keeps of a container's stdio.
#[derive(Debug)]
pub(crate) enum Ends {
    /// Pipes; stdin only when clients may attach to it.
    Pipes {
        /// The writing end of stdin.
        stdin: Option<OwnedFd>,
        /// The reading end of stdout.
        stdout: OwnedFd,
        /// The reading end of stderr.
        stderr: OwnedFd,
    },
    /// The master of its terminal.
    Terminal(OwnedFd),
    /// What a shim of others serves at the other ends.
    Fifos(Fifos),
}

/// What a pump is made of.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The process that it serves, for the main thread; None in tests of the pump alone.
    pub(crate) made: Option<Box<Made>>,
    /// Its stdio.
    pub(crate) ends: Ends,
    /// Its log file, if it has one.
    pub(crate) log: Option<PathBuf>,
    /// Whether stdin ends when the first client goes that gives input.
    pub(crate) stdin_once: bool,
}

/// The main thread's hold of a pump.
#[derive(Debug)]
pub(crate) struct Handle {
    commands: Sender<Command>,
    wake: Arc<OwnedFd>,
    slots: Arc<()>,
}

/// A client's place among those of a container, whether it is served already or waits for that: it is free again when this
/// is dropped.
#[derive(Debug, Default)]
pub(crate) struct ClientSlot(#[allow(dead_code, reason = "it is counted")] Arc<()>);

impl Handle {
    /// A slot for a further client; None when all are taken.
    pub(crate) fn slot(&self) -> Option<ClientSlot> {
        // One is the handle's own.
        (Arc::strong_count(&self.slots) <= MAX_CLIENTS).then(|| ClientSlot(Arc::clone(&self.slots)))
    }

    /// Asks for something. False when the pump has ended.
    pub(crate) fn send(&self, command: Command) -> bool {
        let sent = self.commands.send(command).is_ok();
        notify(&self.wake);
        sent
    }
}

/// Starts a container's pump, which first makes the container; its first note is [`Note::Opened`]. When the log cannot be
/// opened, what was made is ended before that is told.
pub(crate) fn start(
    container: ContainerId,
    notes: Notes,
    make: impl FnOnce() -> Result<Setup, Failure> + Send + 'static,
) -> std::io::Result<Handle> {
    let (sender, commands) = channel();
    let wake = new_eventfd()?;
    let handle = Handle { commands: sender, wake: Arc::clone(&wake), slots: Arc::new(()) };
    let name = format!("log {}", &container.short()[..8]);
    std::thread::Builder::new().name(name).stack_size(STACK).spawn(move || {
        let made = make().and_then(|mut setup| {
            let made = setup.made.take();
            let pump = Pump::new(container.clone(), setup, commands, wake, notes.clone());
            pump.map(|pump| (pump, made)).map_err(|why| failure(Reason::System, why))
        });
        match made {
            Ok((pump, made)) => {
                notes.send(&container, Note::Opened(Ok(made)));
                let clients = pump.run();
                notes.send(&container, Note::Drained);
                see_off(clients);
            }
            Err(failure) => notes.send(&container, Note::Opened(Err(failure))),
        }
    })?;
    Ok(handle)
}

struct Pump {
    container: ContainerId,
    sources: Vec<Source>,
    stdin: Stdin,
    recorder: Recorder,
    clients: Vec<Client>,
    commands: Receiver<Command>,
    wake: Arc<OwnedFd>,
    notes: Notes,
    finish: Option<Instant>,
    /// A slave of the terminal, until the end. Without it reads of the master fail with EIO while no program has the
    /// terminal open, and the next may open it again: an init that opens `/dev/console` for each message.
    slave: Option<OwnedFd>,
    buffer: Box<[u8]>,
}

struct Source {
    stream: Stream,
    fd: Arc<OwnedFd>,
    /// Whether reading it tells an end only behind a first writer, which may not have come.
    is_fifo: bool,
}

impl Source {
    fn new(stream: Stream, fd: Arc<OwnedFd>) -> Self {
        Self { stream, fd, is_fifo: false }
    }

    /// Whether nobody has written to it yet.
    fn is_unopened(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut polled = [PollFd::new(&*self.fd, PollFlags::IN)];
        self.is_fifo && rustix::event::poll(&mut polled, Some(&now)).is_ok_and(|ready| ready == 0)
    }
}

impl Pump {
    fn new(
        container: ContainerId,
        setup: Setup,
        commands: Receiver<Command>,
        wake: Arc<OwnedFd>,
        notes: Notes,
    ) -> Result<Self, String> {
        let terminal = match &setup.ends {
            Ends::Pipes { .. } => false,
            Ends::Terminal(_) => true,
            Ends::Fifos(fifos) => fifos.stderr.is_none(),
        };
        let recorder = Recorder::open(setup.log, terminal)?;
        let mut slave = None;
        let (sources, stdin) = match setup.ends {
            Ends::Pipes { stdin, stdout, stderr } => (
                vec![Source::new(Stream::Stdout, stdout.into()), Source::new(Stream::Stderr, stderr.into())],
                Stdin::pipe(stdin, setup.stdin_once),
            ),
            Ends::Terminal(master) => {
                slave = berth_sys::pty::peer(master.as_fd()).ok();
                let master = Arc::new(master);
                let stdin = Stdin::terminal(Arc::clone(&master));
                (vec![Source::new(Stream::Stdout, master)], stdin)
            }
            Ends::Fifos(fifos) => fifos.into_sources(setup.stdin_once),
        };
        for fd in sources.iter().map(|s| s.fd.as_fd()).chain(stdin.fd()) {
            rustix::io::ioctl_fionbio(fd, true).map_err(|e| format!("set up stdio: {e}"))?;
        }
        let buffer = vec![0; CHUNK].into_boxed_slice();
        let (clients, finish) = (Vec::new(), None);
        Ok(Self {
            container,
            sources,
            stdin,
            recorder,
            clients,
            commands,
            wake,
            notes,
            finish,
            slave,
            buffer,
        })
    }

    /// Works until the end. The clients that have not taken everything yet.
    fn run(mut self) -> Vec<Client> {
        while !self.ended() {
            if let Err(error) = self.wait() {
                // Without poll the thread cannot continue; the only possible error is ENOMEM.
                self.recorder.notice(&format!("berth: the log ends here: {error}"));
                break;
            }
            reset(&self.wake);
            self.run_commands();
            self.serve_clients();
            self.stdin.flush();
            if !self.held_back() {
                self.read_output();
            }
        }
        self.recorder.end();
        self.clients
    }

    fn ended(&self) -> bool {
        let all_read = self.sources.is_empty() && !self.held_back();
        self.finish.is_some_and(|deadline| all_read || Instant::now() >= deadline)
    }

    /// Whether a client has not taken the last output yet.
    fn held_back(&self) -> bool {
        self.clients.iter().any(|client| client.holds_back(self.finish.is_some()))
    }

    /// Waits until there is something to do. Clients that have disconnected have left then.
    fn wait(&mut self) -> Result<(), Errno> {
        let mut polled = vec![PollFd::new(&*self.wake, PollFlags::IN)];
        if !self.held_back() {
            polled.extend(self.sources.iter().map(|s| PollFd::from_borrowed_fd(s.fd.as_fd(), PollFlags::IN)));
        }
        if let Some(fd) = self.stdin.waits_for() {
            polled.push(PollFd::from_borrowed_fd(fd, PollFlags::OUT));
        }
        let (others, mut asked) = (polled.len(), Vec::with_capacity(self.clients.len()));
        for (at, client) in self.clients.iter().enumerate() {
            let output = if client.waits() { PollFlags::OUT } else { PollFlags::empty() };
            let input = if self.stdin.takes_from(client) { PollFlags::IN } else { PollFlags::empty() };
            // That it hangs up is told without being asked for, and of one that has again and again.
            if !client.has_left() || !input.is_empty() {
                polled.push(PollFd::from_borrowed_fd(client.as_fd(), output | input));
                asked.push(at);
            }
        }
        let until = self.clients.iter().filter_map(Client::deadline).chain(self.finish).min();
        poll_until(&mut polled, until)?;
        let hung_up = |polled: &PollFd<'_>| polled.revents().contains(PollFlags::HUP);
        asked =
            asked.into_iter().zip(&polled[others..]).filter(|(_, p)| hung_up(p)).map(|(at, _)| at).collect();
        drop(polled);
        let now = Instant::now();
        asked.into_iter().for_each(|at| self.clients[at].leave(now));
        Ok(())
    }

    /// Does what the main thread asked for.
    fn run_commands(&mut self) {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Reopen(ticket)) => {
                    let done = self.recorder.reopen();
                    self.notes.send(&self.container, Note::Reopened(ticket, done));
                }
                Ok(Command::Attach(client)) => self.clients.extend(Client::new(client)),
                Ok(Command::Finish) => {
                    self.finish = Some(Instant::now() + GRACE);
                    self.slave = None;
                }
                Err(TryRecvError::Empty) => return,
                // The container was dropped before it ran.
                Err(TryRecvError::Disconnected) => {
                    self.finish.get_or_insert_with(Instant::now);
                    return;
                }
            }
        }
    }

    /// Sends what waits and takes input.
    fn serve_clients(&mut self) {
        let now = Instant::now();
        let (stdin, buffer) = (&mut self.stdin, &mut self.buffer);
        self.clients.retain_mut(|client| {
            if client.flush(now) == Fate::Gone {
                client.leave(now);
            }
            let stays = !client.is_over(now) && stdin.take(client, buffer);
            if !stays {
                stdin.client_gone(client);
            }
            stays
        });
    }

    /// Reads each stream once: neither can starve the other.
    fn read_output(&mut self) {
        let now = Instant::now();
        let mut sources = std::mem::take(&mut self.sources);
        sources.retain(|source| match rustix::io::read(&*source.fd, &mut *self.buffer) {
            Ok(0) => source.is_unopened(),
            Ok(n) => {
                let bytes = &self.buffer[..n];
                self.recorder.take(source.stream, bytes);
                for client in &mut self.clients {
                    if client.send(source.stream, bytes, now) == Fate::Gone {
                        client.leave(now);
                    }
                }
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => true,
            // EIO: no process has the terminal open any more.
            Err(_) => false,
        });
        self.sources = sources;
    }
}

fn poll_until(polled: &mut [PollFd<'_>], until: Option<Instant>) -> Result<(), Errno> {
    let timeout = until.map(|until| {
        let left = until.saturating_duration_since(Instant::now());
        Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        }
    });
    match rustix::event::poll(polled, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Gives clients the rest of the output of a container that has ended; its log is complete.
fn see_off(mut clients: Vec<Client>) {
    loop {
        let now = Instant::now();
        clients.retain_mut(|client| client.flush(now) == Fate::Waits);
        if clients.is_empty() {
            return;
        }
        let mut polled: Vec<_> =
            clients.iter().map(|client| PollFd::from_borrowed_fd(client.as_fd(), PollFlags::OUT)).collect();
        let until = clients.iter().filter_map(Client::deadline).min();
        if poll_until(&mut polled, until).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
