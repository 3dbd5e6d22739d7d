//! Where a further process goes when its container's own cgroup takes none.
//!
//! On cgroup v2 a group that hands out controllers to groups below it has no processes itself, as
//! with a container whose init is systemd, docker or a kubelet. Its main process is in one of those below then,
//! and a further one joins it there.

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Whether a clone into a cgroup failed because of that group.
pub(super) fn is_refused(errno: Errno) -> bool {
    matches!(errno, Errno::BUSY | Errno::OPNOTSUPP)
}

/// The group below `dir`, a v2 directory, that the process `target` is in; None when it is in none.
pub(super) fn of(dir: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Option<OwnedFd> {
    let pid = pid_of(target)?;
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let path = std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd())).ok()?;
    let below = below(&path, Path::new(group))?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(dir, &below, flags, Mode::empty(), resolve).ok()
}

/// The number of a process that was not reaped, from its pidfd.
pub(super) fn pid_of(pidfd: BorrowedFd<'_>) -> Option<u32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()
}

/// What of `group`, a path in the hierarchy, lies below the directory `dir`, wherever the hierarchy is mounted.
fn below(dir: &Path, group: &Path) -> Option<PathBuf> {
    group
        .ancestors()
        .skip(1)
        .filter_map(|above| above.strip_prefix("/").ok())
        .filter(|above| !above.as_os_str().is_empty())
        .find(|above| dir.ends_with(above))
        .and_then(|above| group.strip_prefix(Path::new("/").join(above)).ok().map(Path::to_owned))
}

#[cfg(test)]
mod tests;
