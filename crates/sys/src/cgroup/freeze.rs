//! Stopping and resuming everything in a group.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::group::{Member, open, read, write};
use super::{Cgroup, CgroupError, Controller, Version};

const FIRST_WAIT: Duration = Duration::from_micros(200);
const LONGEST_WAIT: Duration = Duration::from_millis(10);

impl Cgroup {
    /// Stops every process in the group and below it; returns when the kernel says that they are.
    /// On failure the group is thawed again.
    pub fn freeze(&self, deadline: Instant) -> Result<(), CgroupError> {
        let frozen = self.set_frozen(true, deadline);
        if frozen.is_err() {
            // The first error is the one to report.
            drop(self.set_frozen(false, Instant::now()));
        }
        frozen
    }

    /// Resumes them.
    pub fn thaw(&self, deadline: Instant) -> Result<(), CgroupError> {
        self.set_frozen(false, deadline)
    }

    fn set_frozen(&self, frozen: bool, deadline: Instant) -> Result<(), CgroupError> {
        let v1 =
            self.members.iter().find(|m| m.version == Version::V1 && m.controllers.has(Controller::Freezer));
        match (self.v2(), v1) {
            (Some(member), _) => set_v2(member, frozen, deadline),
            (None, Some(member)) => set_v1(member, frozen, deadline),
            (None, None) => Err(CgroupError::Unsupported {
                setting: "freezing a container".to_owned(),
                why: "this host has no cgroup freezer".to_owned(),
            }),
        }
    }
}

fn wanted(frozen: bool) -> &'static str {
    if frozen { "frozen" } else { "thawed" }
}

fn set_v2(member: &Member, frozen: bool, deadline: Instant) -> Result<(), CgroupError> {
    let path = member.dir.join("cgroup.events");
    let events = open(&path, OFlags::RDONLY)?;
    write(&member.dir.join("cgroup.freeze"), if frozen { "1" } else { "0" })?;
    let line = if frozen { "frozen 1" } else { "frozen 0" };
    loop {
        let mut text = [0u8; 256];
        let length = rustix::io::pread(&events, &mut text, 0).map_err(CgroupError::io("read", &path))?;
        if String::from_utf8_lossy(&text[..length]).lines().any(|l| l == line) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(CgroupError::Freeze { path: member.dir.clone(), wanted: wanted(frozen) });
        }
        let time = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&time)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(CgroupError::io("wait for", path)(errno)),
        }
    }
}

fn set_v1(member: &Member, frozen: bool, deadline: Instant) -> Result<(), CgroupError> {
    let state: PathBuf = member.dir.join("freezer.state");
    let word = if frozen { "FROZEN" } else { "THAWED" };
    let mut wait = FIRST_WAIT;
    loop {
        // Written each time: a process that was just forking is taken along by the next write.
        write(&state, word)?;
        if read(&state)?.trim() == word {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(CgroupError::Freeze { path: member.dir.clone(), wanted: wanted(frozen) });
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
