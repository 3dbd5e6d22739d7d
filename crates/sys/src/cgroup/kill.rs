//! Ending everything in a group.
//!
//! With a v2 hierarchy the kernel kills a group and all below it at once (`cgroup.kill`, 5.14) and
//! says when it is empty (`cgroup.events`). Without: freeze, so that nothing forks in the meantime, kill
//! each process by a pidfd that was opened before its membership was looked at again, thaw, and
//! again until nothing is left. No process is ever signalled by a number alone (docs/adr/0043).

use std::collections::BTreeSet;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::group::Member;
use super::walk::{members_of, walk};
use super::{Cgroup, CgroupError, Controller, Version};

/// The first and the longest wait where the kernel has no notification (v1).
const FIRST_WAIT: Duration = Duration::from_micros(200);
const LONGEST_WAIT: Duration = Duration::from_millis(20);
/// How often a group is checked for which the kernel has a notification (v2); less than a second.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Cgroup {
    /// Every process in the group and below it, in no order. A removed group has none.
    pub fn pids(&self) -> Result<Vec<Pid>, CgroupError> {
        let mut pids = BTreeSet::new();
        for member in self.counted() {
            members_below(&member.dir, |members| pids.extend(members))?;
        }
        Ok(pids.into_iter().filter_map(Pid::from_raw).collect())
    }

    /// Kills everything in the group and below it, and waits until it is empty.
    ///
    /// # Errors
    /// [`CgroupError::NotEmpty`] when processes are left at the deadline: those in an
    /// uninterruptible sleep cannot be killed.
    pub fn kill_all(&self, deadline: Instant) -> Result<(), CgroupError> {
        if let Some(v2) = self.v2() {
            kill_v2(v2, deadline)?;
        }
        // Also beside v2: a process that was moved in by hand may be in a v1 hierarchy alone.
        let mut wait = FIRST_WAIT;
        loop {
            let left = self.pids()?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(self.not_empty(left.len()));
            }
            self.kill_frozen(&left)?;
            pause(wait.min(deadline.saturating_duration_since(Instant::now())));
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// One round for v1: nothing forks while the group is frozen.
    fn kill_frozen(&self, seen: &[Pid]) -> Result<(), CgroupError> {
        let freezer =
            self.members.iter().find(|m| m.version == Version::V1 && m.controllers.has(Controller::Freezer));
        if let Some(freezer) = freezer {
            // A process that cannot be frozen now is killed anyway, in this round or the next.
            set_v1_freezer(&freezer.dir, "FROZEN")?;
        }
        let killed = self.kill_members(seen);
        // Thawed whatever happened: what was killed dies only then.
        if let Some(freezer) = freezer {
            set_v1_freezer(&freezer.dir, "THAWED")?;
        }
        killed
    }

    /// Signals those of `seen` that are members still.
    fn kill_members(&self, seen: &[Pid]) -> Result<(), CgroupError> {
        let handles: Vec<(Pid, OwnedFd)> = seen
            .iter()
            .filter_map(|pid| pidfd_open(*pid, PidfdFlags::empty()).ok().map(|fd| (*pid, fd)))
            .collect();
        // What is a member now and has its handle from before is the process meant.
        let still = self.pids()?;
        for (_, handle) in handles.iter().filter(|(pid, _)| still.contains(pid)) {
            match pidfd_send_signal(handle, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(CgroupError::io("kill the processes of", self.first_dir())(errno)),
            }
        }
        Ok(())
    }

    /// The hierarchies that are asked for processes. All of v1's hold the same ones unless someone
    /// moved them: the freezer decides where it is used, as what it does not freeze cannot be
    /// killed safely; beside v2, which has a kill of its own, one of v1's is looked at as well.
    fn counted(&self) -> impl Iterator<Item = &Member> {
        let v1 = [Controller::Freezer, Controller::Pids, Controller::Memory, Controller::Cpu]
            .into_iter()
            .find_map(|c| self.members.iter().find(|m| m.version == Version::V1 && m.controllers.has(c)));
        self.v2().into_iter().chain(v1)
    }

    fn first_dir(&self) -> PathBuf {
        self.members.first().map(|m| m.dir.clone()).unwrap_or_default()
    }

    fn not_empty(&self, left: usize) -> CgroupError {
        CgroupError::NotEmpty { path: self.first_dir(), left }
    }
}

fn set_v1_freezer(dir: &Path, state: &str) -> Result<(), CgroupError> {
    match super::group::write(&dir.join("freezer.state"), state) {
        Err(CgroupError::Write { source, .. }) if gone(&source) => Ok(()),
        done => done,
    }
}

/// Kills by `cgroup.kill` where the kernel has it, else leaves it to the rounds, and waits for the
/// kernel's notification.
fn kill_v2(member: &Member, deadline: Instant) -> Result<(), CgroupError> {
    let events = match rustix::fs::open(
        member.dir.join("cgroup.events"),
        OFlags::RDONLY | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    ) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
        Err(errno) => return Err(CgroupError::io("open", member.dir.join("cgroup.events"))(errno)),
    };
    match super::group::write(&member.dir.join("cgroup.kill"), "1") {
        Ok(()) => {}
        // Before 5.14, or removed meanwhile: the rounds find out.
        Err(CgroupError::Write { source, .. }) if gone(&source) => return Ok(()),
        Err(e) => return Err(e),
    }
    loop {
        let mut text = [0u8; 256];
        let length = match rustix::io::pread(&events, &mut text, 0) {
            Ok(length) => length,
            Err(Errno::NODEV) => return Ok(()),
            Err(errno) => return Err(CgroupError::io("read", member.dir.join("cgroup.events"))(errno)),
        };
        if !text[..length].starts_with(b"populated 1") {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let mut left = 0;
            members_below(&member.dir, |members| left += members.len())?;
            return Err(CgroupError::NotEmpty { path: member.dir.clone(), left });
        }
        // The kernel notifies when the group is empty, but not when another process has emptied and removed it.
        let left = left.min(LOOK_AGAIN);
        let time = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&time)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(CgroupError::io("wait for", member.dir.join("cgroup.events"))(errno)),
        }
    }
}

/// The processes in each group from `dir` down.
fn members_below(dir: &Path, mut each: impl FnMut(Vec<i32>)) -> Result<(), CgroupError> {
    let enter = |group: BorrowedFd<'_>| {
        each(members_of(group).map_err(|source| CgroupError::Io {
            action: "read the processes of a group of",
            path: dir.to_owned(),
            source,
        })?);
        Ok(())
    };
    walk(dir, enter, |_, _| ())
}

/// Waits a moment where the kernel has nothing to wait for.
pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Whether the error says that the group, or the device behind an open descriptor, was removed.
pub(super) fn gone(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}
