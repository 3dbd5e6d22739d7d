//! The tree that a layer is unpacked into: directories by descriptor, paths resolved inside it.
//!
//! The process sees nothing but this tree (it is its root directory), and every step of a path is opened beneath
//! the step before. A symlink in the middle of an entry's path is followed inside the tree, as docker
//! and containerd do, by reading it and walking on from the root or its directory.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::changes::Changes;
use super::{Budget, EntryError, Step};

/// Symlinks followed for one path, as the kernel allows.
const MAX_LINKS: usize = 40;
/// Directories kept open.
const MAX_OPEN: usize = 200;

/// An open directory of the tree.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) fd: OwnedFd,
    /// Its path from the root, free of symlinks; empty for the root.
    pub(crate) path: Vec<u8>,
}

impl Dir {
    /// The path of `name` in it.
    pub(crate) fn join(&self, name: &[u8]) -> Vec<u8> {
        if self.path.is_empty() { name.to_vec() } else { [&self.path[..], b"/", name].concat() }
    }
}

/// The tree and what was noted about its directories.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Rc<Dir>,
    /// By the path as entries write it.
    open: HashMap<Vec<u8>, Rc<Dir>>,
    pub(crate) changes: Changes,
}

impl Tree {
    pub(crate) fn new(root: OwnedFd, budget: Budget) -> Self {
        let root = Rc::new(Dir { fd: root, path: Vec::new() });
        Self { root, open: HashMap::new(), changes: Changes::new(budget) }
    }

    pub(crate) fn root(&self) -> &Rc<Dir> {
        &self.root
    }

    /// The directory at `path` (normalised: no empty, `.` or `..` component). Missing directories are made and noted as
    /// implied; without `create` they are an error with ENOENT.
    pub(crate) fn dir(&mut self, path: &[u8], create: bool) -> Result<Rc<Dir>, EntryError> {
        if path.is_empty() {
            return Ok(self.root.clone());
        }
        if let Some(dir) = self.open.get(path) {
            return Ok(dir.clone());
        }
        let (start, rest) = match path.iter().rposition(|b| *b == b'/') {
            Some(slash) => (self.dir(&path[..slash], create)?, &path[slash + 1..]),
            None => (self.root.clone(), path),
        };
        let mut links = 0;
        let dir = self.step(&start, rest, create, &mut links)?;
        if self.open.len() >= MAX_OPEN {
            self.open.clear();
        }
        self.open.insert(path.to_vec(), dir.clone());
        Ok(dir)
    }

    /// The directory `name` in `dir`.
    fn step(
        &mut self,
        dir: &Rc<Dir>,
        name: &[u8],
        create: bool,
        links: &mut usize,
    ) -> Result<Rc<Dir>, EntryError> {
        self.changes.budget.step()?;
        match open_dir(&dir.fd, name) {
            Ok(fd) => Ok(Rc::new(Dir { path: dir.join(name), fd })),
            Err(Errno::NOENT) if create => {
                self.changes.budget.entries(1)?;
                let made = self.make(dir, name)?;
                self.changes.imply(&made.path)?;
                Ok(made)
            }
            Err(Errno::NOTDIR | Errno::LOOP) => match file_type(dir, name)? {
                FileType::Symlink => self.follow(dir, name, create, links),
                FileType::CharacterDevice if create => {
                    // A whiteout of this layer: the directory is new and hides what is below.
                    self.remove(dir, name)?;
                    self.changes.budget.entries(1)?;
                    let made = self.make(dir, name)?;
                    self.changes.imply(&made.path)?;
                    self.changes.opaque(&made.path)?;
                    Ok(made)
                }
                _ => Err(EntryError::Refused(format!(
                    "{} is not a directory",
                    String::from_utf8_lossy(&dir.join(name))
                ))),
            },
            Err(e) => Err(e.at("open directory")),
        }
    }

    fn follow(
        &mut self,
        dir: &Rc<Dir>,
        name: &[u8],
        create: bool,
        links: &mut usize,
    ) -> Result<Rc<Dir>, EntryError> {
        *links += 1;
        if *links > MAX_LINKS {
            return Err(Errno::LOOP.at("follow symlinks"));
        }
        let target = rustix::fs::readlinkat(&dir.fd, name, Vec::new()).map_err(|e| e.at("readlink"))?;
        let target = target.as_bytes();
        self.changes.budget.step()?;
        let mut now = if target.starts_with(b"/") { self.root.clone() } else { dir.clone() };
        for part in target.split(|b| *b == b'/') {
            now = match part {
                b"" | b"." => now,
                // The path of `now` has no symlinks in it, so its parent is its path without the last part.
                b".." => self.parent_of(&now)?,
                part => self.step(&now, part, create, links)?,
            };
        }
        Ok(now)
    }

    fn parent_of(&mut self, dir: &Rc<Dir>) -> Result<Rc<Dir>, EntryError> {
        self.changes.budget.step()?;
        let Some(slash) = dir.path.iter().rposition(|b| *b == b'/') else {
            return Ok(self.root.clone());
        };
        let path = dir.path[..slash].to_vec();
        let fd = open_dir(&self.root.fd, &path).map_err(|e| e.at("open directory"))?;
        Ok(Rc::new(Dir { fd, path }))
    }

    /// Makes a missing directory. Its mode and owner are set at the end of the layer.
    pub(crate) fn make(&mut self, dir: &Dir, name: &[u8]) -> Result<Rc<Dir>, EntryError> {
        rustix::fs::mkdirat(&dir.fd, name, Mode::RWXU).map_err(|e| e.at("mkdir"))?;
        self.changes.count += 1;
        let fd = open_dir(&dir.fd, name).map_err(|e| e.at("open directory"))?;
        let path = dir.join(name);
        if self.changes.is_whited_out(&path) {
            self.changes.opaque(&path)?;
        }
        Ok(Rc::new(Dir { fd, path }))
    }

    /// Removes what is at `name`, with everything below it.
    pub(crate) fn remove(&mut self, dir: &Dir, name: &[u8]) -> Result<(), EntryError> {
        match file_type(dir, name)? {
            FileType::Directory => {
                self.open.clear();
                self.changes.forget(&dir.join(name));
                let count = remove_tree(dir, name, 0).map_err(|e| e.at("remove"))?;
                self.changes.removed(count);
            }
            kind => {
                if kind == FileType::Symlink {
                    self.open.clear();
                }
                rustix::fs::unlinkat(&dir.fd, name, AtFlags::empty()).map_err(|e| e.at("remove"))?;
                self.changes.devices.remove(&dir.join(name));
                self.changes.removed(1);
            }
        }
        Ok(())
    }
}

/// Opens a directory beneath another, following nothing.
pub(crate) fn open_dir(dir: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        dir,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    )
}

pub(crate) fn file_type(dir: &Dir, name: &[u8]) -> Result<FileType, EntryError> {
    let stat = rustix::fs::statat(&dir.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| e.at("stat"))?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

/// How deep a tree may be that is removed: each level holds a descriptor.
const MAX_DEPTH: usize = 400;

fn remove_tree(dir: &Dir, name: &[u8], depth: usize) -> Result<u64, Errno> {
    if depth > MAX_DEPTH {
        return Err(Errno::NAMETOOLONG);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&dir.fd, name, flags, Mode::empty())?;
    let this = Dir { fd, path: Vec::new() };
    let mut count = 1;
    for entry in rustix::fs::Dir::read_from(&this.fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            count += remove_tree(&this, name, depth + 1)?;
        } else {
            rustix::fs::unlinkat(&this.fd, name, AtFlags::empty())?;
            count += 1;
        }
    }
    rustix::fs::unlinkat(&dir.fd, name, AtFlags::REMOVEDIR)?;
    Ok(count)
}
