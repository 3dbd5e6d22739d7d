//! Carries bytes between descriptors until a process has ended and all of its output is carried.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::driver::Cancel;
use crate::pump::Then;

/// Stack of the thread.
const STACK: usize = 128 << 10;
/// One read.
const CHUNK: usize = 16 << 10;
/// How long after the end of the process the shim may take to tell it.
const LIMIT: Duration = Duration::from_secs(10);

/// One stream.
#[derive(Debug)]
pub(super) struct Lane {
    from: Option<OwnedFd>,
    to: Option<OwnedFd>,
    /// What was read and is not written yet.
    pending: Vec<u8>,
    is_output: bool,
    /// What follows its end.
    then: Option<Then>,
}

impl Lane {
    pub(super) fn input(from: OwnedFd, to: OwnedFd, then: Then) -> Self {
        Self { from: Some(from), to: Some(to), pending: Vec::new(), is_output: false, then: Some(then) }
    }

    /// What is written nowhere is read all the same.
    pub(super) fn output(from: OwnedFd, to: Option<OwnedFd>) -> Self {
        Self { from: Some(from), to, pending: Vec::new(), is_output: true, then: None }
    }

    /// What it waits for.
    fn waits(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match (&self.to, &self.from) {
            (Some(to), _) if !self.pending.is_empty() => Some((to.as_fd(), PollFlags::OUT)),
            (_, Some(from)) => Some((from.as_fd(), PollFlags::IN)),
            (_, None) => None,
        }
    }

    /// Does what it has waited for.
    fn turn(&mut self, buffer: &mut [u8]) {
        if self.pending.is_empty() {
            let Some(from) = &self.from else { return };
            match rustix::io::read(from, &mut *buffer) {
                Ok(count @ 1..) => self.pending.extend(buffer.iter().take(count)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                // EIO: the other side of the terminal is gone.
                Ok(0) | Err(_) => return self.end(),
            }
        }
        while !self.pending.is_empty() {
            let Some(to) = &self.to else { return self.pending.clear() };
            match rustix::io::write(to, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // Nobody reads it any more.
                Err(_) => return self.end(),
            }
        }
    }

    fn end(&mut self) {
        (self.from, self.to) = (None, None);
        self.pending.clear();
        self.then = None;
    }
}

/// What a session's thread does.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) lanes: Vec<Lane>,
    /// The process; None if it has ended.
    pub(super) process: Option<OwnedFd>,
    /// Set when its end was told.
    pub(super) told: Cancel,
}

impl Relay {
    /// Carries in a thread of its own, and then calls `end` with whether the end was told.
    pub(super) fn begin(self, end: impl FnOnce(bool) + Send + 'static) -> std::io::Result<()> {
        for fd in self.lanes.iter().flat_map(|lane| lane.from.iter().chain(&lane.to)) {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        let thread = std::thread::Builder::new().name("exec streams".to_owned()).stack_size(STACK);
        thread.spawn(move || end(self.run()))?;
        Ok(())
    }

    fn run(mut self) -> bool {
        let mut buffer = [0; CHUNK];
        let (mut told, mut late) = (false, self.process.is_none().then(|| Instant::now() + LIMIT));
        loop {
            let outputs = self.lanes.iter().any(|lane| lane.is_output && lane.from.is_some());
            if told && !outputs {
                return true;
            }
            if !told && late.is_some_and(|late| Instant::now() >= late) {
                return false;
            }
            let mut polled = Vec::with_capacity(2 + self.lanes.len());
            polled.extend((!told).then(|| PollFd::new(&*self.told.0, PollFlags::IN)));
            let watched = self.process.as_ref().filter(|_| late.is_none() && !told);
            polled.extend(watched.map(|process| PollFd::new(process, PollFlags::IN)));
            let (others, waiting): (usize, Vec<usize>) = (
                polled.len(),
                (0..self.lanes.len()).filter(|at| self.lanes[*at].waits().is_some()).collect(),
            );
            let waits = self.lanes.iter().filter_map(Lane::waits);
            polled.extend(waits.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
            let left = late.filter(|_| !told).map(|late| late.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut polled, left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return told,
            }
            let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(polled);
            let (ends, lanes) = ready.split_at(others);
            match ends {
                [true, ..] => told = true,
                [false, true] => late = Some(Instant::now() + LIMIT),
                _ => {}
            }
            for (at, _) in waiting.iter().zip(lanes).filter(|(_, ready)| **ready) {
                self.lanes[*at].turn(&mut buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests;
