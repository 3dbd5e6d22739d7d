//! Trees that others filled, as a container its writable layer: they may be deeper than a stack or the table of
//! descriptors, and change while they are looked at. So everything goes by descriptors, follows nothing, does not
//! leave the file system, and takes bounded memory and descriptors.

use std::collections::HashSet;
use std::ffi::CStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, IFlags, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

/// Levels of a tree that are open at a time.
const DEEP: usize = 64;
/// Directories below them that wait to be measured.
const WAITING: usize = 256;
/// Files with several links that are remembered.
const LINKED: usize = 1 << 17;

/// Removes a tree, or a file of any kind; success when there is none. What is mounted in it is left alone and makes it fail, as does what
/// cannot be removed; the rest is removed anyway.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(root) => root,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return match std::fs::remove_file(path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                done => done,
            };
        }
        Err(e) => return Err(e.into()),
    };
    let mut removal = Removal { root: &root, moved: 0, failed: None };
    // What was too deep was moved up, and is the next round's.
    while removal.round()? {}
    if let Some(error) = removal.failed {
        return Err(error.into());
    }
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

struct Removal<'a> {
    root: &'a OwnedFd,
    /// Directories moved into the root so far.
    moved: u64,
    /// The first thing that failed.
    failed: Option<Errno>,
}

/// An open directory, and its name in the one above.
struct Level {
    entries: Dir,
    name: std::ffi::CString,
}

impl Removal<'_> {
    /// Removes what is no deeper than [`DEEP`], and moves what is; tells whether something was moved.
    fn round(&mut self) -> io::Result<bool> {
        let before = self.moved;
        let mut stack = vec![Level { entries: Dir::read_from(self.root)?, name: c"".to_owned() }];
        loop {
            let depth = stack.len();
            let Some(level) = stack.last_mut() else { break };
            let Some(entry) = level.entries.next() else {
                let done = stack.pop();
                if let (Some(done), Some(above)) = (done, stack.last()) {
                    self.note(remove(above.entries.fd()?, &done.name, AtFlags::REMOVEDIR));
                }
                continue;
            };
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let dir = level.entries.fd()?;
            if !is_dir(dir, name, entry.file_type()) {
                self.note(remove(dir, name, AtFlags::empty()));
            } else if depth < DEEP {
                match open_below(dir, name).and_then(Dir::new) {
                    Ok(entries) => stack.push(Level { entries, name: name.to_owned() }),
                    Err(e) => self.note(Err(e)),
                }
            } else {
                match remove(dir, name, AtFlags::REMOVEDIR) {
                    Err(Errno::NOTEMPTY | Errno::EXIST) => {
                        let moved = self.move_up(dir, name);
                        self.note(moved);
                    }
                    done => self.note(done),
                }
            }
        }
        Ok(self.moved > before)
    }

    /// Moves a directory into the root, under a name that nothing has.
    fn move_up(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        loop {
            let target = format!(".deep-{}", self.moved);
            self.moved += 1;
            match rustix::fs::renameat_with(dir, name, self.root, &*target, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                done => return done,
            }
        }
    }

    fn note(&mut self, done: Result<(), Errno>) {
        match done {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => self.failed = self.failed.or(Some(e)),
        }
    }
}

/// Unlinks; what is marked as immutable, which a privileged container may do, is unmarked first.
fn remove(dir: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, flags) {
        Err(Errno::PERM) => {
            unmark(dir);
            // Only what can be opened without an effect; other kinds of files have no marks.
            let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if matches!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile | FileType::Directory) {
                unmark(rustix::fs::openat(dir, name, open, Mode::empty())?);
            }
            rustix::fs::unlinkat(dir, name, flags)
        }
        done => done,
    }
}

fn unmark(file: impl std::os::fd::AsFd) {
    let marks = IFlags::IMMUTABLE | IFlags::APPEND;
    if let Ok(flags) = rustix::fs::ioctl_getflags(&file)
        && flags.intersects(marks)
    {
        // When it fails, so does the removal that follows, and says so.
        rustix::fs::ioctl_setflags(&file, flags - marks).ok();
    }
}

fn is_dir(dir: BorrowedFd<'_>, name: &CStr, kind: FileType) -> bool {
    match kind {
        FileType::Unknown => rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
        kind => kind == FileType::Directory,
    }
}

/// Opens a directory, following nothing and staying on the file system.
fn open_below(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve)
}

/// What a tree takes: allocated bytes and inodes, the root of the tree included. Symlinks are not followed; a file with
/// several links in the tree counts once. What is removed meanwhile is not counted, nor what is mounted in it.
pub fn tree_usage(root: &Path) -> io::Result<(u64, u64)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
    let mut usage = Usage::default();
    usage.add(&rustix::fs::fstat(&root)?);
    let mut waiting = vec![root];
    while let Some(dir) = waiting.pop() {
        let mut stack = vec![Dir::new(dir)?];
        loop {
            let depth = stack.len();
            let Some(level) = stack.last_mut() else { break };
            let Some(entry) = level.next() else {
                stack.pop();
                continue;
            };
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let dir = level.fd()?;
            let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            usage.add(&stat);
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                continue;
            }
            match open_below(dir, name) {
                Ok(below) if depth < DEEP => stack.push(Dir::new(below)?),
                Ok(below) if waiting.len() < WAITING => waiting.push(below),
                // Wide and deep enough to be there for this reason alone.
                Ok(_) => {}
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok((usage.bytes, usage.inodes))
}

#[derive(Default)]
struct Usage {
    bytes: u64,
    inodes: u64,
    linked: HashSet<(u64, u64)>,
}

impl Usage {
    fn add(&mut self, stat: &rustix::fs::Stat) {
        let dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if stat.st_nlink > 1 && !dir {
            let file = (stat.st_dev, stat.st_ino);
            if self.linked.contains(&file) {
                return;
            }
            if self.linked.len() < LINKED {
                self.linked.insert(file);
            }
        }
        self.bytes += u64::try_from(stat.st_blocks).unwrap_or_default() * 512;
        self.inodes += 1;
    }
}

#[cfg(test)]
mod tests;
