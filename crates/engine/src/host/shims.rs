//! Shims as processes: found by their cgroup and command line, never by a number from a record.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use berth_types::SandboxId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use crate::error::EngineError;
use crate::shared::Shared;

/// Every shim in the shims' cgroups with the pod it was started for. What runs there under another name is not among
/// them.
///
/// # Errors
/// A cgroup or a process cannot be looked at: then nothing is known of any of them.
pub(crate) fn all(shared: &Shared) -> Result<Vec<(Pid, SandboxId)>, EngineError> {
    let failed = |e: io::Error| EngineError::system("look for shims", e);
    let mut shims = Vec::new();
    for group in shared.roots.shims() {
        let pids = shared.cgroups.open(&group).pids();
        for pid in pids.map_err(|e| EngineError::failed("look for shims", e))? {
            shims.extend(sandbox_of(pid).map_err(failed)?.map(|sandbox| (pid, sandbox)));
        }
    }
    Ok(shims)
}

/// Whether a pod has a living shim.
///
/// # Errors
/// As [`all`].
pub(crate) fn lives(shared: &Shared, sandbox: &SandboxId) -> Result<bool, EngineError> {
    Ok(all(shared)?.iter().any(|(_, of)| of == sandbox))
}

/// The pod in a shim's command line: `berth-shim <sandbox>`. None for any other process, and for one that has ended.
fn sandbox_of(pid: Pid) -> io::Result<Option<SandboxId>> {
    let line = match std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())) {
        Ok(line) => line,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut words = line.split(|b| *b == 0);
    let (Some(name), Some(id)) = (words.next(), words.next()) else { return Ok(None) };
    if !name.ends_with(b"berth-shim") {
        return Ok(None);
    }
    Ok(std::str::from_utf8(id).ok().and_then(|id| id.parse().ok()))
}

/// Kills the shim of a pod, if it has one.
///
/// # Errors
/// As [`all`].
pub(crate) fn kill(shared: &Shared, sandbox: &SandboxId) -> Result<(), EngineError> {
    for (pid, _) in all(shared)?.iter().filter(|(_, of)| of == sandbox) {
        let Ok(pidfd) = pidfd_open(*pid, PidfdFlags::empty()) else { continue };
        // The number may have gone to another process before the descriptor was opened.
        if sandbox_of(*pid).is_ok_and(|now| now.as_ref() == Some(sandbox)) {
            // One that has ended already needs no signal.
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
    Ok(())
}

/// Waits until the shim of a pod, which said that it ends, has ended; kills it when it does not.
pub(crate) fn await_end(shared: &Shared, sandbox: &SandboxId, pid: i32, limit: Duration) {
    let Some(pid) = Pid::from_raw(pid) else { return };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if !sandbox_of(pid).is_ok_and(|now| now.as_ref() == Some(sandbox)) {
        return;
    }
    let limit = Timespec { tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    match rustix::io::retry_on_intr(|| poll(&mut fds, Some(&limit))) {
        Ok(1..) => {}
        Ok(0) | Err(_) => {
            if let Err(error) = kill(shared, sandbox) {
                let error = berth_types::error::chain(&error);
                tracing::warn!(sandbox = sandbox.short(), error, "failed to kill a shim that does not end");
            }
        }
    }
}

/// Reaps a shim of ours when it ends, after killing it if it cannot be used.
pub(crate) fn reap_later(pidfd: OwnedFd, kill: bool) {
    if kill {
        // One that has ended already needs no signal.
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    }
    tokio::spawn(async move {
        let Ok(pidfd) = super::async_fd::register(pidfd, tokio::io::Interest::READABLE) else { return };
        drop(pidfd.readable().await);
        let _ = waitid(WaitId::PidFd(pidfd.get_ref().as_fd()), WaitIdOptions::EXITED);
    });
}
