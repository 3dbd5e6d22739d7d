//! Removing a group.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::kill::tree;
use super::{Cgroup, CgroupError};

/// How long a directory may be busy although no process shows in it: the kernel lets a process leave
/// its group a moment after its parent was told of its end.
const PATIENCE: Duration = Duration::from_secs(2);
const FIRST_WAIT: Duration = Duration::from_micros(100);
const LONGEST_WAIT: Duration = Duration::from_millis(20);

impl Cgroup {
    /// Removes the group in all hierarchies, with every group that was made in it. What is gone
    /// already is success. Goes on after a failure and reports all of them.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + PATIENCE;
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
        let below = tree(dir)?;
        let mut removed = false;
        for child in below.iter().skip(1).rev() {
            removed |= rustix::fs::rmdir(child).is_ok();
        }
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
