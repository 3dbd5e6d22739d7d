//! Volumes that belong to a group, as the kubelet gives them to a pod's `fsGroup` (its SetVolumeOwnership).

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

/// What the group may do with files that it can write, and with those that it cannot.
pub(super) const WRITE: u32 = 0o660;
pub(super) const READ: u32 = 0o440;
/// What is in a directory belongs to its group, which may enter it.
const DIR: u32 = 0o2110;

/// A directory with this mode; nothing where there is no group.
pub(super) fn dir(path: &Path, mode: u32, group_may: u32, group: Option<u32>) -> io::Result<()> {
    give(path, mode | group_may | DIR, group)
}

/// The same for a file that the pod cannot write.
pub(super) fn file(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    give(path, mode | READ, group)
}

/// The path is in a directory that only root may enter: nothing else changes it.
fn give(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    let Some(group) = group else { return Ok(()) };
    chown(path, None, Some(group))?;
    // A change of owner may take bits away.
    fs::set_permissions(path, Permissions::from_mode(mode))
}
