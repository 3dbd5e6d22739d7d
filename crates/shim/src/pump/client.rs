//! A client attached to a container's stdio: one end of a SOCK_SEQPACKET pair.
//!
//! Output goes to every client. One that does not take a packet holds the container's output back
//! for [`PATIENCE`] at most and is cut off then: a client that reads loses nothing, and one that does
//! not cannot stop the log.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use berth_types::shim::Stream;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recvmsg, sendmsg, sockopt,
};

/// How long a client may leave a packet untaken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// What the kernel keeps for a client that is behind for a moment.
const BUFFER: usize = 512 << 10;
/// The most clients of one container.
pub(crate) const MAX_CLIENTS: usize = 64;

/// An attached client.
#[derive(Debug)]
pub(crate) struct Client {
    socket: OwnedFd,
    /// The packet that it has not taken, and until when it may leave it.
    waiting: Option<(Vec<u8>, Instant)>,
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Bytes for stdin: so many.
    Bytes(usize),
    /// No more input, from anybody.
    Close,
    /// It went away.
    Gone,
    /// Nothing now.
    Nothing,
}

/// Whether a client stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It took everything.
    Served,
    /// A packet waits.
    Waits,
    /// It went away or was cut off.
    Gone,
}

impl Client {
    /// Takes over a client's socket. Credentials are asked for with each packet, since an empty packet
    /// and the end look the same otherwise.
    pub(crate) fn new(socket: OwnedFd) -> std::io::Result<Self> {
        sockopt::set_socket_passcred(&socket, true)?;
        // Refused to who may not go over the system's limit; then the usual buffer does.
        let _ = sockopt::set_socket_send_buffer_size_force(&socket, BUFFER);
        Ok(Self { socket, waiting: None })
    }

    /// Whether a packet waits to be taken.
    pub(crate) fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    /// When its patience ends.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|(_, until)| *until)
    }

    /// Sends output. Only when nothing waits.
    pub(crate) fn send(&mut self, stream: Stream, bytes: &[u8], now: Instant) -> Fate {
        let head = [stream as u8];
        let parts = [std::io::IoSlice::new(&head), std::io::IoSlice::new(bytes)];
        match self.try_send(&parts) {
            Err(Errno::AGAIN) => {
                self.waiting = Some(([&head, bytes].concat(), now + PATIENCE));
                Fate::Waits
            }
            sent => Self::fate(sent),
        }
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self, now: Instant) -> Fate {
        let Some((packet, until)) = &self.waiting else { return Fate::Served };
        match self.try_send(&[std::io::IoSlice::new(packet)]) {
            Err(Errno::AGAIN) if now < *until => Fate::Waits,
            sent => {
                self.waiting = None;
                Self::fate(sent)
            }
        }
    }

    fn fate(sent: Result<usize, Errno>) -> Fate {
        if sent.is_ok() { Fate::Served } else { Fate::Gone }
    }

    fn try_send(&self, parts: &[std::io::IoSlice<'_>]) -> Result<usize, Errno> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&self.socket, parts, &mut SendAncillaryBuffer::default(), flags)
    }

    /// Reads one packet.
    pub(crate) fn receive(&self, into: &mut [u8]) -> Input {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [std::io::IoSliceMut::new(into)];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        match recvmsg(&self.socket, &mut parts, &mut control, flags) {
            Ok(got) if got.bytes > 0 => Input::Bytes(got.bytes),
            Ok(_) if control.drain().next().is_some() => Input::Close,
            Ok(_) => Input::Gone,
            Err(Errno::AGAIN | Errno::INTR) => Input::Nothing,
            Err(_) => Input::Gone,
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, send, socketpair};

    fn pair() -> (Client, OwnedFd) {
        let (a, b) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        (Client::new(a).unwrap(), b)
    }

    #[test]
    fn an_empty_packet_is_not_the_end() {
        let (client, other) = pair();
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
    fn a_client_that_does_not_read_is_cut_off_after_its_patience() {
        let (mut client, other) = pair();
        let now = Instant::now();
        let packet = vec![0; 16 << 10];
        while client.send(Stream::Stdout, &packet, now) == Fate::Served {}
        assert!(client.waits());
        assert_eq!(client.flush(now + PATIENCE / 2), Fate::Waits);
        assert_eq!(client.flush(now + PATIENCE), Fate::Gone);
        drop(other);
    }

    #[test]
    fn a_client_that_reads_late_loses_nothing() {
        let (mut client, other) = pair();
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
}
