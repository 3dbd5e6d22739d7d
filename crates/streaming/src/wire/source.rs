//! The way from a client: its bytes as they come, out of WebSocket frames where there are some.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use bytes::BytesMut;
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::{AsyncReadExt, ReadHalf};
use tokio::time::Instant;

use super::{Activity, Connection, Parting};
use crate::websocket::{self, Decoder};

/// The most that is read at once.
const READ: usize = 64 << 10;
/// How often a connection that is not read, since a process takes no input, is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What came.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Bytes. Over WebSocket they are of one message, of which they may be a part.
    Bytes {
        bytes: BytesMut,
        /// They begin a message.
        first: bool,
        /// They end it.
        last: bool,
    },
    /// The client wants an answer with the same bytes.
    Ping(BytesMut),
}

/// The reading half of a connection.
#[derive(Debug)]
pub(crate) struct Source {
    io: ReadHalf<Connection>,
    /// What was read and not looked at.
    buffer: BytesMut,
    frames: Option<Decoder>,
    activity: Activity,
    /// To see a client go while nothing is read.
    socket: OwnedFd,
    parting: Parting,
}

impl Source {
    pub(crate) fn new(
        io: ReadHalf<Connection>,
        socket: OwnedFd,
        before: &[u8],
        frames: Option<Decoder>,
        activity: Activity,
        parting: Parting,
    ) -> Self {
        Self { io, buffer: before.into(), frames, activity, socket, parting }
    }

    /// The next piece; None when the client has closed the connection.
    ///
    /// # Errors
    /// The connection broke, or what came is not WebSocket.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Piece>> {
        loop {
            match &mut self.frames {
                None if !self.buffer.is_empty() => {
                    return Ok(Some(Piece::Bytes { bytes: self.buffer.split(), first: false, last: false }));
                }
                None => {}
                Some(frames) => match frames.next(&mut self.buffer)? {
                    Some(websocket::Event::Data { bytes, first, last }) => {
                        return Ok(Some(Piece::Bytes { bytes, first, last }));
                    }
                    Some(websocket::Event::Ping(bytes)) => return Ok(Some(Piece::Ping(bytes))),
                    Some(websocket::Event::Pong) => continue,
                    Some(websocket::Event::Close) => return Ok(None),
                    None => {}
                },
            }
            self.buffer.reserve(READ);
            if self.io.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
            self.activity.touch();
        }
    }

    /// Does something that may take long, such as giving bytes to a process that does not read. False when the client went
    /// meanwhile, and what it has sent counts no more: that is not read before its end, so the end is not seen otherwise.
    pub(crate) async fn while_there(&self, work: impl Future<Output = ()>) -> bool {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                () = &mut work => return true,
                () = tokio::time::sleep(LOOK) => {}
            }
            if has_gone(&self.socket) && Instant::now() >= self.parting.until() {
                return false;
            }
        }
    }
}

/// Whether the other end has closed the connection.
fn has_gone(socket: &OwnedFd) -> bool {
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let mut polled = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().intersects(gone)
}
