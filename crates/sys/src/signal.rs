//! Signals as readable events (signalfd), and what a small process sets once at its start.

#![allow(unsafe_code, reason = "signal masks and signalfd have no safe wrapper")]

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt as _;

/// Signals that arrive on a descriptor, blocked everywhere else.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

fn set(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set; sigaddset changes an initialised set and refuses
    // numbers that are not signals.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}

impl SignalFd {
    /// Blocks `signals` in this thread (and those it starts later) and makes them readable without
    /// waiting. Call it before the first other thread exists. Programs started later inherit the
    /// blocked mask unless their starter sets another.
    ///
    /// # Errors
    /// Those of pthread_sigmask and signalfd.
    pub fn new(signals: &[i32]) -> std::io::Result<Self> {
        let set = set(signals);
        // SAFETY: the set is initialised, the old mask is not asked for.
        let error = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
        if error != 0 {
            return Err(std::io::Error::from_raw_os_error(error));
        }
        // SAFETY: the set is initialised; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nothing else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next signal's number, None when there is none now.
    ///
    /// # Errors
    /// Those of read.
    pub fn next(&self) -> std::io::Result<Option<i32>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is as large as said; signalfd writes whole records only.
        let got = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if usize::try_from(got) == Ok(size) {
            // SAFETY: the record was written completely.
            let number = unsafe { info.assume_init() }.ssi_signo;
            return Ok(Some(number.cast_signed()));
        }
        let error = std::io::Error::last_os_error();
        match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The signal with this number, from 1 to 64; None for what is not a signal.
pub fn named(number: i32) -> Option<rustix::process::Signal> {
    if (1..=64).contains(&number) {
        // SAFETY: the kernel takes every number in this range; those that the C library keeps to
        // itself (32 and 33) mean nothing to processes we signal, which are not our threads.
        Some(unsafe { rustix::process::Signal::from_raw_unchecked(number) })
    } else {
        None
    }
}

/// Has a program begin with no signal blocked or ignored, whatever its starter does with them.
pub fn unblocked(command: &mut std::process::Command) {
    let reset = || {
        crate::process::reset_signals();
        Ok(())
    };
    // SAFETY: what is called neither allocates nor locks.
    unsafe { command.pre_exec(reset) };
}

/// Ignores signals for the whole process; programs it starts inherit that unless their starter resets it.
pub fn ignore(signals: &[i32]) {
    for signal in signals {
        // SAFETY: SIG_IGN runs no code of ours.
        unsafe { libc::signal(*signal, libc::SIG_IGN) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_read_once() {
        // In a thread of its own: the mask is the thread's.
        std::thread::spawn(|| {
            let fd = SignalFd::new(&[libc::SIGUSR2]).unwrap();
            assert_eq!(fd.next().unwrap(), None);
            // SAFETY: raise to this thread, where the signal is blocked.
            unsafe { libc::raise(libc::SIGUSR2) };
            assert_eq!(fd.next().unwrap(), Some(libc::SIGUSR2));
            assert_eq!(fd.next().unwrap(), None);
        })
        .join()
        .unwrap();
    }
}
