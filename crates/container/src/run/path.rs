//! Places inside the container's root, found or made without leaving it (docs/adr/0004).
//!
//! Used by the child, so: no allocation. Paths are worked on in buffers on the stack.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_sys::mount::open_in_root;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

/// What to make where nothing exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Directory,
    File,
}

/// As many links as the kernel follows.
const MAX_LINKS: u32 = 40;
const SIZE: usize = 4096;

/// A C string in a buffer of fixed size.
struct Text {
    bytes: [u8; SIZE],
    len: usize,
}

impl Text {
    fn new() -> Self {
        Self { bytes: [0; SIZE], len: 0 }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// The text from `start`, null-terminated; `.` when there is none.
    fn c_str(&self, start: usize) -> Result<&CStr, Errno> {
        let bytes = self.bytes.get(start..=self.len).ok_or(Errno::NAMETOOLONG)?;
        if bytes.len() == 1 {
            return Ok(c".");
        }
        CStr::from_bytes_with_nul(bytes).map_err(|_| Errno::INVAL)
    }

    fn truncate(&mut self, len: usize) {
        self.len = len;
        if let Some(end) = self.bytes.get_mut(len) {
            *end = 0;
        }
    }

    fn push(&mut self, more: &[u8]) -> Result<(), Errno> {
        let end = self.len + more.len();
        // One byte stays for the null at the end.
        if end >= SIZE {
            return Err(Errno::NAMETOOLONG);
        }
        self.bytes.get_mut(self.len..end).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(more);
        self.truncate(end);
        Ok(())
    }
}

/// The place of `path` in `root`: what is there, or a new directory or empty file. Missing directories
/// on the way are made; links are followed within the root, those that lead to nothing too.
pub(super) fn ensure(root: BorrowedFd<'_>, path: &CStr, want: Want) -> Result<OwnedFd, Errno> {
    match open_in_root(root, path, OFlags::PATH, false) {
        Err(Errno::NOENT) => make(root, path.to_bytes(), want),
        result => result,
    }
}

/// The walk of [`ensure`] where something is missing: `done` is what was walked, without links, and
/// `rest` what is still to walk.
fn make(root: BorrowedFd<'_>, path: &[u8], want: Want) -> Result<OwnedFd, Errno> {
    let (mut done, mut rest) = (Text::new(), Text::new());
    rest.push(path)?;
    let mut at = 0;
    let mut links = 0;
    loop {
        let (name, next, last) = component(rest.as_bytes(), at);
        match name {
            b"" => break,
            b"." => {}
            b".." => {
                let parent = done.as_bytes().iter().rposition(|b| *b == b'/').unwrap_or(0);
                done.truncate(parent);
            }
            name => {
                let parent = done.len;
                if parent > 0 {
                    done.push(b"/")?;
                }
                let start = done.len;
                done.push(name)?;
                let kind = if last { want } else { Want::Directory };
                let found = enter(root, &done, (parent, start), kind)?;
                if FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) == FileType::Symlink {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let mut target = Text::new();
                    read_link(found.as_fd(), &mut target)?;
                    done.truncate(if target.as_bytes().first() == Some(&b'/') { 0 } else { parent });
                    target.push(b"/")?;
                    target.push(rest.as_bytes().get(next..).unwrap_or(&[]))?;
                    rest = target;
                    at = 0;
                    continue;
                }
            }
        }
        at = next;
    }
    open_in_root(root, done.c_str(0)?, OFlags::PATH, true)
}

/// The component of `path` at or after `at`, where to go on, and whether it is the last.
fn component(path: &[u8], at: usize) -> (&[u8], usize, bool) {
    let rest = path.get(at..).unwrap_or(&[]);
    let slashes = rest.iter().take_while(|b| **b == b'/').count();
    let rest = rest.get(slashes..).unwrap_or(&[]);
    let len = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
    let (name, after) = rest.split_at(len);
    (name, at + slashes + len, after.iter().all(|b| *b == b'/'))
}

/// Opens the last component of `done` without following it, making it when it is missing.
fn enter(
    root: BorrowedFd<'_>,
    done: &Text,
    (parent, start): (usize, usize),
    want: Want,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut above = Text::new();
    above.push(done.as_bytes().get(..parent).unwrap_or(&[]))?;
    let dir = open_in_root(root, above.c_str(0)?, OFlags::PATH | OFlags::DIRECTORY, true)?;
    let name = done.c_str(start)?;
    // Twice: another may make or remove it in between.
    for _ in 0..2 {
        match rustix::fs::openat(&dir, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => {}
            result => return result,
        }
        let made = match want {
            Want::Directory => rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755)),
            Want::File => {
                let flags =
                    OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
                rustix::fs::openat(&dir, name, flags, Mode::from_raw_mode(0o644)).map(drop)
            }
        };
        match made {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
    }
    rustix::fs::openat(&dir, name, flags, Mode::empty())
}

fn read_link(link: BorrowedFd<'_>, into: &mut Text) -> Result<(), Errno> {
    let mut buffer = [0u8; SIZE];
    let len = rustix::fs::readlinkat_raw(link, c"", &mut buffer[..])?;
    into.push(buffer.get(..len).ok_or(Errno::NAMETOOLONG)?)
}

/// The place of a path's parent directory, which is made when missing.
pub(super) fn ensure_parent(root: BorrowedFd<'_>, parent: &CStr) -> Result<OwnedFd, Errno> {
    ensure(root, parent, Want::Directory)
}

/// Whether what `fd` refers to is this device.
pub(super) fn is_device(fd: BorrowedFd<'_>, kind: FileType, device: u64) -> Result<bool, Errno> {
    let stat = rustix::fs::fstat(fd)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == kind && stat.st_rdev == device)
}

/// Whether `name` in `dir` is, itself, this device.
pub(super) fn is_device_at(
    dir: BorrowedFd<'_>,
    name: &CStr,
    kind: FileType,
    device: u64,
) -> Result<bool, Errno> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let same_device = kind == FileType::Fifo || stat.st_rdev == device;
    Ok(FileType::from_raw_mode(stat.st_mode) == kind && same_device)
}

#[cfg(test)]
mod tests;
