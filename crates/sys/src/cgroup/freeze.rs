//! Stopping everything in a group where it is, and letting it go on.
//!
//! A v1 freezer is used where there is no v2 hierarchy: beside that a host's v1 freezer has no groups of ours (see `host`).

use std::time::{Duration, Instant};

use super::group::{Member, read, write};
use super::kill::{gone, pause};
use super::{Cgroup, CgroupError, Controller, Version};

/// How often the state is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// After so many looks a v1 group is thawed for a moment: one that was told to freeze while a process was being made may
/// never become frozen otherwise.
const BREATHE: usize = 64;

impl Cgroup {
    /// Stops every process in the group and below it, and waits until all of them are. Undone when they are not at the deadline.
    ///
    /// # Errors
    /// [`CgroupError::NotFrozen`] when one cannot be stopped: it waits for a disk, say.
    pub fn freeze(&self, deadline: Instant) -> Result<(), CgroupError> {
        let Some(member) = self.freezer() else { return Err(no_freezer()) };
        for round in 1.. {
            if member.version == Version::V1 && round % BREATHE == 0 {
                set(member, false)?;
            }
            // A v1 group in which a process was just made needs to be told again.
            set(member, true)?;
            if is_frozen(member)? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                set(member, false)?;
                return Err(CgroupError::NotFrozen { path: member.dir.clone() });
            }
            pause(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Lets everything in the group go on.
    ///
    /// # Errors
    /// Those of the write.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.freezer().map_or_else(|| Err(no_freezer()), |member| set(member, false))
    }

    /// Whether everything in the group is stopped. A removed group is not.
    ///
    /// # Errors
    /// Those of the read.
    pub fn is_frozen(&self) -> Result<bool, CgroupError> {
        self.freezer().map_or(Ok(false), is_frozen)
    }

    /// Whether the group was told to stop, be it that not everything has.
    ///
    /// # Errors
    /// Those of the read.
    pub fn is_to_freeze(&self) -> Result<bool, CgroupError> {
        let Some(member) = self.freezer() else { return Ok(false) };
        match member.version {
            Version::V1 => has_line(member, "freezer.self_freezing", "1"),
            Version::V2 => has_line(member, "cgroup.freeze", "1"),
        }
    }

    fn freezer(&self) -> Option<&Member> {
        let is_v1 = |m: &&Member| m.version == Version::V1 && m.controllers.has(Controller::Freezer);
        self.members.iter().find(is_v1).or_else(|| self.v2())
    }
}

fn no_freezer() -> CgroupError {
    CgroupError::Host { why: "no hierarchy can freeze processes".into() }
}

fn set(member: &Member, frozen: bool) -> Result<(), CgroupError> {
    match (member.version, frozen) {
        (Version::V1, true) => write(&member.dir.join("freezer.state"), "FROZEN"),
        (Version::V1, false) => write(&member.dir.join("freezer.state"), "THAWED"),
        (Version::V2, true) => write(&member.dir.join("cgroup.freeze"), "1"),
        (Version::V2, false) => write(&member.dir.join("cgroup.freeze"), "0"),
    }
}

fn is_frozen(member: &Member) -> Result<bool, CgroupError> {
    match member.version {
        Version::V1 => has_line(member, "freezer.state", "FROZEN"),
        Version::V2 => has_line(member, "cgroup.events", "frozen 1"),
    }
}

/// A removed group has no lines.
fn has_line(member: &Member, file: &str, wanted: &str) -> Result<bool, CgroupError> {
    match read(&member.dir.join(file)) {
        Ok(text) => Ok(text.lines().any(|line| line == wanted)),
        Err(CgroupError::Io { source, .. }) if gone(&source) => Ok(false),
        Err(e) => Err(e),
    }
}
