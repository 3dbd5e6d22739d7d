//! Shims as processes: found by their cgroup and command line, never by a number from a record.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use berth_sys::cgroup::Cgroup;
use berth_types::SandboxId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use crate::shared::Shared;

/// Every shim in the shims' cgroup with the pod it was started for. What runs there under another
/// name is not among them.
pub(crate) fn shims(cgroup: &Cgroup) -> Vec<(Pid, SandboxId)> {
    let pids = cgroup.pids().unwrap_or_default();
    pids.into_iter().filter_map(|pid| Some((pid, sandbox_of(pid)?))).collect()
}

/// The pod in a shim's command line: `berth-shim <sandbox>`.
fn sandbox_of(pid: Pid) -> Option<SandboxId> {
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    let mut words = line.split(|b| *b == 0);
    let (name, id) = (words.next()?, words.next()?);
    if !name.ends_with(b"berth-shim") {
        return None;
    }
    std::str::from_utf8(id).ok()?.parse().ok()
}

/// Kills the shim of a pod, if it has one.
pub(crate) fn kill_shim(shared: &Shared, sandbox: &SandboxId) {
    for (pid, _) in shims(shared.launcher.cgroup()).iter().filter(|(_, of)| of == sandbox) {
        let Ok(pidfd) = pidfd_open(*pid, PidfdFlags::empty()) else { continue };
        // The number may have gone to another process before the descriptor was opened.
        if sandbox_of(*pid).as_ref() == Some(sandbox) {
            // One that has ended meanwhile needs no signal.
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
}

/// Waits until the shim of a pod, which said that it ends, has ended; kills it when it does not.
pub(crate) fn await_end(shared: &Shared, sandbox: &SandboxId, pid: Option<i32>, limit: Duration) {
    let Some(pid) = pid.and_then(Pid::from_raw) else { return };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if sandbox_of(pid).as_ref() != Some(sandbox) {
        return;
    }
    let limit = Timespec { tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    match rustix::io::retry_on_intr(|| poll(&mut fds, Some(&limit))) {
        Ok(1..) => {}
        Ok(0) | Err(_) => kill_shim(shared, sandbox),
    }
}

/// Reaps a shim of ours when it ends, after killing it if it is of no use.
pub(crate) fn reap_later(pidfd: OwnedFd, kill: bool) {
    if kill {
        // One that has ended meanwhile needs no signal.
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    }
    tokio::spawn(async move {
        let Ok(pidfd) = crate::watched::register(pidfd, tokio::io::Interest::READABLE) else { return };
        drop(pidfd.readable().await);
        let _ = waitid(WaitId::PidFd(pidfd.get_ref().as_fd()), WaitIdOptions::EXITED);
    });
}
