//! Stopping everything in a group where it is, and letting it go on.
//!
//! Where there is a v1 freezer it is used: beside it the v2 group of a hybrid host need not hold every process.

use std::path::Path;
use std::time::{Duration, Instant};

use super::group::{Member, read, write};
use super::kill::{gone, pause};
use super::{Cgroup, CgroupError, Controller, Version};

/// How often the state is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

impl Cgroup {
    /// Stops every process in the group and below it, and waits until all of them are. Undone when they are not at the deadline.
    ///
    /// # Errors
    /// [`CgroupError::NotFrozen`] when one cannot be stopped: it waits for a disk, say.
    pub fn freeze(&self, deadline: Instant) -> Result<(), CgroupError> {
        let Some(member) = self.freezer() else { return Err(no_freezer()) };
        loop {
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
    let look = |name: &str, wanted: &str| match read(Path::new(&member.dir.join(name))) {
        Ok(text) => Ok(text.lines().any(|line| line == wanted)),
        Err(CgroupError::Io { source, .. }) if gone(&source) => Ok(false),
        Err(e) => Err(e),
    };
    match member.version {
        Version::V1 => look("freezer.state", "FROZEN"),
        Version::V2 => look("cgroup.events", "frozen 1"),
    }
}
