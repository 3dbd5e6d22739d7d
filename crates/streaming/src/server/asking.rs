//! Connections that have not asked for anything: anyone who reaches the address can open some, and leave them so.
//!
//! There are places for a few. When all are taken the oldest connection is closed for the next one, so that none waits to be
//! accepted: a client that has a URL asks as soon as it is connected.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The places.
const MOST: usize = 256;

/// The connections that have a place.
#[derive(Debug, Clone, Default)]
pub(super) struct Asking(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    next: u64,
    /// By their numbers, which are in the order in which they came.
    taken: BTreeMap<u64, oneshot::Sender<()>>,
}

/// The place of a connection, until it leaves it, is dropped, or loses it to another.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    of: Asking,
}

/// Tells a connection that it has lost its place.
#[derive(Debug)]
pub(super) struct Lost(oneshot::Receiver<()>);

impl Asking {
    /// A place for one more connection, the oldest one's if there is no other.
    pub(super) fn enter(&self) -> (Place, Lost) {
        let (sender, lost) = oneshot::channel();
        let mut places = self.lock();
        if places.taken.len() >= MOST
            && let Some((_, oldest)) = places.taken.pop_first()
        {
            // Its connection may be ending by itself.
            oldest.send(()).ok();
        }
        let number = places.next;
        places.next += 1;
        places.taken.insert(number, sender);
        (Place { number, of: self.clone() }, Lost(lost))
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The connection has asked. It is not closed for another any more; false when it has been already.
    pub(super) fn leave(&self) -> bool {
        self.of.lock().taken.remove(&self.number).is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Lost {
    /// Waits until the place is lost.
    pub(super) async fn wait(self) {
        if self.0.await.is_err() {
            // It was left.
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests;
