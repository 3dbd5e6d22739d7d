//! Handing the master of a terminal to who asked for it by `--console-socket`.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, sendmsg,
};

use crate::OciError;

/// How long a receiver may let nobody in.
const LIMIT: Duration = Duration::from_secs(10);
/// The wait before it is tried again.
const AGAIN: Duration = Duration::from_millis(2);

/// What a process needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Whether it has a terminal.
    pub(crate) terminal: bool,
    /// Whether this program ends before it does.
    pub(crate) alone: bool,
}

/// A connection with the receiver, made before there is a container.
#[derive(Debug)]
pub(crate) struct ConsoleSocket(OwnedFd);

impl ConsoleSocket {
    /// The connection if there is to be one; `asked` is what asks for a terminal.
    pub(crate) fn wanted(path: Option<&Path>, wanted: Wanted, asked: &str) -> Result<Option<Self>, OciError> {
        match (path, wanted.terminal) {
            (Some(path), true) => Self::connect(path).map(Some),
            (None, true) if wanted.alone => {
                Err(OciError::invalid(asked, "a terminal needs --console-socket when it is not waited for"))
            }
            (Some(_), false) => Err(OciError::invalid("--console-socket", "the process has no terminal")),
            (None, _) => Ok(None),
        }
    }

    fn connect(path: &Path) -> Result<Self, OciError> {
        let begun = Instant::now();
        let connect = || -> rustix::io::Result<OwnedFd> {
            let address = SocketAddrUnix::new(path)?;
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            loop {
                match rustix::net::connect(&socket, &address) {
                    Err(Errno::AGAIN) if begun.elapsed() < LIMIT => std::thread::sleep(AGAIN),
                    done => return done.map(|()| socket),
                }
            }
        };
        connect().map(Self).map_err(OciError::io("connect to the console socket", path))
    }

    /// Sends the master, with a name as runc does.
    pub(crate) fn send(&self, master: BorrowedFd<'_>) -> Result<(), OciError> {
        let fds = [master];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        // A new connection has room for it.
        sendmsg(self.0.as_fd(), &[IoSlice::new(b"/dev/ptmx")], &mut control, SendFlags::NOSIGNAL)
            .map_err(OciError::system("send the terminal to the console socket"))?;
        Ok(())
    }
}
