//! One owner for a directory: an advisory lock that ends with its process.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// The wait before a lock is tried again.
const AGAIN: Duration = Duration::from_millis(5);

/// A lock held. Dropping it, or the end of the process for whatever reason, releases it.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread has just forked shares the lock until it executes.
        let _released = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

impl Lock {
    /// Takes the lock file at `path` like [`Lock::try_acquire`], and tries again for at most `limit`.
    /// A process that was killed may share its locks for a moment with a child that it was just
    /// starting.
    pub fn acquire_within(path: &Path, limit: Duration) -> io::Result<Option<Self>> {
        let begun = Instant::now();
        loop {
            match Self::try_acquire(path)? {
                None if begun.elapsed() < limit => std::thread::sleep(AGAIN),
                outcome => return Ok(outcome),
            }
        }
    }

    /// Takes the lock file at `path`, making it if need be. `None` when another process (or another
    /// [`Lock`] of this one) has it.
    pub fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::try_acquire(&path).unwrap();
        assert!(held.is_some());
        assert!(Lock::try_acquire(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::try_acquire(&path).unwrap().is_some());
    }

    #[test]
    fn a_lock_that_comes_free_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::try_acquire(&path).unwrap();
        assert!(Lock::acquire_within(&path, Duration::ZERO).unwrap().is_none());
        let waiter = std::thread::spawn({
            let path = path.clone();
            move || Lock::acquire_within(&path, Duration::from_secs(60)).unwrap().is_some()
        });
        drop(held);
        assert!(waiter.join().unwrap());
    }
}
