//! A tree as a tar: the root of a container to be exported, and its writable layer as a layer of an image.
//!
//! The form is that of POSIX with pax headers where ustar cannot say it: long names, attributes, large numbers. Removed files
//! of a layer are `.wh.NAME`, directories that hide those below have `.wh..wh..opq` (OCI image-spec, layer.md).

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::store::lookup::Stack;
use crate::store::walk::{self, Seen, Visit, is_opaque};

mod write;

use write::Header;

/// The most bytes of the names of a file's attributes, and of the value of one.
const MAX_ATTRIBUTE: usize = 64 << 10;
/// Bytes read at a time.
const PIECE: usize = 256 << 10;
/// The attribute of a program's capabilities.
const CAPABILITY: &[u8] = b"security.capability";

/// The ids of a user namespace, from 0 on, on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// The first user and the first group.
    pub first: (u32, u32),
    /// How many.
    pub length: u32,
}

impl Ids {
    /// As the container sees them. What the layers below have is not shifted on the disk.
    fn inside(self, uid: u32, gid: u32) -> (u32, u32) {
        let one = |id: u32, first: u32| match id.checked_sub(first) {
            Some(inside) if inside < self.length => inside,
            _ => id,
        };
        (one(uid, self.first.0), one(gid, self.first.1))
    }
}

/// Writes what is in `root`, and the root itself.
pub(crate) fn whole(root: std::os::fd::OwnedFd, ids: Option<Ids>, out: impl Write) -> io::Result<()> {
    let stat = rustix::fs::fstat(&root)?;
    let mut tree =
        Tree { out, ids, linked: HashMap::new(), below: None, without: &[], buffer: vec![0; PIECE] };
    tree.directory(b"./", &stat, root.as_fd())?;
    walk::walk(root, &mut tree)?;
    tree.finish()
}

/// Writes a writable layer over others as a layer, without what is at these paths.
pub(crate) fn layer(
    upper: &Path,
    lowers: &[PathBuf],
    without: &[PathBuf],
    ids: Option<Ids>,
    out: impl Write,
) -> io::Result<()> {
    let below = Some(Stack::new(lowers));
    let mut tree = Tree { out, ids, linked: HashMap::new(), below, without, buffer: vec![0; PIECE] };
    let root = walk::root(upper)?;
    tree.directory(b"./", &rustix::fs::fstat(&root)?, root.as_fd())?;
    walk::walk(root, &mut tree)?;
    tree.finish()
}

struct Tree<'a, W> {
    out: W,
    ids: Option<Ids>,
    /// The first name of a file that has several.
    linked: HashMap<(u64, u64), Vec<u8>>,
    /// What a layer hides.
    below: Option<Stack<'a>>,
    without: &'a [PathBuf],
    buffer: Vec<u8>,
}

/// As it stands in the tar.
fn name(path: &Path) -> &[u8] {
    let bytes = path.as_os_str().as_bytes();
    bytes.strip_prefix(b"/").unwrap_or(bytes)
}

impl<W: Write> Visit for Tree<'_, W> {
    fn entry(&mut self, seen: &Seen<'_>) -> io::Result<bool> {
        if self.without.iter().any(|path| seen.path.starts_with(path)) {
            return Ok(false);
        }
        if let Some(below) = &self.below {
            if seen.name.to_bytes().starts_with(b".wh.") {
                let text = format!("{}: a layer cannot have a file of this name", seen.path.display());
                return Err(io::Error::other(text));
            }
            if seen.is_whiteout() {
                if below.find(seen.path, false)?.is_some() {
                    self.mark(seen.path.parent().unwrap_or(Path::new("/")), seen.name.to_bytes())?;
                }
                return Ok(false);
            }
        }
        match self.write(seen) {
            Ok(()) => Ok(true),
            // Gone meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(io::Error::new(e.kind(), format!("{}: {e}", seen.path.display()))),
        }
    }

    fn entered(&mut self, path: &Path, dir: BorrowedFd<'_>, _: &[CString]) -> io::Result<()> {
        let Some(below) = &self.below else { return Ok(()) };
        let hides = is_opaque(dir)
            && below.find(path, false)?.is_some_and(|found| found.kind() == FileType::Directory);
        if hides { self.mark(path, b".wh..opq") } else { Ok(()) }
    }
}

impl<W: Write> Tree<'_, W> {
    /// A file of which only the name says something.
    fn mark(&mut self, dir: &Path, of: &[u8]) -> io::Result<()> {
        let path = [name(dir), if name(dir).is_empty() { b"" } else { b"/" }, b".wh.", of].concat();
        Header { path: &path, mode: 0o644, ..Header::of(b'0') }.write(&mut self.out)
    }

    fn write(&mut self, seen: &Seen<'_>) -> io::Result<()> {
        let stat = seen.stat;
        let path = name(seen.path);
        let several = seen.kind != FileType::Directory && stat.st_nlink > 1;
        if several && let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino)) {
            return Header { path, link: first, ..self.header(b'1', stat) }.write(&mut self.out);
        }
        match seen.kind {
            FileType::Directory => {
                let dir = seen.open()?;
                self.directory(&[path, b"/"].concat(), stat, dir.as_fd())?;
            }
            FileType::RegularFile => self.file(path, seen)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(seen.dir, seen.name, Vec::new())?;
                Header { path, link: target.to_bytes(), ..self.header(b'2', stat) }.write(&mut self.out)?;
            }
            FileType::Fifo => Header { path, ..self.header(b'6', stat) }.write(&mut self.out)?,
            FileType::CharacterDevice | FileType::BlockDevice => {
                let kind = if seen.kind == FileType::BlockDevice { b'4' } else { b'3' };
                let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
                Header { path, device, ..self.header(kind, stat) }.write(&mut self.out)?;
            }
            // A socket is only something while its process lives.
            FileType::Socket | FileType::Unknown => return Ok(()),
        }
        if several {
            self.linked.insert((stat.st_dev, stat.st_ino), path.to_vec());
        }
        Ok(())
    }

    fn directory(&mut self, path: &[u8], stat: &Stat, dir: BorrowedFd<'_>) -> io::Result<()> {
        let attributes = attributes(dir)?;
        Header { path, attributes: &attributes, ..self.header(b'5', stat) }.write(&mut self.out)
    }

    fn file(&mut self, path: &[u8], seen: &Seen<'_>) -> io::Result<()> {
        let mut file = File::from(seen.open()?);
        let size = u64::try_from(seen.stat.st_size).unwrap_or_default();
        let attributes = attributes(file.as_fd())?;
        Header { path, size, attributes: &attributes, ..self.header(b'0', seen.stat) }
            .write(&mut self.out)?;
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let mut read = file.read(&mut self.buffer[..most])?;
            if read == 0 {
                // It became shorter: the header has said how long it is.
                self.buffer[..most].fill(0);
                read = most;
            }
            self.out.write_all(&self.buffer[..read])?;
            left -= read as u64;
        }
        write::pad(&mut self.out, size)
    }

    fn header(&self, kind: u8, stat: &Stat) -> Header<'static> {
        let (uid, gid) = match self.ids {
            Some(ids) => ids.inside(stat.st_uid, stat.st_gid),
            None => (stat.st_uid, stat.st_gid),
        };
        Header { mode: stat.st_mode & 0o7777, uid, gid, mtime: stat.st_mtime, ..Header::of(kind) }
    }

    fn finish(mut self) -> io::Result<()> {
        self.out.write_all(&[0; 1024])?;
        self.out.flush()
    }
}

/// The attributes that programs set, and the capabilities of a program.
fn attributes(of: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0u8; MAX_ATTRIBUTE];
    let length = match rustix::fs::flistxattr(of, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if !name.starts_with(b"user.") && name != CAPABILITY {
            continue;
        }
        let mut value = vec![0u8; MAX_ATTRIBUTE];
        let length = match rustix::fs::fgetxattr(of, name, &mut value[..]) {
            Err(Errno::NODATA) => continue,
            length => length?,
        };
        value.truncate(length);
        if name == CAPABILITY {
            value = of_no_namespace(value);
        }
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}

/// Capabilities of version 3 belong to the root of one user namespace, which an image knows nothing of: those of version 2
/// (kernel: `include/uapi/linux/capability.h`).
fn of_no_namespace(mut value: Vec<u8>) -> Vec<u8> {
    if value.len() == 24 && value[3] == 3 {
        value.truncate(20);
        value[3] = 2;
    }
    value
}

#[cfg(test)]
mod tests;
