//! What the unpacking process could not do for a layer: opaque directories need CAP_SYS_ADMIN, devices CAP_MKNOD, and
//! implied directories and hard links downwards need the layers below.
//!
//! The tree was made by that process from hostile data, so everything here goes by descriptors
//! opened beneath the tree's root, following nothing.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use berth_types::{Classify, Kind};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::ingest::writer::Staged;
use super::lookup::{Found, OPAQUE, Stack, TooManySteps};

pub(crate) mod devices;

/// Why a layer could not be completed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompleteError {
    #[error("{path:?}: {step}")]
    Io { path: String, step: &'static str, source: io::Error },
    #[error("{path:?}: a hard link to {target:?}, which no layer has")]
    NoTarget { path: String, target: String },
    #[error("{path:?}: a hard link to {target:?}, which is neither a file nor a symbolic link")]
    BadTarget { path: String, target: String },
    #[error("device {path:?}: {reason}")]
    Device { path: String, reason: &'static str },
    #[error("{path:?}: hard links to more than {limit} bytes of files in the layers below")]
    TooMuch { path: String, limit: u64 },
}

impl Classify for CompleteError {
    fn kind(&self) -> Kind {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => Kind::Exhausted,
            Self::Io { source, .. } if source.get_ref().is_some_and(|e| e.is::<TooManySteps>()) => {
                Kind::Exhausted
            }
            Self::Io { .. } => Kind::Internal,
            Self::TooMuch { .. } => Kind::Exhausted,
            Self::NoTarget { .. } | Self::BadTarget { .. } | Self::Device { .. } => Kind::Corrupt,
        }
    }
}

fn at<E: Into<io::Error>>(path: &[u8], step: &'static str) -> impl FnOnce(E) -> CompleteError {
    let path = text(path);
    move |source| CompleteError::Io { path, step, source: source.into() }
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// Marks the opaque directories.
pub(crate) fn opaque(staged: &Staged) -> Result<(), CompleteError> {
    let root = open_root(&staged.fs())?;
    for path in staged.unpacked.report.opaque.iter().filter(|path| !path.is_empty()) {
        let fd = open_dir(&root, &path)?;
        rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty()).map_err(at(&path, "mark as opaque"))?;
    }
    Ok(())
}

/// Gives implied directories the mode, owner and time that they have in the layers below (the uppermost
/// first), and makes the hard links to files of those layers. Returns whether something was moved: where the layers
/// below have a symlink (`lib -> usr/lib`) in the place of an implied directory, what is in it belongs where the
/// symlink leads, or it would hide the symlink. At most `copied` bytes of files are copied up.
pub(crate) fn from_below(staged: &Staged, below: &[PathBuf], copied: u64) -> Result<bool, CompleteError> {
    let root = open_root(&staged.fs())?;
    let stack = Stack::new(below);
    let mut moves = Moves::default();
    // Sorted by path: a directory comes before what is in it. Times are set afterwards, the deepest first.
    let mut timed = Vec::new();
    for path in staged.unpacked.report.implied.iter() {
        let mut path = moves.apply(&path);
        let mut there = find(&stack, &path, false)?;
        if there.as_ref().is_some_and(|found| found.kind() == FileType::Symlink)
            && let Some(target) = find(&stack, &path, true)?
            && target.kind() == FileType::Directory
        {
            move_to(&root, &stack, &path, &target.path)?;
            moves.0.insert(path, target.path.clone());
            path = target.path.clone();
            there = Some(target);
        }
        let fd = open_dir(&root, &path)?;
        match there.filter(|found| found.kind() == FileType::Directory) {
            Some(found) => {
                copy_owner(&fd, &found.stat).map_err(at(&path, "copy mode and owner"))?;
                timed.push((path, times(&found.stat)));
            }
            None => {
                rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755)).map_err(at(&path, "chmod"))?;
                timed.push((path, Timestamps { last_access: EPOCH, last_modification: EPOCH }));
            }
        }
    }
    let mut left = copied;
    let mut links = staged.unpacked.report.links.iter();
    while let (Some(path), Some(target)) = (links.next(), links.next()) {
        let (path, target) = (moves.apply(&path), moves.apply(&target));
        let size = link_below(&root, &stack, &path, &target, left)?;
        left = size.ok_or(CompleteError::TooMuch { path: text(&path), limit: copied })?;
    }
    for (path, times) in timed.iter().rev() {
        let fd = open_dir(&root, path)?;
        rustix::fs::futimens(&fd, times).map_err(at(path, "set times"))?;
    }
    Ok(!moves.0.is_empty())
}

/// Directories that were moved, by where they were: the places of symlinks of the layers below. Where they are now has
/// no symlinks on its way, so nothing is moved twice.
#[derive(Default)]
struct Moves(HashMap<Vec<u8>, Vec<u8>>);

impl Moves {
    /// Where a path is after the moves so far.
    fn apply(&self, path: &[u8]) -> Vec<u8> {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in slashes.chain([path.len()]) {
            if let Some(to) = self.0.get(&path[..end]) {
                return [to, &path[end..]].concat();
            }
        }
        path.to_vec()
    }
}

/// Moves a directory of the tree. One that is at the target already is merged with it, as far as
/// the two have different names in them.
fn move_to(root: &OwnedFd, stack: &Stack<'_>, from: &[u8], to: &[u8]) -> Result<(), CompleteError> {
    if to.is_empty() || [to, b"/"].concat().starts_with(&[from, b"/"].concat()) {
        let into_itself = io::Error::other("a symbolic link of a lower layer leads into it or to the root");
        return Err(at(from, "move to where the link leads")(into_itself));
    }
    let target = copy_dirs_up(root, stack, to)?;
    let source = open_dir(root, from)?;
    for entry in rustix::fs::Dir::read_from(&source).map_err(at(from, "read"))? {
        let entry = entry.map_err(at(from, "read"))?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let only = rustix::fs::RenameFlags::NOREPLACE;
        rustix::fs::renameat_with(&source, name, &target, name, only)
            .map_err(at(from, "move to where the link of a lower layer leads"))?;
    }
    let (dir, name) = split(from);
    let parent = open_dir(root, dir)?;
    rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR).map_err(at(from, "remove"))
}

const EPOCH: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

fn find(stack: &Stack<'_>, path: &[u8], follow: bool) -> Result<Option<Found>, CompleteError> {
    if stack.is_empty() {
        return Ok(None);
    }
    stack
        .find(Path::new(std::ffi::OsStr::from_bytes(path)), follow)
        .map_err(at(path, "look up in the layers below"))
}

/// Copies the target up, as writing through an overlay would, and links to the copy. Returns what is left of the bytes
/// that may be copied; `None` when it would be too much.
fn link_below(
    root: &OwnedFd,
    stack: &Stack<'_>,
    path: &[u8],
    target: &[u8],
    mut left: u64,
) -> Result<Option<u64>, CompleteError> {
    let (target_dir, target_name) = split(target);
    let (path_dir, path_name) = split(path);
    let no_target = || CompleteError::NoTarget { path: text(path), target: text(target) };
    // The path may lead through symbolic links of the layers below, which must not be hidden by directories.
    let target_dir = match find(stack, target_dir, true)? {
        Some(found) if found.kind() == FileType::Directory && open_dir(root, target_dir).is_err() => {
            found.path
        }
        _ => target_dir.to_vec(),
    };
    let dir = copy_dirs_up(root, stack, &target_dir)?;
    let there = rustix::fs::statat(&dir, target_name, AtFlags::SYMLINK_NOFOLLOW);
    if matches!(there, Err(Errno::NOENT)) {
        let found = find(stack, target, false)?.ok_or_else(no_target)?;
        match found.kind() {
            FileType::RegularFile => {
                let size = u64::try_from(found.stat.st_size).unwrap_or_default();
                let Some(rest) = left.checked_sub(size) else { return Ok(None) };
                left = rest;
                copy_file(&found, &dir, target_name).map_err(at(target, "copy up"))?;
            }
            FileType::Symlink => copy_symlink(&found, &dir, target_name).map_err(at(target, "copy up"))?,
            _ => return Err(CompleteError::BadTarget { path: text(path), target: text(target) }),
        }
    } else {
        there.map_err(at(target, "stat"))?;
    }
    let parent = open_dir(root, path_dir)?;
    let link = || rustix::fs::linkat(&dir, target_name, &parent, path_name, AtFlags::empty());
    match link() {
        // An entry of the layer that came later took the place: it stays.
        Ok(()) | Err(Errno::EXIST) => Ok(Some(left)),
        Err(e) => Err(at(path, "link")(e)),
    }
}

/// The directory at `path` in the tree, made like those below where it is missing.
fn copy_dirs_up(root: &OwnedFd, stack: &Stack<'_>, path: &[u8]) -> Result<OwnedFd, CompleteError> {
    let mut done: Vec<u8> = Vec::new();
    for part in path.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
        let parent = open_dir(root, &done)?;
        if !done.is_empty() {
            done.push(b'/');
        }
        done.extend_from_slice(part);
        match rustix::fs::mkdirat(&parent, part, Mode::RWXU) {
            Err(Errno::EXIST) => continue,
            other => other.map_err(at(&done, "mkdir"))?,
        }
        let fd = open_dir(root, &done)?;
        match find(stack, &done, false)?.filter(|found| found.kind() == FileType::Directory) {
            Some(found) => copy_owner(&fd, &found.stat).map_err(at(&done, "copy mode and owner"))?,
            None => rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755)).map_err(at(&done, "chmod"))?,
        }
    }
    open_dir(root, &done)
}

fn copy_file(from: &Found, dir: &OwnedFd, name: &[u8]) -> io::Result<()> {
    let mut source = from.open()?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))?;
    let mut target = std::fs::File::from(fd);
    io::copy(&mut source, &mut target)?;
    let target = OwnedFd::from(target);
    copy_owner(&target, &from.stat)?;
    copy_xattrs(&source.into(), &target)?;
    Ok(rustix::fs::futimens(&target, &times(&from.stat))?)
}

fn copy_xattrs(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::flistxattr(from, &mut names) {
        Err(Errno::NOTSUP) => 0,
        other => other?,
    };
    let mut value = vec![0; 64 << 10];
    for name in
        names[..length].split(|b| *b == 0).filter(|name| !name.is_empty() && !name.starts_with(b"trusted."))
    {
        let length = rustix::fs::fgetxattr(from, name, &mut value[..])?;
        rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}

fn copy_symlink(from: &Found, dir: &OwnedFd, name: &[u8]) -> io::Result<()> {
    let target = rustix::fs::readlinkat(&from.dir, &from.name[..], Vec::new())?;
    rustix::fs::symlinkat(&target, dir, name)?;
    let (uid, gid) = (Uid::from_raw(from.stat.st_uid), Gid::from_raw(from.stat.st_gid));
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(rustix::fs::utimensat(dir, name, &times(&from.stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn copy_owner(fd: &OwnedFd, stat: &Stat) -> Result<(), Errno> {
    rustix::fs::fchown(fd, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(stat.st_mode & 0o7777))
}

fn times(stat: &Stat) -> Timestamps {
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    Timestamps { last_access: time, last_modification: time }
}

fn open_root(path: &Path) -> Result<OwnedFd, CompleteError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(at(path.as_os_str().as_bytes(), "open"))
}

/// Opens a directory beneath the root; an empty path is the root.
fn open_dir(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, CompleteError> {
    let target = if path.is_empty() { &b"."[..] } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(root, target, flags, Mode::empty(), resolve).map_err(at(path, "open directory"))
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
