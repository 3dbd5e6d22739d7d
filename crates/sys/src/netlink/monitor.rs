//! Notifications of changes, by any process.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, sockopt};

use super::{Family, NetlinkError};

/// Multicast groups, as the bits of an address.
const LINKS: u32 = 1 << 0;
const ADDRESSES4: u32 = 1 << 4;
const ADDRESSES6: u32 = 1 << 8;
const RULES: u32 = 1 << 6;

/// What is in the messages does not matter, so that few need to be kept.
const KEPT: usize = 8 * 1024;
/// The most messages that are taken off at once.
const MOST: usize = 10_000;

/// A non-blocking socket that is readable after a change of a network namespace: of its interfaces and
/// addresses, or of its nftables rules.
#[derive(Debug)]
pub struct Monitor(OwnedFd);

impl Monitor {
    /// A monitor of the calling thread's network namespace.
    pub fn open(family: Family) -> Result<Self, NetlinkError> {
        let (protocol, groups) = match family {
            Family::Route => (None, LINKS | ADDRESSES4 | ADDRESSES6),
            Family::Netfilter => (Some(netlink::NETFILTER), RULES),
        };
        let open = || {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
            sockopt::set_socket_recv_buffer_size(&fd, KEPT)?;
            rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups))?;
            Ok(Self(fd))
        };
        open().map_err(|source| NetlinkError::Open { source })
    }

    /// Reads the pending notifications, so that the socket is not readable before the next change;
    /// tells whether there was anything.
    pub fn drain(&self) -> bool {
        let mut heard = false;
        // One byte of each message is enough.
        let mut byte = [0_u8; 1];
        for _ in 0..MOST {
            match rustix::net::recv(&self.0, &mut byte[..], RecvFlags::empty()) {
                // Too many for the buffer: it is the fact that counts.
                Ok(_) | Err(Errno::NOBUFS) => heard = true,
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        heard
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Monitor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
