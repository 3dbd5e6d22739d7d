//! Framed messages with file descriptors over a unix stream socket.
//!
//! The frame is that of `berth_types::shim`: four bytes of header (length and number of
//! descriptors), then the body. [`Reader`] and [`Writer`] hold no socket and never wait: a caller
//! with epoll calls them when the socket is ready, tokio's `AsyncFd` wraps them in `try_io`, and
//! [`send`] and [`receive`] wait in `poll` for callers that may block.
//!
//! Nothing is allocated for a frame before its header was checked, and then only as its bytes arrive.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use berth_types::shim::{MAX_FDS, MAX_FRAME, header, parse_header};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// A body with its descriptors.
#[derive(Debug, Default)]
pub struct Frame {
    /// The encoded message.
    pub body: Vec<u8>,
    /// Its descriptors; close-on-exec when received.
    pub fds: Vec<OwnedFd>,
}

/// Why a connection can no longer be used.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A header over the limits.
    #[error("a frame over the limits of {MAX_FRAME} bytes and {MAX_FDS} descriptors")]
    Limits,
    /// Fewer or more descriptors arrived than the headers said.
    #[error("a frame came without the descriptors that its header names")]
    Descriptors,
    /// The kernel could not install all descriptors: this process has too many.
    #[error("descriptors of a frame were lost: too many open files")]
    Lost,
    /// The other side closed within a frame.
    #[error("the connection ended within a frame")]
    Truncated,
    /// More is waiting to be sent than the writer may hold.
    #[error("{0} bytes wait to be sent and the other side does not read")]
    Full(usize),
    /// The time allowed ran out.
    #[error("the other side did not answer in time")]
    Timeout,
    /// The socket failed.
    #[error("the connection failed")]
    Socket(#[source] std::io::Error),
}

impl berth_types::Classify for FrameError {
    fn kind(&self) -> berth_types::Kind {
        use berth_types::Kind;
        match self {
            Self::Limits | Self::Descriptors | Self::Truncated => Kind::Corrupt,
            Self::Lost | Self::Full(_) => Kind::Exhausted,
            Self::Timeout => Kind::Timeout,
            Self::Socket(_) => Kind::Unavailable,
        }
    }
}

impl From<Errno> for FrameError {
    fn from(errno: Errno) -> Self {
        Self::Socket(errno.into())
    }
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Bytes came; there may be more.
    Some,
    /// Nothing is there now.
    WouldBlock,
    /// The other side closed, between two frames.
    End,
}

/// The most bytes that one read takes.
const CHUNK: usize = 16 << 10;

/// The receiving half of a connection.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
    ended: bool,
}

impl Reader {
    /// Nothing received yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads once, without waiting. Ask [`Reader::frame`] until it has none before reading more.
    ///
    /// # Errors
    /// Everything but `WouldBlock` ends the connection.
    pub fn read(&mut self, socket: impl AsFd) -> Result<Progress, FrameError> {
        let start = self.bytes.len();
        self.bytes.resize(start + self.wanted()?, 0);
        let got = self.receive(socket.as_fd(), start);
        self.bytes.truncate(start + *got.as_ref().unwrap_or(&0));
        match got {
            Ok(0) if self.bytes.is_empty() && self.fds.is_empty() => {
                self.ended = true;
                Ok(Progress::End)
            }
            Ok(0) => Err(FrameError::Truncated),
            Ok(_) => Ok(Progress::Some),
            Err(FrameError::Socket(e)) if e.kind() == std::io::ErrorKind::WouldBlock => {
                Ok(Progress::WouldBlock)
            }
            Err(e) => Err(e),
        }
    }

    fn receive(&mut self, socket: BorrowedFd<'_>, start: usize) -> Result<usize, FrameError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut self.bytes[start..])];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let message = rustix::io::retry_on_intr(|| recvmsg(socket, &mut into, &mut control, flags))?;
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = part {
                self.fds.extend(fds);
            }
        }
        if message.flags.contains(ReturnFlags::CTRUNC) {
            return Err(FrameError::Lost);
        }
        // The frames of at most one chunk of headers can be waiting beside the one being read.
        if self.fds.len() > 2 * MAX_FDS {
            return Err(FrameError::Descriptors);
        }
        Ok(message.bytes)
    }

    /// How much to ask for: the rest of the frame being read, within a chunk.
    fn wanted(&self) -> Result<usize, FrameError> {
        match self.head()? {
            Some((length, _)) => Ok((4 + length).saturating_sub(self.bytes.len()).clamp(1, CHUNK)),
            None => Ok(512),
        }
    }

    fn head(&self) -> Result<Option<(usize, usize)>, FrameError> {
        match self.bytes.first_chunk() {
            Some(head) => parse_header(*head).ok_or(FrameError::Limits).map(Some),
            None => Ok(None),
        }
    }

    /// The next complete frame, if there is one.
    ///
    /// # Errors
    /// The connection can no longer be used.
    pub fn frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((length, fds)) = self.head()? else { return Ok(None) };
        if self.bytes.len() < 4 + length {
            return Ok(None);
        }
        if self.fds.len() < fds {
            return Err(FrameError::Descriptors);
        }
        let rest = self.bytes.split_off(4 + length);
        let mut body = std::mem::replace(&mut self.bytes, rest);
        body.drain(..4);
        Ok(Some(Frame { body, fds: self.fds.drain(..fds).collect() }))
    }
}

/// The sending half of a connection: a bounded queue of frames.
#[derive(Debug)]
pub struct Writer {
    queue: VecDeque<Pending>,
    queued: usize,
    limit: usize,
}

#[derive(Debug)]
struct Pending {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

impl Writer {
    /// A queue that holds at most `limit` bytes beside one frame.
    pub fn new(limit: usize) -> Self {
        Self { queue: VecDeque::new(), queued: 0, limit }
    }

    /// Whether everything was sent.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Queues a frame.
    ///
    /// # Errors
    /// `Full` when the queue is over its limit (the frame is dropped), `Limits` when the frame is.
    pub fn push(&mut self, frame: Frame) -> Result<(), FrameError> {
        if self.queued > self.limit {
            return Err(FrameError::Full(self.queued));
        }
        let head = header(frame.body.len(), frame.fds.len()).ok_or(FrameError::Limits)?;
        let mut bytes = frame.body;
        bytes.splice(..0, head);
        self.queued += bytes.len();
        self.queue.push_back(Pending { bytes, sent: 0, fds: frame.fds });
        Ok(())
    }

    /// Sends what the socket takes without waiting. True when nothing is left.
    ///
    /// # Errors
    /// The connection can no longer be used.
    pub fn flush(&mut self, socket: impl AsFd) -> Result<bool, FrameError> {
        while let Some(first) = self.queue.front_mut() {
            let sent = match first.send(socket.as_fd()) {
                Ok(sent) => sent,
                Err(Errno::AGAIN) => return Ok(false),
                Err(e) => return Err(e.into()),
            };
            // The descriptors went with the first byte; the receiver has its own now.
            first.fds.clear();
            first.sent += sent;
            self.queued -= sent;
            if first.sent == first.bytes.len() {
                self.queue.pop_front();
            }
        }
        Ok(true)
    }
}

impl Pending {
    fn send(&self, socket: BorrowedFd<'_>) -> Result<usize, Errno> {
        let fds: Vec<BorrowedFd<'_>> = self.fds.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            // There is space for the most descriptors.
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let bytes = [IoSlice::new(&self.bytes[self.sent..])];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::io::retry_on_intr(|| sendmsg(socket, &bytes, &mut control, flags))
    }
}

fn wait(socket: BorrowedFd<'_>, flags: PollFlags, deadline: Instant) -> Result<(), FrameError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left == Duration::ZERO {
        return Err(FrameError::Timeout);
    }
    let left = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    let mut fds = [PollFd::from_borrowed_fd(socket, flags)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&left)))?;
    Ok(())
}

/// Sends one frame, waiting at most until `deadline`.
///
/// # Errors
/// The connection can no longer be used: a part of the frame may have been sent.
pub fn send(socket: impl AsFd, frame: Frame, deadline: Instant) -> Result<(), FrameError> {
    let mut writer = Writer::new(0);
    writer.push(frame)?;
    while !writer.flush(&socket)? {
        wait(socket.as_fd(), PollFlags::OUT, deadline)?;
    }
    Ok(())
}

/// Waits until `deadline` for the next frame; None when the other side closed between two frames.
///
/// # Errors
/// The connection can no longer be used, except after `Timeout`.
pub fn receive(
    socket: impl AsFd,
    reader: &mut Reader,
    deadline: Instant,
) -> Result<Option<Frame>, FrameError> {
    loop {
        if let Some(frame) = reader.frame()? {
            return Ok(Some(frame));
        }
        match reader.read(&socket)? {
            Progress::Some => {}
            Progress::End => return Ok(None),
            Progress::WouldBlock => wait(socket.as_fd(), PollFlags::IN, deadline)?,
        }
    }
}

#[cfg(test)]
mod tests;
