//! Home directories by `/etc/passwd` of an image: [`home`] and [`home_within`] get the file from an untrusted root. A malformed line is
//! skipped, as every libc does.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use berth_sys::fs::read_bounded_from;
use berth_sys::process::{self, fd_at};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::path::DecInt;
use rustix::pipe::PipeFlags;

/// The most bytes of the file.
const MAX_FILE: u64 = 4 << 20;

/// The home directory of a user in the image at `root`, whose links are followed within it only; `/` when nothing
/// says another.
///
/// # Errors
/// The file cannot be read, is not regular or has over 4 MiB.
pub(crate) fn home(root: BorrowedFd<'_>, uid: u32) -> io::Result<Vec<u8>> {
    let passwd = read(root, c"etc/passwd")?;
    Ok(home_in(&passwd, uid).unwrap_or(b"/").to_vec())
}

/// The same of a container that runs: who is in it may have a file system of its own that never answers. A process that may wait
/// for ever reads the file, and is left behind then.
///
/// # Errors
/// As [`home`]; [`io::ErrorKind::TimedOut`] after `limit`.
pub(crate) fn home_within(root: BorrowedFd<'_>, uid: u32, limit: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + limit;
    let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let reader = process::fork(0, None, || match pass_on(root, theirs.as_fd()) {
        Ok(()) => 0,
        Err(_) => 1,
    })?;
    drop(theirs);
    let mut passwd = Vec::new();
    let read: io::Result<()> = loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok();
        match poll(&mut [PollFd::new(&ours, PollFlags::IN)], left.as_ref()) {
            Ok(0) => break Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(e) => break Err(e.into()),
        }
        let mut part = [0; 4096];
        match rustix::io::read(&ours, &mut part) {
            Ok(0) => break Ok(()),
            Ok(length) => passwd.extend_from_slice(part.get(..length).unwrap_or_default()),
            Err(e) => break Err(e.into()),
        }
        if passwd.len() as u64 > MAX_FILE {
            break Err(io::ErrorKind::FileTooLarge.into());
        }
    };
    // One that has ended is not disturbed by that, one that waits is not waited for.
    let exit = process::end(reader.pidfd.as_fd(), if read.is_ok() { limit } else { Duration::ZERO });
    read?;
    match exit {
        Some(process::Exit::Code(0)) => Ok(home_in(&passwd, uid).unwrap_or(b"/").to_vec()),
        _ => Err(io::Error::other("it cannot be read")),
    }
}

/// Child: writes the file to `to`. Holds nothing else, so that nobody waits for the end of what this one has open.
fn pass_on(root: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    process::place_fd(to, 1, false)?;
    process::place_fd(root, 0, false)?;
    process::close_range(2, u32::MAX)?;
    let found = match find(fd_at(0), c"etc/passwd")? {
        Some(found) => found,
        None => return Ok(()),
    };
    let own = rustix::fs::open(c"/proc/self/fd", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&own, DecInt::from_fd(&found).as_c_str(), flags, Mode::empty())?;
    let mut part = [0; 4096];
    loop {
        let length = rustix::io::read(&file, &mut part)?;
        let mut rest = part.get(..length).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        while !rest.is_empty() {
            let written = rustix::io::write(fd_at(1), rest)?;
            rest = rest.get(written..).unwrap_or_default();
        }
    }
}

/// The first entry with this number counts.
fn home_in(passwd: &[u8], uid: u32) -> Option<&[u8]> {
    let home = passwd.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).find_map(|line| {
        let mut fields = line.split(|b| *b == b':');
        let (name, _, number, _gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let number: u32 = std::str::from_utf8(number).ok()?.parse().ok()?;
        (number == uid && !name.is_empty() && !name.starts_with(b"#"))
            .then(|| fields.nth(1).unwrap_or_default())
    });
    home.filter(|home| !home.is_empty())
}

/// A regular file's bytes; nothing when there is none.
fn read(root: BorrowedFd<'_>, path: &std::ffi::CStr) -> io::Result<Vec<u8>> {
    let Some(found) = find(root, path)? else { return Ok(Vec::new()) };
    read_bounded_from(File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))?, MAX_FILE)
}

/// A regular file, not opened: opening a device or a pipe may have effects or block.
fn find(root: BorrowedFd<'_>, path: &std::ffi::CStr) -> Result<Option<OwnedFd>, Errno> {
    let found = match berth_sys::mount::open_in_root(root, path, OFlags::PATH, false) {
        Ok(found) => found,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(e) => return Err(e),
    };
    match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
        FileType::RegularFile => Ok(Some(found)),
        _ => Err(Errno::INVAL),
    }
}

#[cfg(test)]
mod tests;
