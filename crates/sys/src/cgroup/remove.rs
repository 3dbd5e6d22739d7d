//! Removing a group.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::group::Member;
use super::walk::walk;
use super::{Cgroup, CgroupError};

/// How long a directory may be busy although no process shows in it: the kernel lets a process leave
/// its group a moment after its parent was told of its end.
pub(super) const BUSY_LIMIT: Duration = Duration::from_secs(2);
const FIRST_WAIT: Duration = Duration::from_micros(100);
const LONGEST_WAIT: Duration = Duration::from_millis(20);

impl Cgroup {
    /// Removes the group in all hierarchies, with every group that was made in it. Succeeds when it
    /// does not exist. Goes on after a failure and reports all of them.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + BUSY_LIMIT;
        let remove = |m: &Member| remove_tree(&m.dir, &m.dir, || true, deadline).err();
        let failed = self.members.iter().filter_map(remove).collect();
        CgroupError::all(failed)
    }
}

/// Removes the group `dir` and all below it, which is found by the path `inside`, for as long as the name is `its_own`.
pub(super) fn remove_tree(
    dir: &Path,
    inside: &Path,
    its_own: impl Fn() -> bool,
    deadline: Instant,
) -> Result<(), CgroupError> {
    let mut wait = FIRST_WAIT;
    loop {
        if !its_own() {
            return Ok(());
        }
        // Nearly always there is nothing below.
        match rustix::fs::rmdir(dir) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY | Errno::NOTEMPTY) => {}
            Err(errno) => return Err(CgroupError::io("remove", dir)(errno)),
        }
        let mut removed = false;
        let remove = |above: BorrowedFd<'_>, name: &CStr| {
            removed |= rustix::fs::unlinkat(above, name, rustix::fs::AtFlags::REMOVEDIR).is_ok();
        };
        walk(inside, |_| Ok(()), remove)?;
        if removed {
            continue;
        }
        if Instant::now() >= deadline {
            return Err(CgroupError::io("remove", dir)(Errno::BUSY));
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
