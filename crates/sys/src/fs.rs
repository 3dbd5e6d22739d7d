//! Files that are written completely or not at all, and the space that trees of files take.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};

pub use below::{open_or_make_below, read_below};
pub use copy::copy_tree;
pub use tree::{remove_tree, tree_usage};

mod below;
mod copy;
mod tree;

/// What a written file must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process.
    Process,
    /// The loss of power.
    Power,
}

/// Numbers temporary files, so that two threads may write one file at the same time: the last rename wins.
static TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// Writes a file by way of `<name>.<number>.tmp` and a rename, with mode 0600: a reader sees the old bytes or the
/// new ones. With [`Durability::Power`] both the file and its name are on disk when this returns.
pub fn write_atomic(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let mut name = path.file_name().map(OsString::from).ok_or(io::ErrorKind::InvalidInput)?;
    name.push(format!(".{}.tmp", TEMPORARY.fetch_add(1, Ordering::Relaxed)));
    let temporary = path.with_file_name(name);
    let written = write_new(&temporary, bytes, durability).and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = written {
        // Best effort: the opener of the directory removes temporary files too.
        let _leftover = std::fs::remove_file(&temporary);
        return Err(error);
    }
    match (durability, path.parent()) {
        (Durability::Power, Some(dir)) => sync_dir(dir),
        (Durability::Power | Durability::Process, _) => Ok(()),
    }
}

fn write_new(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    match durability {
        Durability::Power => file.sync_all(),
        Durability::Process => Ok(()),
    }
}

/// Reads a file that must not be larger than `limit` bytes: its writer is not trusted.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] when it is larger; those of opening and reading.
pub fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_bounded_from(File::open(path)?, limit)
}

/// The same of what must be a regular file: whoever made it may have put a FIFO there, which nobody writes to.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] when it is another kind of file; those of [`read_bounded`].
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    read_bounded_from(file, limit)
}

/// Reads what is not a path, as [`read_bounded`] does.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] when there is more; those of reading.
pub fn read_bounded_from(from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is over {limit} bytes")));
    }
    Ok(bytes)
}

/// Puts the names in a directory on disk.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Asks the file system to lay what is made in `dir` far apart, as trees that have nothing to do with each
/// other (ext2, ext3 and ext4: the flag `T` of chattr). Others refuse.
///
/// ext4 without a journal does not use an inode again for half a minute after its file was deleted, and
/// looks at each such inode for each new file: a tree made where another one was just deleted takes
/// twice the time.
pub fn spread_below(dir: &Path) -> io::Result<()> {
    let dir = File::open(dir)?;
    let flags = rustix::fs::ioctl_getflags(&dir)?;
    rustix::fs::ioctl_setflags(&dir, flags | rustix::fs::IFlags::TOPDIR).map_err(Into::into)
}

/// Puts everything of the file system that `path` is on on disk.
pub fn sync_filesystem(path: &Path) -> io::Result<()> {
    rustix::fs::syncfs(File::open(path)?).map_err(Into::into)
}

#[cfg(test)]
mod tests;
