//! A process across commands: its number and when it began. The number alone may be another's by now.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// A process that this or another command has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    /// In ticks since the machine's start, as `/proc/PID/stat` has it.
    pub(crate) start: u64,
}

impl ProcessId {
    /// That of a process that the caller knows to be alive or not reaped.
    pub(crate) fn of(pid: i32) -> std::io::Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let start = start_time(&text).ok_or_else(|| std::io::Error::other("/proc/PID/stat is malformed"))?;
        Ok(Self { pid, start })
    }

    /// The process, unless it has ended.
    pub(crate) fn open(self) -> std::io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            // EINVAL: the number is a thread's of another process by now.
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        // Asked after the descriptor was opened: if the number is the process meant now, it was then.
        match Self::of(self.pid) {
            Ok(now) if now == self && !has_ended(pidfd.as_fd(), Timespec::default())? => Ok(Some(pidfd)),
            Ok(_) => Ok(None),
            Err(e) if is_gone(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

/// Whether the process, with all its threads, has ended within this time.
pub(crate) fn has_ended(pidfd: BorrowedFd<'_>, within: Timespec) -> std::io::Result<bool> {
    loop {
        match poll(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], Some(&within)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Field 22. The name before may have any characters in it but ends with the last parenthesis.
fn start_time(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests;
