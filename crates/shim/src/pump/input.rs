//! A container's stdin, fed by attached clients.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::client::{Client, Input};
use super::fifos::Then;

/// Where input goes.
#[derive(Debug)]
pub(crate) struct Stdin {
    to: To,
    /// Input that the container has not taken: at most one packet.
    pending: Vec<u8>,
    /// Whether it closes when `pending` is written.
    closing: bool,
}

#[derive(Debug)]
enum To {
    /// Nowhere: it was never open, or is closed.
    Nothing,
    /// A pipe; `once`: it closes when the first client goes that gives input.
    /// Behind the end of it comes what its other side is told, if it has to be.
    Pipe { fd: OwnedFd, once: bool, _then: Option<Then> },
    /// A terminal, which has no end of input: its users type one.
    Terminal(Arc<OwnedFd>),
}

impl Stdin {
    /// A pipe's writing end, or nothing.
    pub(crate) fn pipe(fd: Option<OwnedFd>, once: bool) -> Self {
        Self::to(fd.map_or(To::Nothing, |fd| To::Pipe { fd, once, _then: None }))
    }

    /// A FIFO's writing end, and what follows its close.
    pub(crate) fn fifo(fd: OwnedFd, then: Then, once: bool) -> Self {
        Self::to(To::Pipe { fd, once, _then: Some(then) })
    }

    /// A terminal's master.
    pub(crate) fn terminal(master: Arc<OwnedFd>) -> Self {
        Self::to(To::Terminal(master))
    }

    fn to(to: To) -> Self {
        Self { to, pending: Vec::new(), closing: false }
    }

    /// The descriptor, while it is open.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.to {
            To::Nothing => None,
            To::Pipe { fd, .. } => Some(fd.as_fd()),
            To::Terminal(fd) => Some(fd.as_fd()),
        }
    }

    /// Whether this client is read from. Without a stdin it is, so that its input goes nowhere.
    pub(crate) fn takes_from(&self, client: &Client) -> bool {
        self.pending.is_empty() && client.gives_input()
    }

    /// What must become writable first.
    pub(crate) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        if self.pending.is_empty() { None } else { self.fd() }
    }

    /// Takes one packet of a client. False when the client has disconnected and all of its input is taken.
    pub(crate) fn take(&mut self, client: &Client, buffer: &mut [u8]) -> bool {
        if !self.takes_from(client) {
            return true;
        }
        match client.receive(buffer) {
            Input::Nothing => true,
            Input::Gone => false,
            Input::Close => {
                self.close();
                true
            }
            Input::Bytes(n) => {
                if self.fd().is_some() && !self.closing {
                    self.pending.extend_from_slice(&buffer[..n]);
                    self.flush();
                }
                true
            }
        }
    }

    /// A client is gone, and its input.
    pub(crate) fn client_gone(&mut self, client: &Client) {
        if client.gives_input() && matches!(self.to, To::Pipe { once: true, .. }) {
            self.close();
        }
    }

    fn close(&mut self) {
        if matches!(self.to, To::Pipe { .. }) {
            self.closing = true;
            self.flush();
        }
    }

    /// Writes what is pending, as far as the container takes it.
    pub(crate) fn flush(&mut self) {
        while let Some(fd) = self.waits_for() {
            match rustix::io::write(fd, &self.pending) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // It will not be read any more.
                Err(_) => {
                    self.pending.clear();
                    self.to = To::Nothing;
                }
            }
        }
        if self.closing {
            self.to = To::Nothing;
        }
    }
}
