//! One call of a shim that is waited for, with a limit, unless it is cancelled.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use berth_shimv2::error::CallError;
use berth_shimv2::message::Method;
use berth_shimv2::shim::Shim as Client;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::driver::Cancel;

/// Calls a method. Once one of `cancels` is readable, the answer is waited for no longer than `grace`.
pub(super) fn ask<M: Method>(
    client: &Client,
    request: &M,
    limit: Duration,
    cancels: &[BorrowedFd<'_>],
    grace: Duration,
) -> Result<M::Answer, CallError>
where
    M::Answer: Send + 'static,
{
    let Ok(answered) = Cancel::new() else {
        // Without a descriptor it cannot be cancelled.
        return client.call(request, Some(limit));
    };
    let (send, receive) = channel();
    let told = answered.clone();
    let call = client.begin(request, Some(limit), move |outcome| {
        // Who waits is below.
        drop(send.send(outcome));
        told.set();
    });
    if !wait(answered.0.as_fd(), cancels, None) && !wait(answered.0.as_fd(), &[], Some(grace)) {
        call.cancel();
    }
    let lost = || CallError::Cancelled { method: M::NAME.to_owned() };
    receive.recv().unwrap_or_else(|_| Err(lost()))
}

/// Whether the first became readable, before one of the others and within the limit.
fn wait(first: BorrowedFd<'_>, others: &[BorrowedFd<'_>], limit: Option<Duration>) -> bool {
    let deadline = limit.map(|limit| Instant::now() + limit);
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
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
