//! What local pods have in the host's mount table: their volumes in memory, below their directories.
//!
//! A kubelet mounts such volumes itself. Here the caller does it by these functions, and [`super::doctor`] and [`super::purge`] know
//! the place.

use std::collections::HashSet;
use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags};

use super::doctor::{DRAIN, mounts_below};
use crate::model::Owner;
use crate::shared::Shared;

/// Mounts a file system in memory on `path`, an empty directory: of `bytes` at most, for every user to write. What a
/// container writes there counts as its memory.
///
/// # Errors
/// Those of mount(2).
pub fn mount_memory(path: &Path, bytes: u64) -> io::Result<()> {
    let options = CString::new(format!("mode=0777,size={bytes}"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    Ok(rustix::mount::mount("tmpfs", path, "tmpfs", flags, Some(options.as_c_str()))?)
}

/// Unmounts what is mounted below `dir`, the last that was mounted first; success when there is nothing.
///
/// # Errors
/// The first of those of umount(2); the others are unmounted anyway.
pub fn unmount_below(dir: &Path) -> io::Result<()> {
    let mut failed = None;
    for point in mounts_below(dir).into_iter().rev() {
        match rustix::mount::unmount(&point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(e) => failed = failed.or(Some(e)),
        }
    }
    failed.map_or(Ok(()), |e| Err(e.into()))
}

/// The mounts that are of no local pod. One that is of a pod which is being removed has time to go.
pub(super) fn orphans(shared: &Shared) -> Vec<PathBuf> {
    let dir = shared.layout.local();
    let deadline = Instant::now() + DRAIN;
    loop {
        let mounts = mounts_below(&dir);
        if mounts.is_empty() {
            return mounts;
        }
        let views = shared.views.sandboxes(Some(Owner::Local));
        let uids: HashSet<&str> = views.iter().map(|view| view.config.metadata.uid.as_str()).collect();
        let orphans = of_others(&dir, mounts, &uids);
        if orphans.is_empty() || Instant::now() >= deadline {
            return orphans;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Those of `mounts` that are not in the directory of a pod with one of these uids.
fn of_others(dir: &Path, mounts: Vec<PathBuf>, uids: &HashSet<&str>) -> Vec<PathBuf> {
    let known = |mount: &PathBuf| {
        let uid = mount.strip_prefix(dir).ok().and_then(|below| below.iter().next());
        uid.and_then(|uid| uid.to_str()).is_some_and(|uid| uids.contains(uid))
    };
    mounts.into_iter().filter(|mount| !known(mount)).collect()
}

#[cfg(test)]
mod tests;
