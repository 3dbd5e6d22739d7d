//! Mount namespaces with next to nothing in them.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags};

use super::{Change, PRIVATE, attach, change};
use crate::namespace;

/// Leaves all mounts of the caller's namespace, which must be its own, for one empty read-only directory.
///
/// # Errors
/// Those of mount(2) and pivot_root(2).
pub fn empty_root() -> Result<(), Errno> {
    let root = begin(
        MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )?;
    pivot(root)
}

/// A mount namespace with a procfs, a sysfs and the host's null device in an otherwise empty root: what the namespaces of
/// containers begin as copies of. A copy costs what there is to copy, and a host with a thousand pods has thousands of
/// mounts.
///
/// The two file systems are there since the kernel lets a user namespace mount them only where they are seen already, the
/// device for covering files with it. Blocks for about a millisecond; the namespace lasts as long as the descriptor.
///
/// # Errors
/// Those of unshare(2), mount(2) and pivot_root(2), which need CAP_SYS_ADMIN.
pub fn base_namespace() -> io::Result<OwnedFd> {
    use rustix::mount::OpenTreeFlags as F;
    let thread = std::thread::Builder::new().name("mount-base".to_owned()).stack_size(64 << 10);
    let made = thread.spawn(|| {
        namespace::unshare(namespace::MOUNT)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let own = rustix::fs::open(c"/proc/thread-self/ns/mnt", flags, Mode::empty())?;
        let null = rustix::mount::open_tree(
            rustix::fs::CWD,
            c"/dev/null",
            F::OPEN_TREE_CLONE | F::OPEN_TREE_CLOEXEC,
        )?;
        let root = begin(MountAttrFlags::empty())?;
        for (dir, kind) in [(c"proc", Some(c"proc")), (c"sys", Some(c"sysfs")), (c"dev", None)] {
            rustix::fs::mkdirat(&root, dir, Mode::from_raw_mode(0o555))?;
            if let Some(kind) = kind {
                attach_at(&new(kind, MountAttrFlags::empty())?, &root, dir)?;
            }
        }
        rustix::fs::mknodat(&root, c"dev/null", FileType::RegularFile, Mode::empty(), 0)?;
        attach_at(&null, &root, c"dev/null")?;
        pivot(root)?;
        Ok::<_, Errno>(own)
    })?;
    let made =
        made.join().map_err(|_| io::Error::other("the thread that makes a mount namespace panicked"))?;
    Ok(made?)
}

fn attach_at(mount: &OwnedFd, root: &OwnedFd, path: &CStr) -> Result<(), Errno> {
    let place = rustix::fs::openat(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    attach(mount.as_fd(), place.as_fd())
}

/// A tmpfs on `/`, and nothing that the host mounts later comes in.
fn begin(attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    change(rustix::fs::CWD, c"/", Change { propagation: PRIVATE, recursive: true, ..Change::default() })?;
    let root = new(c"tmpfs", attributes)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&root, c"", rustix::fs::CWD, c"/", flags)?;
    Ok(root)
}

/// Makes it the root, and detaches the one before.
fn pivot(root: OwnedFd) -> Result<(), Errno> {
    rustix::process::fchdir(&root)?;
    drop(root);
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

fn new(kind: &CStr, attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

#[cfg(test)]
mod tests;
