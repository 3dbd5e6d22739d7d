//! A container in the foreground: its signals, its terminal, its end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_sys::process;
use berth_sys::signal::{SignalFd, named};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, Winsize};

/// The numbers of the signals that go to the container.
const FORWARDED: [i32; 7] = [1, 2, 3, 10, 12, 15, WINCH];
const WINCH: i32 = 28;
/// How long to wait for output when all of its writers have ended.
const GRACE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// Connects the caller's streams with a container.
#[derive(Debug)]
pub(crate) struct Foreground {
    signals: SignalFd,
    /// The caller's terminal as it was, to be restored.
    before: Option<Termios>,
}

impl Drop for Foreground {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = rustix::termios::tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

impl Foreground {
    /// Takes the signals.
    pub(crate) fn signals() -> std::io::Result<Self> {
        Ok(Self { signals: SignalFd::new(&FORWARDED)?, before: None })
    }

    /// Makes the caller's terminal raw, if there is one.
    pub(crate) fn take_terminal(&mut self) -> std::io::Result<()> {
        if let Ok(before) = rustix::termios::tcgetattr(std::io::stdin()) {
            let mut raw = before.clone();
            raw.make_raw();
            rustix::termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)?;
            self.before = Some(before);
        }
        Ok(())
    }

    /// The signals, for who waits for something else.
    pub(crate) fn signals_fd(&self) -> &SignalFd {
        &self.signals
    }

    /// Serves until the process has ended and its terminal is drained; its exit status. `ended` is called
    /// in between, to end what the process left behind, which might hold the terminal.
    pub(crate) fn until_exit(
        self,
        pidfd: BorrowedFd<'_>,
        console: Option<OwnedFd>,
        ended: impl FnOnce(),
    ) -> std::io::Result<i32> {
        let mut terminal = console.map(Terminal::new).transpose()?;
        let mut exit = None;
        let mut ended = Some(ended);
        resize(terminal.as_ref());
        while exit.is_none() || terminal.is_some() {
            // A process that could not be killed may hold the terminal forever.
            let limit = exit.map(|_| GRACE);
            let process = exit.is_none().then_some(pidfd);
            let Some(ready) = self.look(process, terminal.as_ref(), limit)? else { break };
            if ready.signals {
                self.forward(pidfd, terminal.as_ref())?;
            }
            if ready.end {
                exit = Some(process::reap(pidfd).map_or(255, process::Exit::shell_code));
                if let Some(ended) = ended.take() {
                    ended();
                }
                if let Some(terminal) = &mut terminal {
                    terminal.slave = None;
                }
            }
            if terminal.as_mut().is_some_and(|terminal| !terminal.serve(&ready)) {
                terminal = None;
            }
        }
        Ok(exit.unwrap_or(255))
    }

    /// Waits until there is something to do; None when the time is up.
    fn look(
        &self,
        process: Option<BorrowedFd<'_>>,
        terminal: Option<&Terminal>,
        limit: Option<Timespec>,
    ) -> std::io::Result<Option<Ready>> {
        let stdin = std::io::stdin();
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let mut add = |fd, events| {
            fds.push(PollFd::from_borrowed_fd(fd, events));
            fds.len() - 1
        };
        let process = process.map(|fd| add(fd, PollFlags::IN));
        let master = terminal.map(|terminal| add(terminal.master.as_fd(), terminal.events()));
        let input =
            terminal.filter(|terminal| terminal.wants_input()).map(|_| add(stdin.as_fd(), PollFlags::IN));
        match poll(&mut fds, limit.as_ref()) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Some(Ready::default())),
            Err(e) => return Err(e.into()),
        }
        let of =
            |at: Option<usize>| at.and_then(|at| fds.get(at)).map_or(PollFlags::empty(), PollFd::revents);
        Ok(Some(Ready {
            signals: !of(Some(0)).is_empty(),
            end: !of(process).is_empty(),
            // Also its end.
            output: !of(master).difference(PollFlags::OUT).is_empty(),
            room: of(master).contains(PollFlags::OUT),
            input: !of(input).is_empty(),
        }))
    }

    fn forward(&self, pidfd: BorrowedFd<'_>, terminal: Option<&Terminal>) -> std::io::Result<()> {
        while let Some(number) = self.signals.next()? {
            if number == WINCH && terminal.is_some() {
                resize(terminal);
            } else if let Some(signal) = named(number) {
                // One that has ended needs none.
                let _ = rustix::process::pidfd_send_signal(pidfd, signal);
            }
        }
        Ok(())
    }
}

/// What there is to do.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "what poll says of several descriptors")]
struct Ready {
    signals: bool,
    /// The process has ended.
    end: bool,
    /// The terminal has output, or is closed.
    output: bool,
    /// The terminal takes input.
    room: bool,
    /// The caller has input.
    input: bool,
}

/// The container's terminal, and what of the caller's input it has not taken yet.
#[derive(Debug)]
struct Terminal {
    master: OwnedFd,
    /// Without it, reads of a terminal that all have closed fail with EIO, and another process may open it again.
    slave: Option<OwnedFd>,
    reading: bool,
    pending: Vec<u8>,
}

impl Terminal {
    fn new(master: OwnedFd) -> std::io::Result<Self> {
        // A container that does not read must not stop what it writes, nor signals.
        rustix::io::ioctl_fionbio(&master, true)?;
        let slave = berth_sys::pty::peer(master.as_fd()).ok();
        Ok(Self { master, slave, reading: true, pending: Vec::new() })
    }

    fn events(&self) -> PollFlags {
        if self.pending.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
    }

    fn wants_input(&self) -> bool {
        self.reading && self.pending.is_empty()
    }

    /// Passes on what there is; false when the terminal is closed.
    fn serve(&mut self, ready: &Ready) -> bool {
        if ready.input {
            match read(std::io::stdin().as_fd()) {
                Some(bytes) => self.pending = bytes,
                None => self.reading = false,
            }
        }
        if ready.room || ready.input {
            match rustix::io::write(&self.master, &self.pending) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => {
                    self.pending.clear();
                    self.reading = false;
                }
            }
        }
        if !ready.output {
            return true;
        }
        // EIO: the terminal's other side is closed by all.
        let Some(bytes) = read(self.master.as_fd()) else { return false };
        write_all(std::io::stdout().as_fd(), &bytes)
    }
}

/// Gives the container's terminal the size of the caller's.
fn resize(terminal: Option<&Terminal>) {
    if let Some(terminal) = terminal
        && let Some(size) = window_of(std::io::stdin().as_fd())
        // A caller's terminal may have no size; then `consoleSize` counts, if it is set.
        && (size.ws_row, size.ws_col) != (0, 0)
    {
        let size = Winsize { ws_xpixel: 0, ws_ypixel: 0, ..size };
        let _ = rustix::termios::tcsetwinsize(&terminal.master, size);
    }
}

/// What is there; None when there will be no more.
fn read(from: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let mut buffer = vec![0u8; 8192];
    match rustix::io::read(from, &mut buffer) {
        Ok(0) => None,
        Ok(read) => {
            buffer.truncate(read);
            Some(buffer)
        }
        Err(Errno::INTR | Errno::AGAIN) => Some(Vec::new()),
        Err(_) => None,
    }
}

/// Whether everything could be written.
fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or(&[]),
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}

/// The size of a terminal.
fn window_of(fd: BorrowedFd<'_>) -> Option<Winsize> {
    rustix::termios::tcgetwinsize(fd).ok()
}
