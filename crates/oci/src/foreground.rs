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

    /// Serves until the process has ended and its terminal is drained; its exit status. `ended` is called
    /// in between, to end what the process left behind, which might hold the terminal.
    pub(crate) fn until_exit(
        self,
        pidfd: BorrowedFd<'_>,
        console: Option<OwnedFd>,
        ended: impl FnOnce(),
    ) -> std::io::Result<i32> {
        let stdin = std::io::stdin();
        let mut console = console;
        // Without it, reads of a terminal that all have closed fail with EIO, and another process may open it again.
        let mut slave = console.as_ref().and_then(|master| berth_sys::pty::peer(master.as_fd()).ok());
        let mut reading = console.is_some();
        let mut exit = None;
        let mut ended = Some(ended);
        resize(console.as_ref());
        while exit.is_none() || console.is_some() {
            let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
            if exit.is_none() {
                fds.push(PollFd::from_borrowed_fd(pidfd, PollFlags::IN));
            }
            if let Some(console) = &console {
                fds.push(PollFd::new(console, PollFlags::IN));
            }
            let console_at = fds.len() - 1;
            if reading {
                fds.push(PollFd::new(&stdin, PollFlags::IN));
            }
            // A process that could not be killed may hold the terminal forever.
            let limit = exit.map(|_| GRACE);
            match poll(&mut fds, limit.as_ref()) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let ready: Vec<bool> = fds.iter().map(|f| !f.revents().is_empty()).collect();
            drop(fds);
            if ready[0] {
                self.forward(pidfd, console.as_ref())?;
            }
            if exit.is_none() && ready[1] {
                exit = Some(process::reap(pidfd).map_or(255, process::Exit::shell_code));
                if let Some(ended) = ended.take() {
                    ended();
                }
                slave = None;
            }
            if reading && ready.last() == Some(&true) {
                reading = copy(stdin.as_fd(), console.as_ref().map(AsFd::as_fd));
            }
            if console.is_some() && ready[console_at] {
                let stdout = std::io::stdout();
                if !copy(console.as_ref().map_or(stdin.as_fd(), AsFd::as_fd), Some(stdout.as_fd())) {
                    console = None;
                    reading = false;
                }
            }
        }
        drop(slave);
        Ok(exit.unwrap_or(255))
    }

    fn forward(&self, pidfd: BorrowedFd<'_>, console: Option<&OwnedFd>) -> std::io::Result<()> {
        while let Some(number) = self.signals.next()? {
            if number == WINCH && console.is_some() {
                resize(console);
            } else if let Some(signal) = named(number) {
                // One that has ended needs none.
                let _ = rustix::process::pidfd_send_signal(pidfd, signal);
            }
        }
        Ok(())
    }
}

/// Gives the container's terminal the size of the caller's.
fn resize(console: Option<&OwnedFd>) {
    if let Some(console) = console
        && let Some(size) = window_of(std::io::stdin().as_fd())
        // A caller's terminal may have no size; then `consoleSize` counts, if it is set.
        && (size.ws_row, size.ws_col) != (0, 0)
    {
        let size = Winsize { ws_xpixel: 0, ws_ypixel: 0, ..size };
        let _ = rustix::termios::tcsetwinsize(console, size);
    }
}

/// Copies what is there; false when there will be no more.
fn copy(from: BorrowedFd<'_>, to: Option<BorrowedFd<'_>>) -> bool {
    let mut buffer = [0u8; 8192];
    let Some(to) = to else { return false };
    match rustix::io::read(from, &mut buffer) {
        Ok(0) => false,
        Ok(read) => {
            let mut rest = buffer.get(..read).unwrap_or(&[]);
            while !rest.is_empty() {
                match rustix::io::write(to, rest) {
                    Ok(written) => rest = rest.get(written..).unwrap_or(&[]),
                    Err(Errno::INTR) => {}
                    Err(_) => return false,
                }
            }
            true
        }
        Err(Errno::INTR | Errno::AGAIN) => true,
        // EIO: the terminal's other side is closed by all.
        Err(_) => false,
    }
}

/// The size of a terminal.
fn window_of(fd: BorrowedFd<'_>) -> Option<Winsize> {
    rustix::termios::tcgetwinsize(fd).ok()
}
