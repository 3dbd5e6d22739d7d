//! A private procfs: mounted nowhere, so that nothing can be mounted over its files.
//!
//! What a container could replace (a link in the image, a mount made in a race) would redirect a write
//! meant for `/proc/sys` or `/proc/self/attr`; this one shows the kernel's files and no others.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

/// A detached procfs of the caller's PID namespace.
#[derive(Debug)]
pub struct Private(OwnedFd);

impl Private {
    /// Makes one.
    ///
    /// # Errors
    /// Those of fsopen(2) and fsmount(2).
    pub fn new() -> Result<Self, Errno> {
        let context = rustix::mount::fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(context.as_fd())?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        Ok(Self(rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?))
    }

    /// Writes the file at `path`, relative to the procfs.
    ///
    /// # Errors
    /// Those of openat2(2) and write(2); EIO when not everything was taken.
    pub fn write(&self, path: &CStr, value: &[u8]) -> Result<(), Errno> {
        write_beneath(self.0.as_fd(), path, value)
    }
}

/// Writes the file at `path` below `dir`, at once.
///
/// # Errors
/// Those of openat2(2) and write(2); EIO when not everything was taken.
pub(crate) fn write_beneath(dir: BorrowedFd<'_>, path: &CStr, value: &[u8]) -> Result<(), Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let file = rustix::fs::openat2(dir, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    if rustix::io::write(&file, value)? == value.len() { Ok(()) } else { Err(Errno::IO) }
}

#[cfg(test)]
mod tests;
