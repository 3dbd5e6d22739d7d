//! A walk through a directory tree that others made: by descriptors, following nothing, without leaving the file system, sorted by
//! name, a directory before what is in it.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::lookup::OPAQUE;

/// The most entries, and the deepest path.
const MAX_ENTRIES: usize = 5_000_000;
const MAX_DEPTH: usize = 256;

/// What is met.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// The directory that it is in, and its name there.
    pub(crate) dir: BorrowedFd<'a>,
    pub(crate) name: &'a CStr,
    /// From `/`.
    pub(crate) path: &'a Path,
    pub(crate) stat: &'a Stat,
    pub(crate) kind: FileType,
}

/// What is done with it.
pub(crate) trait Visit {
    /// True enters a directory.
    fn entry(&mut self, seen: &Seen<'_>) -> io::Result<bool>;

    /// A directory that was entered, with the names in it.
    fn entered(&mut self, _path: &Path, _dir: BorrowedFd<'_>, _names: &[CString]) -> io::Result<()> {
        Ok(())
    }
}

impl Seen<'_> {
    /// Whether it is overlayfs' mark that a name of the layers below is gone.
    pub(crate) fn is_whiteout(&self) -> bool {
        self.kind == FileType::CharacterDevice && self.stat.st_rdev == 0
    }

    /// The file itself, to be read.
    pub(crate) fn open(&self) -> Result<OwnedFd, Errno> {
        open_in(self.dir, self.name, OFlags::RDONLY)
    }
}

struct Level {
    dir: OwnedFd,
    path: PathBuf,
    /// The last first.
    names: Vec<CString>,
}

/// Walks through what is in `root`.
pub(crate) fn walk(root: OwnedFd, visit: &mut impl Visit) -> io::Result<()> {
    let mut met = 0;
    let mut stack = vec![enter(root, PathBuf::from("/"), visit)?];
    loop {
        let depth = stack.len();
        let Some(level) = stack.last_mut() else { return Ok(()) };
        let Some(name) = level.names.pop() else {
            stack.pop();
            continue;
        };
        met += 1;
        if met > MAX_ENTRIES || depth > MAX_DEPTH {
            return Err(io::Error::other("there are too many files, or too deep ones"));
        }
        let dir = level.dir.as_fd();
        let stat = match rustix::fs::statat(dir, &*name, AtFlags::SYMLINK_NOFOLLOW) {
            // Gone meanwhile.
            Err(Errno::NOENT) => continue,
            stat => stat?,
        };
        let path = level.path.join(OsStr::from_bytes(name.to_bytes()));
        let kind = FileType::from_raw_mode(stat.st_mode);
        let enters = visit.entry(&Seen { dir, name: &name, path: &path, stat: &stat, kind })?;
        if enters && kind == FileType::Directory {
            let Ok(below) = open_in(dir, &name, OFlags::RDONLY | OFlags::DIRECTORY) else { continue };
            stack.push(enter(below, path, visit)?);
        }
    }
}

fn enter(dir: OwnedFd, path: PathBuf, visit: &mut impl Visit) -> io::Result<Level> {
    let mut names = Vec::new();
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
        if names.len() > MAX_ENTRIES {
            return Err(io::Error::other("there are too many files in one directory"));
        }
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    visit.entered(&path, dir.as_fd(), &names)?;
    Ok(Level { dir, path, names })
}

/// Opens the root of a tree.
pub(crate) fn root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Whether a directory hides what the layers below have in its place.
pub(crate) fn is_opaque(dir: BorrowedFd<'_>) -> bool {
    let mut value = [0u8; 8];
    rustix::fs::fgetxattr(dir, OPAQUE, &mut value[..]).is_ok_and(|length| value[..length] == *b"y")
}

pub(crate) fn open_in(dir: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve)
}
