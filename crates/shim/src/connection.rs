//! One daemon's connection.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_sys::socket::{Frame, FrameError, Progress, Reader, Writer};
use berth_types::shim::{FromShim, encode};

/// How much may wait for a daemon that does not read; then it is disconnected and may connect again.
const QUEUE: usize = 1 << 20;

/// One daemon's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    reader: Reader,
    writer: Writer,
    /// The version that it said in Hello; it gets the events of that version. None before.
    pub(crate) greeted: Option<u16>,
}

impl Connection {
    /// A connection before Hello.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, reader: Reader::new(), writer: Writer::new(QUEUE), greeted: None }
    }

    /// Whether something waits to be sent.
    pub(crate) fn waits(&self) -> bool {
        !self.writer.is_empty()
    }

    /// The next frame that is there; None when there is none now. The end is an error too.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, Gone> {
        loop {
            if let Some(frame) = self.reader.frame()? {
                return Ok(Some(frame));
            }
            match self.reader.read(&self.socket)? {
                Progress::Some => {}
                Progress::WouldBlock => return Ok(None),
                Progress::End => return Err(Gone),
            }
        }
    }

    /// Sends a message, or queues what the socket does not take.
    pub(crate) fn send(&mut self, message: &FromShim, fds: Vec<OwnedFd>) -> Result<(), Gone> {
        let body = encode(message).map_err(|_| Gone)?;
        self.writer.push(Frame { body, fds })?;
        self.flush()
    }

    /// Sends what waits, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> Result<(), Gone> {
        self.writer.flush(&self.socket)?;
        Ok(())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The connection can no longer be used. The reason is left to the daemon: the shim has no log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl From<FrameError> for Gone {
    fn from(_: FrameError) -> Self {
        Gone
    }
}
