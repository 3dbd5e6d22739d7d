//! Giving rights up: what a process does before it reads hostile data.

#![allow(unsafe_code, reason = "unshare has no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
pub use rustix::thread::CapabilitySet as Capability;
use rustix::thread::{CapabilitySets, UnshareFlags};

use crate::mount;

mod calls;

pub use calls::{Calls, system_calls};

/// What the process may still use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The size that a file may reach, in bytes.
    pub file_bytes: u64,
    /// Open descriptors.
    pub open_files: u64,
    /// Bytes of memory that it may map, its program's included.
    pub memory: u64,
}

/// What the process may do in its root directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read.
    ReadOnly,
    /// Make files, but neither open a device nor execute anything.
    ReadWrite,
}

/// A step failed. The process must end: it still has some of its rights.
#[derive(Debug, thiserror::Error)]
#[error("{step}")]
pub struct ConfineError {
    /// Which step.
    pub step: &'static str,
    /// Why.
    pub source: io::Error,
}

/// Makes `dir` the root directory in mount, network and IPC namespaces of the process' own, and gives up every
/// capability that is not in `keep` for good. What it had open stays open. Must be called before any thread is
/// started, and as root. The kernel must have mount_setattr (Linux 5.12): without it the process cannot be confined, and
/// this fails.
pub fn enter(
    dir: BorrowedFd<'_>,
    access: Access,
    keep: &[Capability],
    limits: &Limits,
) -> Result<(), ConfineError> {
    let at = |step| move |e: rustix::io::Errno| ConfineError { step, source: e.into() };
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at("clear dumpable"))?;
    rustix::thread::set_no_new_privs(true).map_err(at("set no_new_privs"))?;
    let tree = clone_tree(dir, access)?;
    let spaces = UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWIPC;
    // SAFETY: the flags leave the descriptor table shared as it is; there is no other thread that could be affected by
    // another root or namespace.
    unsafe { rustix::thread::unshare_unsafe(spaces) }.map_err(at("unshare"))?;
    change_root(&tree)?;
    rustix::process::umask(rustix::fs::Mode::empty());
    for (resource, value) in [
        (Resource::Core, 0),
        (Resource::Fsize, limits.file_bytes),
        (Resource::Nofile, limits.open_files),
        (Resource::As, limits.memory),
    ] {
        lower(resource, value).map_err(at("set a resource limit"))?;
    }
    drop_capabilities(keep).map_err(at("drop capabilities"))
}

/// A detached mount of the directory, on which devices cannot be opened and programs cannot be executed. It is made
/// before the namespace changes: afterwards the descriptor leads to a mount of another namespace, which cannot be
/// cloned. It is private: the kernel pivots to no shared root.
fn clone_tree(dir: BorrowedFd<'_>, access: Access) -> Result<OwnedFd, ConfineError> {
    let at = |step| move |e: rustix::io::Errno| ConfineError { step, source: e.into() };
    let tree = mount::clone_tree(dir, false).map_err(at("open_tree"))?;
    let mut set = mount::NODEV | mount::NOSUID | mount::NOEXEC;
    if access == Access::ReadOnly {
        set |= mount::RDONLY;
    }
    let change = mount::Change { set, propagation: mount::PRIVATE, ..mount::Change::default() };
    mount::change(tree.as_fd(), c"", change).map_err(at("mount_setattr"))?;
    Ok(tree)
}

/// The tree becomes the only mount: the host's mounts cannot be reached. What it is attached to may not be
/// shared either, as mounts are under systemd.
fn change_root(tree: &OwnedFd) -> Result<(), ConfineError> {
    let at = |step| move |e: rustix::io::Errno| ConfineError { step, source: e.into() };
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(at("make mounts private"))?;
    let onto = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", rustix::fs::CWD, "/", onto).map_err(at("move_mount"))?;
    rustix::process::fchdir(tree).map_err(at("fchdir"))?;
    rustix::process::pivot_root(".", ".").map_err(at("pivot_root"))?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(at("unmount the host's root"))?;
    rustix::process::chdir("/").map_err(at("chdir"))
}

fn lower(resource: Resource, value: u64) -> Result<(), rustix::io::Errno> {
    let now = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let value = Some(value.min(now));
    rustix::process::setrlimit(resource, Rlimit { current: value, maximum: value })
}

fn drop_capabilities(keep: &[Capability]) -> Result<(), rustix::io::Errno> {
    let wanted = keep.iter().fold(Capability::empty(), |all, one| all | *one);
    for capability in Capability::all().iter() {
        if wanted.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // INVAL: a capability that this kernel does not know.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(e) => return Err(e),
        }
    }
    let kept = wanted & rustix::thread::capabilities(None)?.permitted;
    rustix::thread::clear_ambient_capability_set()?;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: Capability::empty() },
    )
}

#[cfg(test)]
mod tests;
