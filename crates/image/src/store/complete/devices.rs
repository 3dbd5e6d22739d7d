//! Devices of a layer, which the process that reads it has no right to make.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Timespec, Timestamps, Uid};

use super::{CompleteError, Staged, at, open_dir, open_root, split, text, times};
use crate::unpack::Device;

/// Makes the devices in the places of their placeholders, empty files. Their numbers are checked: whiteouts are made
/// by the process, and the kernel has no others.
pub(crate) fn make(staged: &Staged) -> Result<(), CompleteError> {
    if staged.unpacked.report.devices.is_empty() {
        return Ok(());
    }
    let root = open_root(&staged.fs())?;
    for device in &staged.unpacked.report.devices {
        one(&root, device)?;
    }
    Ok(())
}

fn one(root: &OwnedFd, device: &Device) -> Result<(), CompleteError> {
    let path = &device.path;
    let (kind, number) = numbers(device)?;
    let (dir, name) = split(path);
    let dir = open_dir(root, dir)?;
    let before = rustix::fs::fstat(&dir).map_err(at(path, "stat its directory"))?;
    let there = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(at(path, "stat"))?;
    if FileType::from_raw_mode(there.st_mode) != FileType::RegularFile || there.st_size != 0 {
        return Err(CompleteError::Device { path: text(path), reason: "something else is in its place" });
    }
    rustix::fs::unlinkat(&dir, name, AtFlags::empty()).map_err(at(path, "remove its placeholder"))?;
    // No other user's until it has its owner.
    rustix::fs::mknodat(&dir, name, kind, Mode::empty(), number).map_err(at(path, "make device"))?;
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    let no_follow = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(&dir, name, Some(uid), Some(gid), no_follow).map_err(at(path, "chown"))?;
    // Just made here and not a symlink; the process that wrote this tree is gone.
    let mode = Mode::from_raw_mode(device.mode & 0o7777);
    rustix::fs::chmodat(&dir, name, mode, AtFlags::empty()).map_err(at(path, "chmod"))?;
    let time = Timespec { tv_sec: device.mtime.0, tv_nsec: i64::from(device.mtime.1) };
    let own = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(&dir, name, &own, no_follow).map_err(at(path, "set times"))?;
    rustix::fs::futimens(&dir, &times(&before)).map_err(at(path, "set the times of its directory"))
}

/// The kind and number of a device.
fn numbers(device: &Device) -> Result<(FileType, u64), CompleteError> {
    let refuse = |reason| Err(CompleteError::Device { path: text(&device.path), reason });
    let kind = if device.block { FileType::BlockDevice } else { FileType::CharacterDevice };
    if device.major > 0xfff || device.minor > 0xf_ffff {
        return refuse("no kernel has a device of that number");
    }
    if !device.block && (device.major, device.minor) == (0, 0) {
        return refuse("a whiteout is no device");
    }
    if device.uid == u32::MAX || device.gid == u32::MAX {
        return refuse("its owner does not exist");
    }
    Ok((kind, rustix::fs::makedev(device.major, device.minor)))
}
