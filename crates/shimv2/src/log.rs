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

/// What is read in one go, so that a shim which logs without end keeps nobody.
const AT_ONCE: usize = 1 << 20;

/// The reader of a shim's log, until it is dropped.
#[derive(Debug)]
pub struct Log {
    reader: Arc<Mutex<Reader>>,
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
        let fifo = Arc::new(fifo);
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let reader = Reader {
            fifo: Arc::clone(&fifo),
            tail: VecDeque::new(),
            line: Box::new(line),
            begun: Vec::new(),
        };
        let log = Self { reader: Arc::new(Mutex::new(reader)), stop: Arc::clone(&stop) };
        let reader = Arc::clone(&log.reader);
        let thread = std::thread::Builder::new().name("shim log".to_owned());
        thread.spawn(move || run(&fifo, &stop, &reader))?;
        Ok(log)
    }

    /// What came last, up to now.
    pub fn words(&self) -> Words {
        let mut reader = lock(&self.reader);
        reader.read();
        let tail: Vec<u8> = reader.tail.iter().copied().collect();
        words(&tail)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // It fails only when the thread is about to wake anyway.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
    }
}

/// Reads until the log is dropped.
fn run(fifo: &OwnedFd, stop: &OwnedFd, reader: &Mutex<Reader>) {
    loop {
        let mut fds = [PollFd::new(fifo, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        let stopped = !fds[1].revents().is_empty();
        let mut reader = lock(reader);
        reader.read();
        if stopped {
            reader.end();
            return;
        }
    }
}

/// What gets each line.
type Line = Box<dyn FnMut(&[u8]) + Send>;

struct Reader {
    fifo: Arc<OwnedFd>,
    tail: VecDeque<u8>,
    line: Line,
    begun: Vec<u8>,
}

impl Reader {
    /// Takes what is there.
    fn read(&mut self) {
        let mut buffer = [0; 8 << 10];
        let mut all = 0;
        while all < AT_ONCE {
            match rustix::io::read(self.fifo.as_fd(), &mut buffer) {
                Ok(count) => {
                    all += count;
                    self.take(buffer.get(..count).unwrap_or_default());
                }
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.tail.extend(bytes);
        let over = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..over);
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

    /// The line without an end.
    fn end(&mut self) {
        if !self.begun.is_empty() {
            (self.line)(&self.begun);
            self.begun.clear();
        }
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("fifo", &self.fifo).finish_non_exhaustive()
    }
}

fn lock(reader: &Mutex<Reader>) -> MutexGuard<'_, Reader> {
    reader.lock().unwrap_or_else(PoisonError::into_inner)
}
