//! The socket between parent and child, and its messages.
//!
//! A packet from the child is a tag, an errno, an index and the name of a step; a terminal's master, or a pidfd, goes
//! with it. The parent sends single bytes. End of file is said by execve, which closes the child's end.
//!
//! A process that can be seen in a container's PID namespace may be controlled by another process there: with each packet the
//! kernel says which process sent it, and only one that cannot be seen is believed when it hands over a descriptor.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use berth_sys::process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// How long the parent waits for the child to be prepared, or to be a program. Mounting may wait
/// for a disk or a file server. Less than what the shim's daemon waits, which then hears why.
pub(super) const DEADLINE: Duration = Duration::from_secs(45);

/// Longest name of a step.
const NAME: usize = 48;
const SIZE: usize = 9 + NAME;

/// No index.
pub(super) const NONE: u32 = u32::MAX;

/// A step of the child that failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fail {
    /// Its name.
    pub(super) what: &'static str,
    /// Which of several, or [`NONE`].
    pub(super) index: u32,
    pub(super) errno: Errno,
}

/// The name of the failure of `execve` itself.
pub(super) const EXECVE: &str = "execve";
/// The name of a failure of a step of the plan; the index is its place.
pub(super) const STEP: &str = "step";
/// The name of a failure to enter a namespace; the index is its place.
pub(super) const ENTER: &str = "enter namespace";
/// The name of a failure to set a resource limit; the index is its place.
pub(super) const RLIMIT: &str = "set rlimit";

/// The name of a failure to set the AppArmor profile.
pub(super) const PROFILE: &str = "set the AppArmor profile";

/// What the parent receives.
#[derive(Debug)]
pub(super) enum Heard {
    /// The child waits at the gate.
    Ready,
    /// The master of its terminal.
    Terminal(OwnedFd),
    /// The process went on as another, a sibling of the one that says so and ends.
    Moved { pid: i32, pidfd: OwnedFd },
    /// Its mounts are made, and the host's are still there.
    Arranged,
    /// A step failed.
    Failed { what: String, index: u32, errno: Errno },
    /// The child's end is closed: by execve, or by its death.
    Closed,
    /// Nothing in time.
    Silent,
}

const READY: u8 = 1;
const FAILED: u8 = 2;
const MOVED: u8 = 3;
const TERMINAL: u8 = 4;
const ARRANGED: u8 = 5;

/// The child's end, in the parent until the child has its copy. There is one at a time in the process: another child that was
/// cloned at the same time would have a copy of it too, and if that is stopped or frozen before it closes what is not its own, the
/// end of file that says "execve" would not come.
#[derive(Debug)]
pub(super) struct ChildEnd {
    fd: OwnedFd,
    _alone: MutexGuard<'static, ()>,
}

impl AsFd for ChildEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Both ends: the parent's, which learns the sender of each packet, and the child's. Waits until the child's end of another pair is closed in this process, which is as
/// soon as that child is cloned.
pub(super) fn pair() -> Result<(OwnedFd, ChildEnd), Errno> {
    /// As global as what it guards: the process' descriptors, which every clone copies.
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::sockopt::set_socket_passcred(&ours, true)?;
    Ok((ours, ChildEnd { fd: theirs, _alone: alone }))
}

/// Child: says that it is ready.
pub(super) fn say_ready(gate: BorrowedFd<'_>) -> Result<(), Errno> {
    say(gate, &[READY], None)
}

/// Child: says that its mounts are made.
pub(super) fn say_arranged(gate: BorrowedFd<'_>) -> Result<(), Errno> {
    say(gate, &[ARRANGED], None)
}

/// Child: hands over the master of its terminal.
pub(super) fn say_terminal(gate: BorrowedFd<'_>, master: BorrowedFd<'_>) -> Result<(), Errno> {
    say(gate, &[TERMINAL], Some(master))
}

fn say(gate: BorrowedFd<'_>, packet: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds;
    if let Some(fd) = fd {
        fds = [fd];
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    sendmsg(gate, &[IoSlice::new(packet)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Child: reports the process that continues in its place.
pub(super) fn say_moved(gate: BorrowedFd<'_>, pid: i32, pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    let [a, b, c, d] = pid.to_ne_bytes();
    say(gate, &[MOVED, a, b, c, d], Some(pidfd))
}

/// Child: says what failed. Nothing can be done when even that fails.
pub(super) fn say_failed(gate: BorrowedFd<'_>, fail: Fail) {
    let mut packet = [0u8; SIZE];
    packet[0] = FAILED;
    packet[1..5].copy_from_slice(&fail.errno.raw_os_error().to_ne_bytes());
    packet[5..9].copy_from_slice(&fail.index.to_ne_bytes());
    for (to, from) in packet[9..].iter_mut().zip(fail.what.bytes()) {
        *to = from;
    }
    let _ = rustix::net::send(gate, &packet, SendFlags::NOSIGNAL);
}

/// Child: waits for the parent's byte; false when the parent is gone.
pub(super) fn wait(gate: BorrowedFd<'_>) -> bool {
    let mut byte = [0u8; 1];
    loop {
        match rustix::io::read(gate, &mut byte) {
            Err(Errno::INTR) => {}
            Ok(1) => return true,
            Ok(_) | Err(_) => return false,
        }
    }
}

/// Child: waits at a door until somebody comes in and says that it may go on; that connection is the gate from then on, at
/// the number `gate`. Who goes away without a word is forgotten. False when the door is broken.
pub(super) fn admit(door: BorrowedFd<'_>, gate: i32) -> bool {
    loop {
        match rustix::net::accept_with(door, SocketFlags::CLOEXEC) {
            Ok(connection) => {
                if process::place_fd(connection.as_fd(), gate, false).is_err() {
                    return false;
                }
            }
            Err(Errno::INTR | Errno::CONNABORTED) => continue,
            Err(_) => return false,
        }
        if wait(process::fd_at(gate)) {
            return true;
        }
    }
}

/// Parent: lets the child continue.
pub(super) fn release(gate: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::net::send(gate, &[1], SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Parent: the next message and which process sent it, [`Heard::Silent`] after [`DEADLINE`].
pub(super) fn hear(gate: BorrowedFd<'_>) -> Result<(Heard, Option<i32>), Errno> {
    if !readable(gate, Instant::now() + DEADLINE)? {
        return Ok((Heard::Silent, None));
    }
    let mut packet = [0u8; SIZE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(gate, &mut [IoSliceMut::new(&mut packet)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let (mut given, mut sender) = (None, None);
    for item in control.drain() {
        match item {
            RecvAncillaryMessage::ScmRights(fds) => given = fds.last().or(given),
            RecvAncillaryMessage::ScmCredentials(of) => sender = Some(of.pid.as_raw_nonzero().get()),
            _ => {}
        }
    }
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(Errno::MSGSIZE);
    }
    let number = i32::from_ne_bytes([packet[1], packet[2], packet[3], packet[4]]);
    let heard = match (message.bytes, packet[0]) {
        (5, MOVED) => Heard::Moved { pid: number, pidfd: given.ok_or(Errno::BADF)? },
        (0, _) => Heard::Closed,
        (_, READY) => Heard::Ready,
        (_, ARRANGED) => Heard::Arranged,
        (_, TERMINAL) => Heard::Terminal(given.ok_or(Errno::BADF)?),
        _ => Heard::Failed {
            what: packet[9..].iter().take_while(|b| **b != 0).map(|b| char::from(*b)).collect(),
            index: u32::from_ne_bytes([packet[5], packet[6], packet[7], packet[8]]),
            // A forged packet may not hold the number of an error.
            errno: if (1..4096).contains(&number) { Errno::from_raw_os_error(number) } else { Errno::IO },
        },
    };
    Ok((heard, sender))
}

/// Whether something can be read before the deadline.
fn readable(gate: BorrowedFd<'_>, deadline: Instant) -> Result<bool, Errno> {
    let gate = gate.as_fd();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        match poll(&mut [PollFd::new(&gate, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests;
