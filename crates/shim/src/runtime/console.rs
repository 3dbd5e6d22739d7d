//! Where a runtime brings the terminal of a process (`--console-socket`).

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::path_of;

/// How long one that has been told of is waited for: it was sent before its runtime ended.
const LIMIT: Duration = Duration::from_secs(5);

/// A socket in a directory, for one terminal.
#[derive(Debug)]
pub(super) struct Console {
    listener: UnixListener,
    file: PathBuf,
    /// The directory: its path is too long for the address of a socket.
    dir: OwnedFd,
    name: String,
}

impl Console {
    pub(super) fn new(dir: &Path, of: &str) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(dir, flags, Mode::empty())?;
        let name = format!("{}.tty", &of[..of.len().min(16)]);
        let file = dir.join(&name);
        // Of an earlier one of the same name.
        drop(std::fs::remove_file(&file));
        let listener = UnixListener::bind(format!("{}/{name}", path_of(&opened)))?;
        Ok(Self { listener, file, dir: opened, name })
    }

    /// The path for the runtime.
    pub(super) fn path(&self) -> PathBuf {
        format!("{}/{}", path_of(&self.dir), self.name).into()
    }

    /// The master of the terminal that was brought.
    pub(super) fn receive(&self) -> io::Result<OwnedFd> {
        readable(&self.listener)?;
        let (socket, _) = self.listener.accept()?;
        readable(&socket)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0; 256];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        recvmsg(&socket, &mut [IoSliceMut::new(&mut name)], &mut control, flags)?;
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let master = fds.flatten().next().ok_or(io::ErrorKind::InvalidData)?;
        if rustix::termios::isatty(master.as_fd()) {
            Ok(master)
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.file));
    }
}

fn readable(fd: &impl std::os::fd::AsFd) -> io::Result<()> {
    let limit = Timespec::try_from(LIMIT).map_err(io::Error::other)?;
    let mut polled = [PollFd::new(fd, PollFlags::IN)];
    match rustix::io::retry_on_intr(|| poll(&mut polled, Some(&limit)))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}
