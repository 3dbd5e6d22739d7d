//! Terminals of a given devpts.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;

const DEVPTS_MAGIC: u64 = 0x1cd1;

/// A terminal.
#[derive(Debug)]
pub struct Pty {
    /// The master: the side of the terminal emulator.
    pub master: OwnedFd,
    /// The slave: the side of the program.
    pub slave: OwnedFd,
}

/// Opens a terminal through `ptmx`, an open multiplexer of a devpts, which is checked to be one. The
/// slave comes from the master, never from a path.
///
/// # Errors
/// ENOTTY when `ptmx` is something else.
pub fn open(ptmx: OwnedFd) -> Result<Pty, Errno> {
    let stat = rustix::fs::fstat(&ptmx)?;
    let is_multiplexer = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(5, 2);
    #[allow(clippy::cast_sign_loss, reason = "the magic number is a bit pattern")]
    let magic = rustix::fs::fstatfs(&ptmx)?.f_type as u64;
    if !is_multiplexer || magic != DEVPTS_MAGIC {
        return Err(Errno::NOTTY);
    }
    rustix::pty::unlockpt(&ptmx)?;
    let slave = peer(ptmx.as_fd())?;
    Ok(Pty { master: ptmx, slave })
}

/// Another descriptor of a terminal's slave, opened by its master.
///
/// While no process has the slave open, reads of the master fail with EIO. One descriptor of it prevents that, even one
/// that was hung up (vhangup(2), as login(1) does).
///
/// # Errors
/// Those of ioctl_tty(2), TIOCGPTPEER.
pub fn peer(master: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    rustix::pty::ioctl_tiocgptpeer(master, flags)
}

/// How to open a multiplexer.
pub const MULTIPLEXER: OFlags = OFlags::RDWR.union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

#[cfg(test)]
mod tests;
