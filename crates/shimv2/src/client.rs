//! The client: one connection to a shim, which any number of threads call.
//!
//! ```text
//! callers --begin--> Calls (a lock) --wake--> one thread: poll, write, read, deadlines --outcome--> callers
//! ```
//!
//! Only that thread touches the socket, which never blocks it, so a shim that neither reads nor answers costs each caller
//! its own time limit and no more. When the connection is lost, every call that waits fails with the reason, and so does
//! every later one: nothing is connected again behind the caller's back, since a shim that was restarted knows nothing.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::calls::{Calls, Done};
use crate::error::{CallError, Lost};
use crate::frame::Frames;
use crate::message::rpc::Request;

/// What is done with a call's outcome, in the connection's thread: it must not wait for anything.
type Then = Box<dyn FnOnce(Result<Vec<u8>, CallError>) + Send>;

/// A connection; clones share it, and the last one that is dropped ends it.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    _end: Arc<End>,
}

struct Shared {
    calls: Mutex<Calls<Then>>,
    wake: OwnedFd,
}

/// Ends the thread with the last client.
#[derive(Debug)]
struct End(Arc<Shared>);

/// A call that waits.
#[derive(Debug)]
pub struct Call {
    shared: Arc<Shared>,
    number: Option<u32>,
}

impl Client {
    /// Speaks over a connected stream socket.
    ///
    /// # Errors
    /// No thread or descriptor is to be had.
    pub fn over(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { calls: Mutex::new(Calls::new()), wake });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("ttrpc".to_owned());
        thread.spawn(move || {
            let reason = own.serve(&socket);
            finish(own.calls().lose(reason));
        })?;
        Ok(Self { _end: Arc::new(End(Arc::clone(&shared))), shared })
    }

    /// Calls a method; `then` gets the outcome, whatever happens, once. It is called in the connection's thread and must not wait, or
    /// at once if the call cannot even be queued.
    ///
    /// The call goes on when what is returned is dropped.
    pub fn begin(
        &self,
        mut request: Request,
        limit: Option<Duration>,
        then: impl FnOnce(Result<Vec<u8>, CallError>) + Send + 'static,
    ) -> Call {
        let begun = self.shared.calls().begin(Instant::now(), &mut request, limit, Box::new(then));
        let number = match begun {
            Ok(number) => {
                self.shared.wake();
                Some(number)
            }
            Err((then, outcome)) => {
                then(outcome);
                None
            }
        };
        Call { shared: Arc::clone(&self.shared), number }
    }

    /// Calls a method and waits for the answer.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call(&self, request: Request, limit: Option<Duration>) -> Result<Vec<u8>, CallError> {
        let method = request.method.clone();
        let (send, receive) = channel();
        let _call = self.begin(request, limit, move |outcome| {
            // Who waits is below.
            drop(send.send(outcome));
        });
        // Every outcome is sent, unless the connection's thread panicked.
        receive.recv().unwrap_or(Err(CallError::Lost { method, reason: Lost::Ended }))
    }

    /// Whether it is the same connection.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Why the connection is gone, if it is.
    pub fn lost(&self) -> Option<Lost> {
        self.shared.calls().lost().cloned()
    }

    /// Ends the connection: every call that waits fails.
    pub fn end(&self) {
        finish(self.shared.calls().lose(Lost::Ended));
        self.shared.wake();
    }
}

impl Call {
    /// Gives the call up: its outcome is [`CallError::Cancelled`], unless it has one. The shim is not told, as the protocol has
    /// no word for that.
    pub fn cancel(self) {
        let given_up = self.number.and_then(|number| self.shared.calls().cancel(number));
        finish(given_up);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        finish(self.0.calls().lose(Lost::Ended));
        self.0.wake();
    }
}

/// Outside of the lock, since what follows may call again.
fn finish(done: impl IntoIterator<Item = Done<Then>>) {
    for (then, outcome) in done {
        then(outcome);
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Calls<Then>> {
        // What it guards is whole between any two statements.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // It fails only when it is about to wake anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// The connection's thread, until the connection is lost.
    fn serve(&self, socket: &OwnedFd) -> Lost {
        let mut frames = Frames::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let late = self.calls().expire(Instant::now());
            finish(late);
            if let Err(lost) = self.send(socket).and_then(|()| self.wait(socket)) {
                return lost;
            }
            match rustix::net::recv(socket, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) if frames.is_inside() => {
                    return Lost::Broken("it closed the connection in the middle of an answer".to_owned());
                }
                Ok((0, _)) => return Lost::Closed,
                Ok((count, _)) => {
                    let mut bytes = buffer.get(..count).unwrap_or_default();
                    while let Some(incoming) = frames.next(&mut bytes) {
                        let done = self.calls().receive(incoming);
                        match done {
                            Ok(done) => finish(done),
                            Err(lost) => return lost,
                        }
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return of_errno(error),
            }
        }
    }

    /// Sends what the socket takes.
    fn send(&self, socket: &OwnedFd) -> Result<(), Lost> {
        let mut calls = self.calls();
        loop {
            if let Some(lost) = calls.lost() {
                return Err(lost.clone());
            }
            if calls.to_send().is_empty() {
                return Ok(());
            }
            match rustix::net::send(socket, calls.to_send(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => calls.sent(count),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                // Its last answers may still be there to be read; behind them is the end.
                Err(Errno::PIPE | Errno::CONNRESET) => {
                    let all = calls.to_send().len();
                    calls.sent(all);
                }
                Err(error) => return Err(of_errno(error)),
            }
        }
    }

    /// Waits until something can be done.
    fn wait(&self, socket: &OwnedFd) -> Result<(), Lost> {
        let (deadline, sends) = {
            let calls = self.calls();
            (calls.deadline(), !calls.to_send().is_empty())
        };
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let flags = if sends { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut fds = [PollFd::new(socket, flags), PollFd::new(&self.wake, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {
                // Whatever it holds, everything is looked at now.
                let _ = rustix::io::read(self.wake.as_fd(), &mut [0; 8]);
                Ok(())
            }
            Err(Errno::INTR) => Ok(()),
            Err(error) => Err(of_errno(error)),
        }
    }
}

fn of_errno(error: Errno) -> Lost {
    match error {
        Errno::PIPE | Errno::CONNRESET => Lost::Closed,
        other => Lost::Failed(io::Error::from(other).to_string()),
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("wake", &self.wake).finish_non_exhaustive()
    }
}
