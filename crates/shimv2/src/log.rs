//! The log of a shim: a FIFO named `log` in its bundle, which it opens for writing before anything else.
//!
//! Without a reader the shim waits or dies, and with one that does not read it stops once the FIFO is full. So a thread reads it from before the
//! start; the end that it holds is for writing too, so that there is no end of file between one writer and the next.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::io::Errno;

use crate::program::{Words, words};

/// Its name in the bundle.
pub const NAME: &str = "log";
/// The last bytes that are kept for messages.
const TAIL: usize = 4 << 10;
/// The most bytes of one line; what is longer comes in parts.
const MAX_LINE: usize = 4 << 10;

/// The reader of a shim's log, until it is dropped.
#[derive(Debug)]
pub struct Log {
    tail: Arc<Mutex<VecDeque<u8>>>,
    stop: Arc<OwnedFd>,
}

impl Log {
    /// Makes the FIFO, unless it is there, and reads it; `line` is called for every line, without its end.
    ///
    /// # Errors
    /// The FIFO cannot be made or opened, or there is another kind of file in its place.
    pub fn open(bundle: &Path, line: impl FnMut(&[u8]) + Send + 'static) -> io::Result<Self> {
        let path = bundle.join(NAME);
        match mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fifo = open(&path, flags, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&fifo)?.st_mode) != FileType::Fifo {
            return Err(io::Error::other("it is no FIFO"));
        }
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let log = Self { tail: Arc::clone(&tail), stop: Arc::clone(&stop) };
        std::thread::Builder::new().name("shim log".to_owned()).spawn(move || {
            Reader { fifo, stop, tail, line, begun: Vec::new() }.run();
        })?;
        Ok(log)
    }

    /// What came last.
    pub fn words(&self) -> Words {
        let tail: Vec<u8> = lock(&self.tail).iter().copied().collect();
        words(&tail)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // It fails only when the thread is about to wake anyway.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
    }
}

struct Reader<F> {
    fifo: OwnedFd,
    stop: Arc<OwnedFd>,
    tail: Arc<Mutex<VecDeque<u8>>>,
    line: F,
    begun: Vec<u8>,
}

impl<F: FnMut(&[u8])> Reader<F> {
    fn run(mut self) {
        let mut buffer = [0; 8 << 10];
        loop {
            let mut fds = [PollFd::new(&self.fifo, PollFlags::IN), PollFd::new(&*self.stop, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            let stopped = !fds[1].revents().is_empty();
            match rustix::io::read(self.fifo.as_fd(), &mut buffer) {
                Ok(count) => self.take(buffer.get(..count).unwrap_or_default()),
                Err(Errno::AGAIN) if stopped => break,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => break,
            }
        }
        if !self.begun.is_empty() {
            (self.line)(&self.begun);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut tail = lock(&self.tail);
        tail.extend(bytes);
        let over = tail.len().saturating_sub(TAIL);
        tail.drain(..over);
        drop(tail);
        for byte in bytes {
            if *byte != b'\n' {
                self.begun.push(*byte);
            }
            if *byte == b'\n' || self.begun.len() >= MAX_LINE {
                (self.line)(&self.begun);
                self.begun.clear();
            }
        }
    }
}

fn lock(tail: &Mutex<VecDeque<u8>>) -> MutexGuard<'_, VecDeque<u8>> {
    tail.lock().unwrap_or_else(PoisonError::into_inner)
}
