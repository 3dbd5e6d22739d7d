//! The mount calls that rustix lacks, and small wrappers of those that it has.
//!
//! All of it works on descriptors: a path is resolved once, within the root that it belongs to
//! ([`open_in_root`]), and what was found is used from then on (docs/adr/0004).

#![allow(unsafe_code, reason = "mount_setattr")]

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use crate::process::check;

mod empty;
mod list;

pub use empty::{base_namespace, empty_root};
pub use list::{Mounted, mounted, parse_mountinfo};

/// `MOUNT_ATTR_RDONLY`
pub const RDONLY: u64 = 0x1;
/// `MOUNT_ATTR_NOSUID`
pub const NOSUID: u64 = 0x2;
/// `MOUNT_ATTR_NODEV`
pub const NODEV: u64 = 0x4;
/// `MOUNT_ATTR_NOEXEC`
pub const NOEXEC: u64 = 0x8;
/// `MOUNT_ATTR__ATIME`: the bits that hold the way access times are kept.
pub const ATIME: u64 = 0x70;
/// `MOUNT_ATTR_RELATIME`
pub const RELATIME: u64 = 0;
/// `MOUNT_ATTR_NOATIME`
pub const NOATIME: u64 = 0x10;
/// `MOUNT_ATTR_STRICTATIME`
pub const STRICTATIME: u64 = 0x20;
/// `MOUNT_ATTR_NODIRATIME`
pub const NODIRATIME: u64 = 0x80;
/// `MOUNT_ATTR_NOSYMFOLLOW` (Linux 5.14)
pub const NOSYMFOLLOW: u64 = 0x20_0000;

/// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`: values of [`Change::propagation`].
pub const PRIVATE: u64 = 1 << 18;
/// See [`PRIVATE`].
pub const SLAVE: u64 = 1 << 19;
/// See [`PRIVATE`].
pub const SHARED: u64 = 1 << 20;
/// See [`PRIVATE`].
pub const UNBINDABLE: u64 = 1 << 17;

/// `MOUNT_ATTR_IDMAP` (Linux 5.12): [`change`] sets it where a user namespace is given.
pub const IDMAP: u64 = 0x10_0000;

/// A change of a mount's properties.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change<'a> {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear first.
    pub clear: u64,
    /// Propagation; 0 leaves it.
    pub propagation: u64,
    /// The user namespace whose maps the mount gets (Linux 5.12).
    pub idmap: Option<BorrowedFd<'a>>,
    /// All mounts below too.
    pub recursive: bool,
}

/// `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Changes the mount at `dir` and `path`; an empty path means `dir` itself, which must be a mount's
/// root. (Linux 5.12; older kernels say ENOSYS.)
///
/// # Errors
/// Those of mount_setattr(2).
pub fn change(dir: BorrowedFd<'_>, path: &CStr, change: Change<'_>) -> Result<(), Errno> {
    let mut attr =
        MountAttr { set: change.set, clear: change.clear, propagation: change.propagation, userns: 0 };
    if let Some(userns) = change.idmap {
        attr.set |= IDMAP;
        attr.userns = u64::from(userns.as_raw_fd().cast_unsigned());
    }
    let mut flags = libc::AT_EMPTY_PATH;
    if change.recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: path is a C string and attr as large as said.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}

/// A detached copy of the mount at `at`, a descriptor of anything in it, with that as its root.
///
/// # Errors
/// Those of open_tree(2).
pub fn clone_tree(at: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(at, c"", flags)
}

/// Whether a tmpfs can be idmapped by the user namespace `user` (Linux 6.3).
pub fn tmpfs_has_maps(user: BorrowedFd<'_>) -> bool {
    let try_it = || {
        let context = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(context.as_fd())?;
        let (flags, attributes) = (FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty());
        let mount = rustix::mount::fsmount(context.as_fd(), flags, attributes)?;
        change(mount.as_fd(), c"", Change { idmap: Some(user), ..Change::default() })
    };
    try_it().is_ok()
}

/// Attaches a detached mount at what `target` refers to.
///
/// # Errors
/// Those of move_mount(2).
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", target, c"", flags)
}

/// Puts the private mount at `mount` in the peer group of the one at `peer`; both are the roots of mounts of the
/// same file system, and not below what `peer` shows. (Linux 5.15.)
///
/// # Errors
/// Those of move_mount(2).
pub fn share(peer: BorrowedFd<'_>, mount: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH
        | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH
        | MoveMountFlags::MOVE_MOUNT_SET_GROUP;
    rustix::mount::move_mount(peer, c"", mount, c"", flags)
}

/// Opens `path` as seen by a process whose root directory is `root`: links, `..` and absolute paths
/// stay inside, and the magic links of procfs are refused.
///
/// # Errors
/// Those of openat2(2); ELOOP for a magic link, or any link with `no_links`.
pub fn open_in_root(
    root: BorrowedFd<'_>,
    path: &CStr,
    flags: OFlags,
    no_links: bool,
) -> Result<OwnedFd, Errno> {
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    if no_links {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    loop {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // A rename somewhere on the machine disturbed the walk.
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests;
