//! Netlink: requests to the kernel's routing, nftables and connection tracking subsystems.
//!
//! Several [`Message`]s go out in one `send` and their answers are collected, which is what makes
//! setting up a pod a matter of a few system calls. The messages themselves are made by
//! [`route`], [`nft`] and [`conntrack`]; all three are attribute lists, which [`message`] encodes. Why none of the
//! libraries is used is in docs/adr/0031.
//!
//! Specifications: netlink(7), rtnetlink(7), `include/uapi/linux/{netlink,rtnetlink,if_link}.h`,
//! `include/uapi/linux/netfilter/{nfnetlink,nf_tables,nfnetlink_conntrack}.h`.

#![allow(unsafe_code, reason = "two socket options that rustix has no wrapper for")]

pub mod conntrack;
pub mod counters;
pub mod message;
mod monitor;
pub mod nft;
pub mod route;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub use message::{Attrs, Message, Reply};
pub use monitor::Monitor;

/// A netlink request that failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket could be opened.
    #[error("open a netlink socket")]
    Open {
        /// What the kernel said.
        source: Errno,
    },
    /// The network namespace could not be entered.
    #[error("enter the network namespace")]
    Enter {
        /// What the kernel said.
        source: Errno,
    },
    /// The request could not be sent, or its answer not be received.
    #[error("exchange netlink messages")]
    Transport {
        /// What the kernel said.
        source: Errno,
    },
    /// The kernel refused one of the requests.
    #[error("{what}{}{message}", if message.is_empty() { "" } else { ": " })]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The kernel's own explanation (extended acknowledgement); may be empty.
        message: String,
        /// What the kernel said.
        source: Errno,
    },
    /// The kernel's answer is malformed.
    #[error("malformed netlink answer to: {what}")]
    Malformed {
        /// What was asked for.
        what: &'static str,
    },
}

impl NetlinkError {
    /// The error number, where the kernel gave one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Open { source }
            | Self::Enter { source }
            | Self::Transport { source }
            | Self::Refused { source, .. } => Some(*source),
            Self::Malformed { .. } => None,
        }
    }
}

/// The subsystem that a socket speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Interfaces, addresses, routes.
    Route,
    /// nftables and connection tracking.
    Netfilter,
}

/// How long an answer of the kernel is waited for. It answers within the system call; the limit
/// only turns a kernel that does not into an error.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Room for one datagram of answers; the kernel fills at most 32 KiB in a dump.
const BUFFER: usize = 32 * 1024;

/// How long a list is asked for again that changes while the kernel makes it, as it does where many interfaces come and go.
const DUMP_LIMIT: Duration = Duration::from_secs(5);

/// A netlink socket. It belongs to the network namespace that it was opened in, for good.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// A socket in the calling thread's network namespace.
    pub fn open(family: Family) -> Result<Self, NetlinkError> {
        let protocol = match family {
            Family::Route => None,
            Family::Netfilter => Some(netlink::NETFILTER),
        };
        let source = |source| NetlinkError::Open { source };
        let flags = SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)
            .map_err(source)?;
        set_option(fd.as_fd(), libc::NETLINK_EXT_ACK).map_err(source)?;
        set_option(fd.as_fd(), libc::NETLINK_CAP_ACK).map_err(source)?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(ANSWER_LIMIT)).map_err(source)?;
        Ok(Self { fd, sequence: 0, buffer: Vec::new() })
    }

    /// A socket in the network namespace `netns`. A thread made for it enters the namespace, so
    /// that no way of failing leaves the caller in the wrong one.
    pub fn open_in(netns: BorrowedFd<'_>, family: Family) -> Result<Self, NetlinkError> {
        in_netns(netns, || Self::open(family))?
    }

    /// Sends all messages at once and collects the answers. The kernel works on every message,
    /// also behind one that it refuses; the error is that of the first one refused.
    pub fn exchange(&mut self, messages: Vec<Message>) -> Result<Vec<Reply>, NetlinkError> {
        let mut replies = Vec::new();
        self.exchange_each(messages, |reply| replies.push(reply))?;
        Ok(replies)
    }

    /// Asks for a list; again when it has changed while it was made, and so may lack something.
    pub fn dump(&mut self, request: &Message) -> Result<Vec<Reply>, NetlinkError> {
        let deadline = Instant::now() + DUMP_LIMIT;
        loop {
            match self.exchange(vec![request.clone()]) {
                Err(error) if error.errno() == Some(Errno::INTR) && Instant::now() < deadline => {}
                result => return result,
            }
        }
    }

    /// As [`Socket::exchange`], with each answer given to `each` as it comes: for lists of any
    /// length.
    pub fn exchange_each(
        &mut self,
        messages: Vec<Message>,
        each: impl FnMut(Reply),
    ) -> Result<(), NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut pending = Pending { first, waiting: Vec::with_capacity(messages.len()) };
        let mut bytes = Vec::with_capacity(messages.iter().map(Message::len).sum());
        for message in messages {
            self.sequence = self.sequence.wrapping_add(1);
            pending.waiting.push((message.what(), message.wants_answer()));
            message.write(self.sequence, &mut bytes);
        }
        self.send(&bytes).map_err(|source| NetlinkError::Transport { source })?;
        self.collect(pending, each)
    }

    /// A message must fit in the send buffer, which by default holds some 200 KiB: a batch with some
    /// thousand host ports is larger. Root may enlarge it past the limit of the system.
    fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        let kernel = SocketAddrNetlink::new(0, 0);
        let once = || retry(|| rustix::net::sendto(&self.fd, bytes, SendFlags::empty(), &kernel)).map(drop);
        match once() {
            Err(Errno::MSGSIZE) => {
                sockopt::set_socket_send_buffer_size_force(&self.fd, bytes.len())?;
                once()
            }
            result => result,
        }
    }

    fn collect(&mut self, mut pending: Pending, mut each: impl FnMut(Reply)) -> Result<(), NetlinkError> {
        let mut refused = None;
        self.buffer.resize(BUFFER, 0);
        while let Some(what) = pending.open() {
            let (n, len) = retry(|| rustix::net::recv(&self.fd, &mut self.buffer[..], RecvFlags::TRUNC))
                .map_err(|source| NetlinkError::Transport { source })?;
            if len > n {
                return Err(NetlinkError::Malformed { what });
            }
            for reply in message::replies(&self.buffer[..n]) {
                pending.take(reply, &mut each, &mut refused)?;
            }
        }
        refused.map_or(Ok(()), Err)
    }
}

/// What is still waited for in one exchange.
struct Pending {
    first: u32,
    waiting: Vec<(&'static str, bool)>,
}

impl Pending {
    /// The first request that has no answer yet.
    fn open(&self) -> Option<&'static str> {
        self.waiting.iter().find(|(_, wanted)| *wanted).map(|(what, _)| *what)
    }

    fn take(
        &mut self,
        reply: Reply,
        each: &mut impl FnMut(Reply),
        refused: &mut Option<NetlinkError>,
    ) -> Result<(), NetlinkError> {
        let index = reply.sequence().wrapping_sub(self.first) as usize;
        let Some((what, wanted)) = self.waiting.get_mut(index) else {
            return Ok(()); // left over from an exchange that failed half way
        };
        match reply.outcome() {
            message::Outcome::Data => {
                // The kernel marks the first answer behind the change, not the last one.
                if reply.is_disturbed() {
                    let source = Errno::INTR;
                    refused.get_or_insert(NetlinkError::Refused { what, message: String::new(), source });
                }
                each(reply);
            }
            message::Outcome::Done => *wanted = false,
            message::Outcome::Failed { errno, message } => {
                let error = NetlinkError::Refused { what, message, source: errno };
                refused.get_or_insert(error);
                // A refusal of something that is never acknowledged (the beginning of a batch)
                // stands for the whole exchange.
                if std::mem::replace(wanted, false) {
                    return Ok(());
                }
                self.waiting.iter_mut().for_each(|(_, wanted)| *wanted = false);
            }
            message::Outcome::Malformed => return Err(NetlinkError::Malformed { what }),
        }
        Ok(())
    }
}

/// Runs `work` in a thread of its own that has entered `netns`.
pub fn in_netns<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> Result<T, NetlinkError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".into())
            .stack_size(128 * 1024)
            .spawn_scoped(scope, move || {
                move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))
                    .map_err(|source| NetlinkError::Enter { source })?;
                Ok(work())
            })
            .map_err(|error| NetlinkError::Enter {
                source: Errno::from_io_error(&error).unwrap_or(Errno::AGAIN),
            })?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

fn set_option(fd: BorrowedFd<'_>, option: libc::c_int) -> Result<(), Errno> {
    let on: libc::c_int = 1;
    let len = libc::socklen_t::try_from(size_of_val(&on)).expect("an int is small");
    // SAFETY: the pointer and the length describe `on`, which outlives the call; the fd is open.
    let result = unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_NETLINK, option, std::ptr::from_ref(&on).cast(), len)
    };
    if result == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}

#[cfg(test)]
mod tests;
