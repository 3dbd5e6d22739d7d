//! Entering namespaces.

#![allow(unsafe_code, reason = "unshare and setns change what the calling thread sees")]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::process::check;

/// `CLONE_NEWTIME`
pub const TIME: u64 = 0x80;
/// `CLONE_NEWNS`
pub const MOUNT: u64 = 0x2_0000;
/// `CLONE_NEWCGROUP`
pub const CGROUP: u64 = 0x200_0000;
/// `CLONE_NEWUTS`
pub const UTS: u64 = 0x400_0000;
/// `CLONE_NEWIPC`
pub const IPC: u64 = 0x800_0000;
/// `CLONE_NEWUSER`
pub const USER: u64 = 0x1000_0000;
/// `CLONE_NEWPID`
pub const PID: u64 = 0x2000_0000;
/// `CLONE_NEWNET`
pub const NET: u64 = 0x4000_0000;

/// Enters the namespace that `fd` refers to, a file of `/proc/PID/ns` or a pidfd, which must be of the
/// given kinds. Of the PID and time namespaces only later children are members.
///
/// Nothing but the calling thread is changed. The mount and user namespaces can be entered by a
/// process with a single thread only.
///
/// # Errors
/// Those of setns(2).
pub fn enter(fd: BorrowedFd<'_>, kinds: u64) -> Result<(), Errno> {
    let kinds = i32::try_from(kinds).map_err(|_| Errno::INVAL)?;
    // SAFETY: integers only; the effect on the calling thread is what the caller asks for.
    check(unsafe { libc::syscall(libc::SYS_setns, fd.as_raw_fd(), kinds) })?;
    Ok(())
}

/// Puts the calling thread in new namespaces of these kinds.
///
/// # Errors
/// Those of unshare(2).
pub fn unshare(kinds: u64) -> Result<(), Errno> {
    let kinds = i32::try_from(kinds).map_err(|_| Errno::INVAL)?;
    // SAFETY: an integer; only kinds of namespaces are passed, so no descriptor table is split.
    check(unsafe { libc::syscall(libc::SYS_unshare, kinds) })?;
    Ok(())
}

/// Whether a process is in another time namespace than the caller; not where one of both cannot be seen or the kernel has none.
pub fn has_other_time(pid: i32) -> bool {
    let own = std::fs::read_link("/proc/self/ns/time");
    let other = std::fs::read_link(format!("/proc/{pid}/ns/time"));
    matches!((own, other), (Ok(own), Ok(other)) if own != other)
}
