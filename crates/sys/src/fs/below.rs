//! Paths in directories that others write to: what they lead to is in the directory, or there is none.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Opens what is at the relative `path` below `root`, without an effect on it. Links are followed as far as they stay
/// below; what is missing becomes directories with the permissions of `root`.
///
/// # Errors
/// A part of the path leads elsewhere (EXDEV), is a link of procfs (ELOOP), or is no directory.
pub fn open_or_make_below(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    if path.as_os_str().is_empty() || !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(Errno::INVAL.into());
    }
    match open_below(root, path) {
        Err(Errno::NOENT) => {}
        opened => return Ok(opened?),
    }
    let mode = Mode::from_raw_mode(rustix::fs::fstat(root)?.st_mode & 0o777);
    let (mut at, mut done) = (open_below(root, Path::new("."))?, PathBuf::new());
    for part in path.components() {
        done.push(part);
        at = match open_below(root, &done) {
            Err(Errno::NOENT) => make(at.as_fd(), part.as_os_str().as_bytes(), mode)?,
            opened => opened?,
        };
    }
    Ok(at)
}

/// A new directory: a link without a target is in its way.
fn make(at: BorrowedFd<'_>, name: &[u8], mode: Mode) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(at, name, mode) {
        // Another made it at the same time.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(at, name, flags, Mode::empty())?;
    // Whatever the umask is.
    rustix::fs::fchmod(&made, mode)?;
    Ok(made)
}

/// Reads the file at the relative `path` below the directory `root`, which others write to: at most `limit` bytes. Links are
/// followed as far as they stay below, and nothing is waited for.
///
/// # Errors
/// There is none, it leads elsewhere (EXDEV), is no file (EINVAL), or is larger (EFBIG).
pub fn read_below(root: &Path, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let root = File::open(root)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = loop {
        match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => break File::from(opened?),
        }
    };
    if !file.metadata()?.is_file() {
        return Err(Errno::INVAL.into());
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(Errno::FBIG.into());
    }
    Ok(bytes)
}

fn open_below(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // A rename somewhere on the machine disturbed the walk.
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests;
