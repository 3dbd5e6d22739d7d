//! Handing the master of a terminal to who asked for it by `--console-socket`.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::OciError;

/// A connection with the receiver, made before there is a container.
#[derive(Debug)]
pub(crate) struct ConsoleSocket(UnixStream);

impl ConsoleSocket {
    pub(crate) fn connect(path: &Path) -> Result<Self, OciError> {
        UnixStream::connect(path).map(Self).map_err(OciError::io("connect to the console socket", path))
    }

    /// Sends the master, with a name as runc does.
    pub(crate) fn send(&self, master: BorrowedFd<'_>) -> Result<(), OciError> {
        let fds = [master];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(self.0.as_fd(), &[IoSlice::new(b"/dev/ptmx")], &mut control, SendFlags::NOSIGNAL)
            .map_err(OciError::system("send the terminal to the console socket"))?;
        Ok(())
    }
}
