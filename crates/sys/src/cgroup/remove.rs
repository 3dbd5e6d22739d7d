//! Removing a group.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::walk::walk;
use super::{Cgroup, CgroupError};

/// How long a directory may be busy although no process shows in it: the kernel lets a process leave
/// its group a moment after its parent was told of its end.
const BUSY_LIMIT: Duration = Duration::from_secs(2);
const FIRST_WAIT: Duration = Duration::from_micros(100);
const LONGEST_WAIT: Duration = Duration::from_millis(20);

impl Cgroup {
    /// Removes the group in all hierarchies, with every group that was made in it. Succeeds when it
    /// does not exist. Goes on after a failure and reports all of them.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + BUSY_LIMIT;
        let failed = self.members.iter().filter_map(|m| remove_tree(&m.dir, deadline).err()).collect();
        CgroupError::all(failed)
    }
}

fn remove_tree(dir: &Path, deadline: Instant) -> Result<(), CgroupError> {
    let mut wait = FIRST_WAIT;
    loop {
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
        walk(dir, |_| Ok(()), remove)?;
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
