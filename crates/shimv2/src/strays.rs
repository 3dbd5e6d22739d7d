//! Processes that a failed start left in the background.
//!
//! A shim's program starts the shim and ends. When it fails half-way the shim may be there, in a session of its own, and
//! nothing says which process it is; but it has inherited its environment, in which each start puts a word of its own.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The variable with the word.
pub(crate) const VARIABLE: &str = "BERTH_SHIM_START";
/// How long those that are killed may take to be gone.
const GONE: Duration = Duration::from_secs(5);
/// The most of a process's environment that is looked at.
const MAX_ENVIRONMENT: u64 = 4 << 20;
/// How often one that shows nothing is looked at, and how long between: some programs have no environment.
const LOOKS: usize = 10;
const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
/// A process may start another while they are looked for; then once more.
const ROUNDS: usize = 3;

/// A word that no other start on this machine has.
pub(crate) fn mark() -> OsString {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    format!("{}-{}.{:09}", std::process::id(), now.tv_sec, now.tv_nsec).into()
}

/// Kills every process with this word in its environment and waits until they are gone.
pub(crate) fn kill(mark: &OsString) {
    let mut entry = OsString::from(VARIABLE);
    entry.push("=");
    entry.push(mark);
    for _ in 0..ROUNDS {
        let found = find(entry.as_encoded_bytes());
        if found.is_empty() {
            return;
        }
        for pidfd in &found {
            // It fails for one that has ended.
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
        let deadline = Instant::now() + GONE;
        for pidfd in &found {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
            // One that waits for a disk stays; there is no more to do.
            let _ = poll(&mut fds, Timespec::try_from(left).ok().as_ref());
        }
    }
}

fn find(entry: &[u8]) -> Vec<OwnedFd> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = all.filter_map(|dir| dir.file_name().to_str()?.parse().ok());
    let others = numbers.filter_map(Pid::from_raw).filter(|pid| *pid != rustix::process::getpid());
    others
        .filter(|pid| has_in_time(*pid, entry))
        .filter_map(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?)))
        // The handle was taken before: if it has the word now, the handle is that process.
        .filter(|(pid, _)| has(*pid, entry))
        .map(|(_, pidfd)| pidfd)
        .collect()
}

/// Whether it has the word. One that is just executing its program shows nothing for a moment, and is looked at again.
fn has_in_time(pid: Pid, entry: &[u8]) -> bool {
    for _ in 0..LOOKS {
        match environment(pid) {
            Some(all) if all.is_empty() && is_program(pid) => {
                let _ = poll(&mut [], Some(&MOMENT));
            }
            Some(all) => return is_in(&all, entry),
            None => return false,
        }
    }
    false
}

fn has(pid: Pid, entry: &[u8]) -> bool {
    environment(pid).is_some_and(|all| is_in(&all, entry))
}

fn is_in(all: &[u8], entry: &[u8]) -> bool {
    all.split(|byte| *byte == 0).any(|one| one == entry)
}

fn environment(pid: Pid) -> Option<Vec<u8>> {
    let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
    let file = File::open(Path::new(&path)).ok()?;
    berth_sys::fs::read_bounded_from(file, MAX_ENVIRONMENT).ok()
}

/// Neither a thread of the kernel nor one that has ended.
fn is_program(pid: Pid) -> bool {
    std::fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).is_ok()
}
