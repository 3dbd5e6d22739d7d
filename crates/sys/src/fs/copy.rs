//! A copy of a tree that others made, as a directory of an image: with owners, modes and times, by descriptors, following nothing
//! and without leaving the file system.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

/// The deepest tree that is copied.
const DEEP: usize = 256;
/// The most bytes of the names of a file's attributes, and of the value of one.
const MAX_ATTRIBUTE: usize = 64 << 10;

/// An open directory and its copy.
struct Level {
    entries: Dir,
    to: OwnedFd,
    stat: Stat,
}

/// Copies what is in the directory `from` into `to`, which exists and is empty, and gives `to` the owner and mode of `from`. Devices and
/// sockets are left out. What was copied stays when it fails.
///
/// # Errors
/// Those of the system; ELOOP for a tree that is too deep.
pub fn copy_tree(from: BorrowedFd<'_>, to: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to = rustix::fs::open(to, flags, Mode::empty())?;
    let mut stack = vec![level(from, c".", to)?];
    while let Some(top) = stack.last_mut() {
        let Some(entry) = top.entries.next() else {
            if let Some(done) = stack.pop() {
                finish(done.entries.fd()?, done.to.as_fd(), &done.stat)?;
            }
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if let Some(below) = one(top.entries.fd()?, top.to.as_fd(), name)? {
            if stack.len() >= DEEP {
                return Err(Errno::LOOP.into());
            }
            stack.push(below);
        }
    }
    Ok(())
}

/// Copies one entry; a directory is made and returned.
fn one(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<Level>> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::RWXU)?;
            let made = open_in(to, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
            return level(from, name, made).map(Some);
        }
        FileType::RegularFile => {
            let source = open_in(from, name, OFlags::RDONLY)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
            let (mut reader, mut writer) = (File::from(source), File::from(made));
            io::copy(&mut reader, &mut writer)?;
            finish(reader.as_fd(), writer.as_fd(), &stat)?;
        }
        FileType::Symlink => {
            let target: CString = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(target, to, name)?;
            own(to, name, &stat)?;
        }
        FileType::Fifo => {
            rustix::fs::mknodat(to, name, FileType::Fifo, Mode::from_raw_mode(stat.st_mode & 0o7777), 0)?;
            own(to, name, &stat)?;
        }
        FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {}
    }
    Ok(None)
}

fn level(from: BorrowedFd<'_>, name: &CStr, to: OwnedFd) -> io::Result<Level> {
    let from = open_in(from, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let stat = rustix::fs::fstat(&from)?;
    Ok(Level { entries: Dir::new(from)?, to, stat })
}

fn open_in(dir: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve)
}

fn owner(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}

/// The owner of what cannot be opened.
fn own(to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = owner(stat);
    rustix::fs::chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
}

/// Owner, mode, attributes and times, when nothing changes them any more.
fn finish(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = owner(stat);
    rustix::fs::fchown(to, uid, gid)?;
    // A change of the owner takes the mode's setuid bits and the capabilities away.
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    attributes(from, to)?;
    rustix::fs::futimens(to, &times(stat))
}

fn times(stat: &Stat) -> Timestamps {
    let time =
        |seconds, nanos: u64| Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanos).unwrap_or_default() };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// The attributes that programs set, and the capabilities of a program.
fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut names = vec![0u8; MAX_ATTRIBUTE];
    let length = match rustix::fs::flistxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(e) => return Err(e),
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if !name.starts_with(b"user.") && name != b"security.capability" {
            continue;
        }
        let mut value = vec![0u8; MAX_ATTRIBUTE];
        let length = rustix::fs::fgetxattr(from, name, &mut value[..])?;
        match rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            // The file system of the copy has none.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
