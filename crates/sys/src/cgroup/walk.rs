//! Every group below one, however deep and by whatever names a container has made them.
//!
//! The walk goes by descriptors and raw names, with one directory open at a time: neither the length of a path nor the number
//! of open files bounds it. A cgroup cannot be moved below another, so `..` leads back.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::CgroupError;
use super::kill::gone;

/// The most groups below one. Each costs the kernel more memory than this walk, which the container's limit counts.
const MAX_GROUPS: usize = 1 << 20;

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Calls `enter` for the group in `root` and each below it, parents first, and `leave` for each below it, children first, with
/// the directory above and its name. A group that is removed meanwhile is left out; so is a root that does not exist.
///
/// # Errors
/// Those of the calls and of `enter`; [`CgroupError::Groups`] when there are too many.
pub(super) fn walk(
    root: &Path,
    mut enter: impl FnMut(BorrowedFd<'_>) -> Result<(), CgroupError>,
    mut leave: impl FnMut(BorrowedFd<'_>, &CStr),
) -> Result<(), CgroupError> {
    let io = |action| move |errno: Errno| CgroupError::io(action, root)(errno);
    let mut at = match rustix::fs::open(root, FLAGS, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(io("open")(errno)),
    };
    enter(at.as_fd())?;
    let mut found = 0usize;
    // For each directory from the root to where the walk is: the names that are still to be visited, and the own one.
    let first = match children(&at, &mut found) {
        Err(Errno::NOENT | Errno::NODEV) => Vec::new(),
        listed => listed.map_err(io("list"))?,
    };
    let mut levels = vec![(first, None::<CString>)];
    while let Some((names, _)) = levels.last_mut() {
        if found > MAX_GROUPS {
            return Err(CgroupError::Groups { path: root.to_owned(), limit: MAX_GROUPS });
        }
        if let Some(name) = names.pop() {
            match rustix::fs::openat(&at, name.as_c_str(), FLAGS, Mode::empty()) {
                Ok(below) => at = below,
                Err(Errno::NOENT | Errno::NODEV) => continue,
                Err(errno) => return Err(io("open a group below")(errno)),
            }
            enter(at.as_fd())?;
            let below = match children(&at, &mut found) {
                Err(Errno::NOENT | Errno::NODEV) => Vec::new(),
                listed => listed.map_err(io("list a group below"))?,
            };
            levels.push((below, Some(name)));
        } else if let Some((_, Some(name))) = levels.pop() {
            at = rustix::fs::openat(&at, c"..", FLAGS, Mode::empty()).map_err(io("go back to"))?;
            leave(at.as_fd(), &name);
        }
    }
    Ok(())
}

/// The groups right below one.
fn children(dir: &OwnedFd, found: &mut usize) -> Result<Vec<CString>, Errno> {
    // Directories are counted as links (., the name, and each child's ..), so that the usual group without children is
    // not listed.
    if rustix::fs::fstat(dir)?.st_nlink <= 2 {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = match entry {
            Ok(entry) => entry,
            Err(Errno::NOENT) => break,
            Err(errno) => return Err(errno),
        };
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." && *found <= MAX_GROUPS {
            *found += 1;
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The processes in one group, as the caller's PID namespace numbers them.
pub(super) fn members_of(dir: BorrowedFd<'_>) -> Result<Vec<i32>, std::io::Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let read = rustix::fs::openat(dir, c"cgroup.procs", flags, Mode::empty())
        .map_err(std::io::Error::from)
        .and_then(|file| std::io::read_to_string(std::fs::File::from(file)));
    match read {
        // 0 stands for a process outside our PID namespace.
        Ok(text) => Ok(text.lines().filter_map(|l| l.parse().ok()).filter(|pid| *pid > 0).collect()),
        // A threaded group's processes are listed in the group above it.
        Err(e) if gone(&e) || e.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}
