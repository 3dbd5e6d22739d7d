//! What tells that the configuration may have changed: inotify on its directories, and a clock for what no file tells.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

/// Between two looks where a watch is not possible.
const LOOK: Duration = Duration::from_secs(10);
/// How often directories that come and go at the same moment are looked for.
const ATTEMPTS: u32 = 4;

/// A set of directories that is watched, and a clock.
#[derive(Debug)]
pub(super) struct Watch {
    /// `None` where the system has no more of them.
    files: Option<OwnedFd>,
    clock: OwnedFd,
    watched: Mutex<HashMap<PathBuf, i32>>,
}

impl Watch {
    pub(super) fn new() -> Result<Self, Errno> {
        let clock = rustix::time::timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let files = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        if let Err(error) = &files {
            tracing::warn!(%error, "directories of CNI are looked at every ten seconds, since they cannot be watched");
        }
        Ok(Self { files: files.ok(), clock, watched: Mutex::default() })
    }

    /// Copies of the descriptors that become readable.
    pub(super) fn descriptors(&self) -> std::io::Result<Vec<OwnedFd>> {
        let all = self.files.iter().chain([&self.clock]);
        all.map(|fd| fd.as_fd().try_clone_to_owned()).collect()
    }

    /// Watches `dirs` from now on; for each that does not exist, the nearest above it that does. Whether all are watched.
    pub(super) fn watch(&self, dirs: &[&Path]) -> bool {
        let Some(files) = &self.files else { return false };
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = HashMap::new();
        let all = dirs.iter().fold(true, |all, dir| match add_nearest(files, dir) {
            Some((path, number)) => {
                wanted.insert(path, number);
                all
            }
            None => false,
        });
        for (path, number) in watched.drain() {
            if wanted.get(&path) != Some(&number) && !wanted.values().any(|other| *other == number) {
                // The kernel has removed that of a directory that was deleted.
                inotify::remove_watch(files, number).ok();
            }
        }
        *watched = wanted;
        all
    }

    /// Becomes readable in this time, and again each time it has passed; `None` never. `watched` tells whether changes of
    /// files are noticed without it.
    pub(super) fn look_every(&self, period: Option<Duration>, watched: bool) {
        let period = if watched { period } else { Some(period.unwrap_or(LOOK)) };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let time = period.and_then(|period| Timespec::try_from(period).ok()).unwrap_or(zero);
        let timer = Itimerspec { it_interval: time, it_value: time };
        if let Err(error) = rustix::time::timerfd_settime(&self.clock, TimerfdTimerFlags::empty(), &timer) {
            tracing::warn!(%error, "the clock of the CNI network cannot be set");
        }
    }
}

/// Watches a directory, or the nearest above it.
fn add_nearest(files: &OwnedFd, dir: &Path) -> Option<(PathBuf, i32)> {
    let flags = WatchFlags::CREATE
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::DELETE
        | WatchFlags::ATTRIB
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR;
    for _ in 0..ATTEMPTS {
        for path in dir.ancestors() {
            match inotify::add_watch(files, path, flags) {
                // What was missing a moment ago may have been made before the watch was there.
                Ok(_) if path != dir && below(path, dir).is_some_and(|next| next.is_dir()) => break,
                Ok(number) => return Some((path.to_owned(), number)),
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(_) => return None,
            }
        }
    }
    None
}

/// The directory on the way to `dir` that lies in `path`.
fn below<'a>(path: &Path, dir: &'a Path) -> Option<&'a Path> {
    dir.ancestors().find(|ancestor| ancestor.parent() == Some(path))
}

/// Takes all that is to be read; whether there was anything.
pub(crate) fn drain(fd: impl AsFd) -> bool {
    let mut buffer = [0; 4096];
    let mut any = false;
    loop {
        match rustix::io::read(&fd, &mut buffer) {
            Ok(n) if n > 0 => any = true,
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => return any,
        }
    }
}

#[cfg(test)]
mod tests;
