//! Home directories by `/etc/passwd` of an image: [`home`] gets the file from an untrusted root. A malformed line is
//! skipped, as every libc does.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use berth_sys::fs::read_bounded_from;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

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
    // First without opening: opening a device or a pipe may have effects or block.
    let found = match berth_sys::mount::open_in_root(root, path, OFlags::PATH, false) {
        Ok(found) => found,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let stat = rustix::fs::fstat(found.as_fd())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    read_bounded_from(std::fs::File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))?, MAX_FILE)
}

#[cfg(test)]
mod tests;
