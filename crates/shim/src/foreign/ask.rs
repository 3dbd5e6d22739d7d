//! One call of a shim that is waited for, until a moment, unless it is cancelled.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use berth_shimv2::error::CallError;
use berth_shimv2::message::Method;
use berth_shimv2::shim::Shim as Client;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::driver::Cancel;

/// How long one is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience<'a> {
    /// No longer than this.
    pub(super) until: Instant,
    /// Once one of these is readable, no longer than `grace`.
    pub(super) cancels: &'a [BorrowedFd<'a>],
    /// The time for an answer that nobody needs any more, but which tells what there is.
    pub(super) grace: Duration,
}

impl Patience<'_> {
    /// The time that is left.
    pub(super) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// There will be none, or it is a refusal.
    Failed(CallError),
    /// It may come still, and nobody waits for it.
    Late(CallError, Later),
}

impl NoAnswer {
    pub(super) fn error(self) -> CallError {
        match self {
            Self::Failed(error) | Self::Late(error, _) => error,
        }
    }
}

/// An answer that may come still.
pub(super) struct Later(Arc<dyn Promise>);

impl Later {
    /// Has this done when it comes, or when the connection is lost. It must not wait.
    pub(super) fn then(self, then: impl FnOnce() + Send + 'static) {
        self.0.promise(Box::new(then));
    }
}

impl std::fmt::Debug for Later {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Later")
    }
}

type Then = Box<dyn FnOnce() + Send>;

trait Promise: Send + Sync {
    fn promise(&self, then: Then);
}

/// Where an answer is.
enum Slot<T> {
    Awaited,
    Here(Result<T, CallError>),
    Promised(Then),
}

impl<T: Send> Promise for Mutex<Slot<T>> {
    fn promise(&self, then: Then) {
        let mut slot = lock(self);
        if matches!(*slot, Slot::Here(_)) {
            drop(slot);
            return then();
        }
        *slot = Slot::Promised(then);
    }
}

fn put<T>(slot: &Mutex<Slot<T>>, outcome: Result<T, CallError>) {
    let mut slot = lock(slot);
    if let Slot::Promised(then) = std::mem::replace(&mut *slot, Slot::Here(outcome)) {
        drop(slot);
        then();
    }
}

fn lock<T>(slot: &Mutex<Slot<T>>) -> MutexGuard<'_, Slot<T>> {
    // What it guards is whole between any two statements.
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls a method and waits for the answer.
pub(super) fn ask<M: Method>(
    client: &Client,
    request: &M,
    patience: Patience<'_>,
) -> Result<M::Answer, NoAnswer>
where
    M::Answer: Send + 'static,
{
    let (limit, method) = (patience.left(), || M::NAME.to_owned());
    // Without a descriptor it could not be waited for.
    let answered = Cancel::new().map_err(|_| NoAnswer::Failed(CallError::Busy { method: method() }))?;
    let slot = Arc::new(Mutex::new(Slot::Awaited));
    let (theirs, told) = (Arc::clone(&slot), answered.clone());
    // What is returned is dropped: the call goes on.
    drop(client.begin(request, None, move |outcome| {
        put(&theirs, outcome);
        told.set();
    }));
    let answer = answered.0.as_fd();
    if !wait(answer, patience.cancels, patience.until) {
        wait(answer, &[], patience.until.min(Instant::now() + patience.grace));
    }
    let mut there = lock(&slot);
    if let Slot::Here(outcome) = std::mem::replace(&mut *there, Slot::Awaited) {
        return outcome.map_err(NoAnswer::Failed);
    }
    drop(there);
    let error = if Instant::now() < patience.until {
        CallError::Cancelled { method: method() }
    } else {
        // For people: not what is left of it to the nanosecond.
        CallError::Slow { method: method(), limit: Duration::from_secs_f64(limit.as_secs_f64().round()) }
    };
    Err(NoAnswer::Late(error, Later(slot)))
}

/// Whether the first became readable, before one of the others and in time.
pub(super) fn wait(first: BorrowedFd<'_>, others: &[BorrowedFd<'_>], until: Instant) -> bool {
    loop {
        let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).ok();
        let all = std::iter::once(&first).chain(others);
        let mut polled: Vec<_> = all.map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        match poll(&mut polled, left.as_ref()) {
            Ok(0) => return false,
            Ok(_) => return polled.first().is_some_and(|fd| !fd.revents().is_empty()),
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}
