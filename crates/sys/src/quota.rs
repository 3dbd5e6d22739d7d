//! Project quotas: what trees of a file system take and may take (ext4 with the features `quota` and `project`, xfs mounted with
//! `prjquota`). A project is a number that files have, and that new ones inherit from their directory.

#![allow(unsafe_code, reason = "quotactl_fd(2) and two ioctls that have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The kind of quota that is meant in each call.
const PROJECT: libc::c_int = 2;
const GET: libc::c_int = 0x80_0007;
const SET: libc::c_int = 0x80_0008;
/// `XQM_CMD(5)`: which quotas are on, also of other file systems than xfs.
const STATE: libc::c_int = ('X' as libc::c_int) << 8 | 5;
/// Projects are counted, and limits are enforced (`FS_QUOTA_PDQ_ACCT`, `FS_QUOTA_PDQ_ENFD`).
const COUNTED: u16 = 1 << 4;
const ENFORCED: u16 = 1 << 5;
/// Limits are in blocks of this size.
const BLOCK: u64 = 1024;
/// Which members of `dqblk` are meant: the limits of blocks.
const BLOCK_LIMITS: u32 = 1;
/// What is made in the directory has its project (`FS_XFLAG_PROJINHERIT`).
const INHERIT: u32 = 0x200;

/// What of project quotas a file system has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// Nothing.
    None,
    /// What projects take is counted.
    Counted,
    /// And limits hold.
    Enforced,
}

/// What a project takes and may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Project {
    /// Bytes allocated.
    pub bytes: u64,
    /// Files, directories and links.
    pub inodes: u64,
    /// The most bytes; 0 is no limit.
    pub limit: u64,
}

impl Project {
    /// Whether nothing has it, and nobody set a limit for what will.
    pub fn is_unused(&self) -> bool {
        *self == Self::default()
    }
}

/// `struct fs_quota_stat` of linux/dqblk_xfs.h.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct QuotaStat {
    version: i8,
    flags: u16,
    pad: i8,
    files: [FileStat; 2],
    incore: u32,
    times: [i32; 3],
    warnings: [u16; 2],
}

#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct FileStat {
    inode: u64,
    blocks: u64,
    extents: u32,
}

/// `struct fsxattr` of linux/fs.h.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copy_extent_size: u32,
    pad: [u8; 8],
}

/// `FS_IOC_FSGETXATTR` and `FS_IOC_FSSETXATTR`.
const GET_ATTRIBUTES: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<Attributes>(b'X', 31);
const SET_ATTRIBUTES: rustix::ioctl::Opcode = rustix::ioctl::opcode::write::<Attributes>(b'X', 32);

/// What of project quotas the file system of `dir` has. A kernel before 5.14 has none that could be asked this way.
///
/// # Errors
/// It cannot be asked.
pub fn support(dir: impl AsFd) -> io::Result<Support> {
    let mut stat = QuotaStat { version: 1, ..QuotaStat::default() };
    // SAFETY: the kernel writes a `fs_quota_stat`, which `stat` is and which outlives the call.
    let asked = unsafe { call(&dir, STATE, 0, (&raw mut stat).cast()) };
    match asked {
        Ok(()) if stat.flags & ENFORCED != 0 => Ok(Support::Enforced),
        Ok(()) if stat.flags & COUNTED != 0 => Ok(Support::Counted),
        Ok(()) => Ok(Support::None),
        Err(e)
            if matches!(
                e.raw_os_error(),
                Some(libc::ENOSYS | libc::ESRCH | libc::EINVAL | libc::EOPNOTSUPP)
            ) =>
        {
            Ok(Support::None)
        }
        Err(e) => Err(e),
    }
}

/// What a project of the file system of `dir` takes and may take; nothing for one that nothing has.
///
/// # Errors
/// There are no project quotas, or the kernel fails.
pub fn project(dir: impl AsFd, id: u32) -> io::Result<Project> {
    // SAFETY: all zeroes is a valid `dqblk`, which has numbers alone.
    let mut quota: libc::dqblk = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes an `if_dqblk`, which libc's `dqblk` is, and which outlives the call.
    match unsafe { call(&dir, GET, id, (&raw mut quota).cast()) } {
        Ok(()) => Ok(Project {
            bytes: quota.dqb_curspace,
            inodes: quota.dqb_curinodes,
            limit: quota.dqb_bhardlimit.saturating_mul(BLOCK),
        }),
        // xfs, of one that was never counted.
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(Project::default()),
        Err(e) => Err(e),
    }
}

/// Sets the most bytes that a project may take, rounded up to whole blocks; 0 is no limit.
///
/// # Errors
/// There are no project quotas, or the kernel fails.
pub fn set_limit(dir: impl AsFd, id: u32, bytes: u64) -> io::Result<()> {
    // SAFETY: all zeroes is a valid `dqblk`, which has numbers alone.
    let mut quota: libc::dqblk = unsafe { std::mem::zeroed() };
    quota.dqb_bhardlimit = bytes.div_ceil(BLOCK);
    quota.dqb_bsoftlimit = quota.dqb_bhardlimit;
    quota.dqb_valid = BLOCK_LIMITS;
    // SAFETY: the kernel reads an `if_dqblk`, which libc's `dqblk` is, and which outlives the call.
    unsafe { call(&dir, SET, id, (&raw mut quota).cast()) }
}

/// Gives an empty directory a project, which everything that is made in it inherits.
///
/// # Errors
/// The file system has no projects.
pub fn give_project(dir: impl AsFd, id: u32) -> io::Result<()> {
    // SAFETY: the opcode reads a `fsxattr`, which `Attributes` is.
    let get = unsafe { rustix::ioctl::Getter::<GET_ATTRIBUTES, Attributes>::new() };
    // SAFETY: as above; the descriptor is borrowed for the call.
    let mut attributes = unsafe { rustix::ioctl::ioctl(&dir, get) }?;
    attributes.project = id;
    attributes.flags |= INHERIT;
    // SAFETY: the opcode writes a `fsxattr`, which `Attributes` is.
    let set = unsafe { rustix::ioctl::Setter::<SET_ATTRIBUTES, Attributes>::new(attributes) };
    // SAFETY: as above; the descriptor is borrowed for the call.
    unsafe { rustix::ioctl::ioctl(&dir, set) }?;
    Ok(())
}

/// The project that a file or directory has.
///
/// # Errors
/// The file system has no projects.
pub fn project_of(file: impl AsFd) -> io::Result<u32> {
    // SAFETY: the opcode reads a `fsxattr`, which `Attributes` is.
    let get = unsafe { rustix::ioctl::Getter::<GET_ATTRIBUTES, Attributes>::new() };
    // SAFETY: as above; the descriptor is borrowed for the call.
    Ok(unsafe { rustix::ioctl::ioctl(&file, get) }?.project)
}

/// quotactl_fd(2) about projects.
///
/// # Safety
/// `address` has to be what `command` reads or writes.
unsafe fn call(dir: &impl AsFd, command: libc::c_int, id: u32, address: *mut libc::c_void) -> io::Result<()> {
    let command = command << 8 | PROJECT;
    let fd = dir.as_fd().as_raw_fd();
    // SAFETY: by the caller's promise; the descriptor is borrowed for the call.
    match unsafe { libc::syscall(libc::SYS_quotactl_fd, fd, command, id, address) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests;
