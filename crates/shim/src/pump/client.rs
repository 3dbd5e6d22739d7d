//! A client attached to a container's stdio: one end of a SOCK_SEQPACKET pair.
//!
//! Output goes to every client. One that does not take a packet holds the container's output back
//! for [`SEND_TIMEOUT`] at most and is cut off then, so that it cannot stop the log. The one that was there before
//! the container started reads the output in place of a pipe's reader: it is waited for as long as it is there, and
//! loses nothing.
//!
//! A client that goes, or is cut off, may have sent input that the container has not taken. It is kept for that, for
//! [`LEFT_INPUT_LIMIT`] at most.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use berth_types::shim::{LEFT_INPUT_LIMIT, Stream};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recvmsg, sendmsg, shutdown,
    sockopt,
};

use super::ClientSlot;

/// How long a client that attached after the start may leave a packet unread.
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// What the kernel keeps for a client that is behind for a moment.
const BUFFER: usize = 512 << 10;
/// The most clients of one container.
pub(crate) const MAX_CLIENTS: usize = 64;

/// A client that is to be served.
#[derive(Debug)]
pub(crate) struct Joining {
    /// The shim's end of its socket pair.
    pub(crate) socket: OwnedFd,
    /// Since when it is there.
    pub(crate) since: Since,
    /// Whether it gives input; otherwise it only watches.
    pub(crate) stdin: bool,
    /// Its place among the container's clients.
    #[allow(dead_code, reason = "it is held")]
    pub(crate) slot: ClientSlot,
}

/// An attached client.
#[derive(Debug)]
pub(crate) struct Client {
    joined: Joining,
    /// The packets that it has not read: one of each stream at most, until the container ended.
    waiting: VecDeque<Vec<u8>>,
    /// Until when it may leave the first of them; None is forever.
    until: Option<Instant>,
    /// Until when its input is taken, once it has gone.
    left: Option<Instant>,
}

/// Since when a client is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// Since before the container started.
    Before,
    /// It came when the container ran.
    Later,
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Bytes for stdin: so many.
    Bytes(usize),
    /// End of input, for all clients.
    Close,
    /// It disconnected.
    Gone,
    /// Nothing now.
    Nothing,
}

/// Whether a client stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It has read everything.
    Served,
    /// A packet waits.
    Waits,
    /// It disconnected or was cut off.
    Gone,
}

impl Client {
    /// Takes over a client's socket. Credentials are asked for with each packet, since an empty packet
    /// and the end look the same otherwise.
    pub(crate) fn new(joined: Joining) -> std::io::Result<Self> {
        sockopt::set_socket_passcred(&joined.socket, true)?;
        // Fails without the right to exceed the system's limit; then the usual buffer is enough.
        let _ = sockopt::set_socket_send_buffer_size_force(&joined.socket, BUFFER);
        Ok(Self { joined, waiting: VecDeque::new(), until: None, left: None })
    }

    /// Whether what it sends is input, and its end that of a stdin that ends with a client.
    pub(crate) fn gives_input(&self) -> bool {
        self.joined.stdin
    }

    /// It has disconnected or is cut off: nothing is sent to it any more, and nothing more comes than what it has sent.
    pub(crate) fn leave(&mut self, now: Instant) {
        if self.left.is_none() {
            // Where it has not disconnected itself.
            let _ = shutdown(&self.joined.socket, Shutdown::Both);
            self.waiting.clear();
            // One that only watches has sent nothing that counts.
            self.left = Some(if self.gives_input() { now + LEFT_INPUT_LIMIT } else { now });
        }
    }

    /// Whether it has.
    pub(crate) fn has_left(&self) -> bool {
        self.left.is_some()
    }

    /// Whether it has, and there is no more input of it that is taken.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let nothing_left = || matches!(self.look(&mut [0], RecvFlags::PEEK), Input::Gone);
        self.left.is_some_and(|until| now >= until || !self.gives_input() || nothing_left())
    }

    /// Whether a packet waits to be taken.
    pub(crate) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the container's output waits for it.
    pub(crate) fn holds_back(&self, ended: bool) -> bool {
        // What a container that ended has left in its pipes is little, and is kept for a client that will read it.
        self.waits() && !(ended && self.joined.since == Since::Before)
    }

    /// When it is cut off, or its input is.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.left.or(self.until.filter(|_| self.waits()))
    }

    /// Sends output, or keeps it behind what waits.
    pub(crate) fn send(&mut self, stream: Stream, bytes: &[u8], now: Instant) -> Fate {
        if self.has_left() {
            return Fate::Gone;
        }
        let head = [stream as u8];
        if self.waits() {
            self.waiting.push_back([&head, bytes].concat());
            return Fate::Waits;
        }
        let parts = [std::io::IoSlice::new(&head), std::io::IoSlice::new(bytes)];
        match self.try_send(&parts) {
            Err(Errno::AGAIN) => {
                self.waiting.push_back([&head, bytes].concat());
                self.restart_timer(now);
                Fate::Waits
            }
            sent => Self::fate(sent),
        }
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self, now: Instant) -> Fate {
        while let Some(packet) = self.waiting.front() {
            match self.try_send(&[std::io::IoSlice::new(packet)]) {
                Err(Errno::AGAIN) if self.until.is_none_or(|until| now < until) => return Fate::Waits,
                Err(_) => return Fate::Gone,
                Ok(_) => {
                    self.waiting.pop_front();
                    self.restart_timer(now);
                }
            }
        }
        Fate::Served
    }

    fn restart_timer(&mut self, now: Instant) {
        self.until = match self.joined.since {
            Since::Before => None,
            Since::Later => Some(now + SEND_TIMEOUT),
        };
    }

    fn fate(sent: Result<usize, Errno>) -> Fate {
        if sent.is_ok() { Fate::Served } else { Fate::Gone }
    }

    fn try_send(&self, parts: &[std::io::IoSlice<'_>]) -> Result<usize, Errno> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&self.joined.socket, parts, &mut SendAncillaryBuffer::default(), flags)
    }

    /// Reads one packet.
    pub(crate) fn receive(&self, into: &mut [u8]) -> Input {
        self.look(into, RecvFlags::empty())
    }

    fn look(&self, into: &mut [u8], how: RecvFlags) -> Input {
        let received = match self.try_receive(into, how) {
            // It went without having read all output. That is told once, in front of what it has sent.
            Err(Errno::CONNRESET) => self.try_receive(into, how),
            received => received,
        };
        match received {
            Ok(input) => input,
            Err(Errno::AGAIN | Errno::INTR) => Input::Nothing,
            Err(_) => Input::Gone,
        }
    }

    fn try_receive(&self, into: &mut [u8], how: RecvFlags) -> Result<Input, Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [std::io::IoSliceMut::new(into)];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC | how;
        let got = recvmsg(&self.joined.socket, &mut parts, &mut control, flags)?;
        Ok(match got.bytes {
            1.. => Input::Bytes(got.bytes),
            0 if control.drain().next().is_some() => Input::Close,
            0 => Input::Gone,
        })
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.joined.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, send, socketpair};

    fn pair(since: Since) -> (Client, OwnedFd) {
        let (a, b) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        (Client::new(Joining { socket: a, since, stdin: true, slot: ClientSlot::default() }).unwrap(), b)
    }

    #[test]
    fn an_empty_packet_is_not_the_end() {
        let (client, other) = pair(Since::Later);
        let mut bytes = [0; 16];
        assert_eq!(client.receive(&mut bytes), Input::Nothing);
        send(&other, b"abc", SendFlags::empty()).unwrap();
        send(&other, b"", SendFlags::empty()).unwrap();
        drop(other);
        assert_eq!(client.receive(&mut bytes), Input::Bytes(3));
        assert_eq!(client.receive(&mut bytes), Input::Close);
        assert_eq!(client.receive(&mut bytes), Input::Gone);
    }

    #[test]
    fn input_of_a_client_that_went_is_kept_for_a_while() {
        let (mut client, other) = pair(Since::Later);
        let (now, mut bytes) = (Instant::now(), [0; 16]);
        // It has not read this, which its end tells in front of its input.
        assert_eq!(client.send(Stream::Stdout, b"out", now), Fate::Served);
        send(&other, b"abc", SendFlags::empty()).unwrap();
        drop(other);
        client.leave(now);
        client.leave(now + LEFT_INPUT_LIMIT);
        assert_eq!((client.send(Stream::Stdout, b"out", now), client.waits()), (Fate::Gone, false));
        assert_eq!(client.deadline(), Some(now + LEFT_INPUT_LIMIT));
        assert!(!client.is_over(now + LEFT_INPUT_LIMIT / 2) && client.is_over(now + LEFT_INPUT_LIMIT));
        assert_eq!(client.receive(&mut bytes), Input::Bytes(3));
        assert_eq!(client.receive(&mut bytes), Input::Gone);
    }

    #[test]
    fn a_client_that_is_cut_off_is_told_and_its_input_is_kept() {
        let (mut client, other) = pair(Since::Later);
        let mut bytes = [0; 16];
        send(&other, b"abc", SendFlags::empty()).unwrap();
        client.leave(Instant::now());
        assert_eq!(rustix::net::recv(&other, &mut bytes[..], RecvFlags::empty()).unwrap().0, 0);
        assert_eq!(send(&other, b"more", SendFlags::NOSIGNAL), Err(Errno::PIPE));
        assert_eq!(client.receive(&mut bytes), Input::Bytes(3));
        assert_eq!(client.receive(&mut bytes), Input::Gone);
    }

    #[test]
    fn a_client_that_does_not_read_is_cut_off_after_the_timeout() {
        let (mut client, other) = pair(Since::Later);
        let now = Instant::now();
        let packet = vec![0; 16 << 10];
        while client.send(Stream::Stdout, &packet, now) == Fate::Served {}
        assert!(client.waits());
        assert_eq!(client.flush(now + SEND_TIMEOUT / 2), Fate::Waits);
        assert_eq!(client.flush(now + SEND_TIMEOUT), Fate::Gone);
        drop(other);
    }

    #[test]
    fn a_client_that_reads_late_loses_nothing() {
        let (mut client, other) = pair(Since::Later);
        let now = Instant::now();
        let packet = vec![7; 16 << 10];
        let mut sent = 1;
        while client.send(Stream::Stderr, &packet, now) == Fate::Served {
            sent += 1;
        }
        let mut got = 0;
        let mut bytes = vec![0; 17 << 10];
        while let Ok((n, _)) = rustix::net::recv(&other, &mut bytes[..], RecvFlags::DONTWAIT) {
            assert_eq!((n, bytes[0]), (packet.len() + 1, 2));
            got += 1;
            if client.waits() {
                assert_eq!(client.flush(now), Fate::Served);
            }
        }
        assert_eq!(got, sent);
    }

    #[test]
    fn a_client_from_the_beginning_is_waited_for() {
        let (mut client, other) = pair(Since::Before);
        let now = Instant::now();
        let packet = vec![0; 16 << 10];
        while client.send(Stream::Stdout, &packet, now) == Fate::Served {}
        assert_eq!((client.deadline(), client.flush(now + 1000 * SEND_TIMEOUT)), (None, Fate::Waits));
        assert!(client.holds_back(false) && !client.holds_back(true));
        drop(other);
        assert_eq!(client.flush(now), Fate::Gone);
    }
}
