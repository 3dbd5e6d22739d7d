//! What a client sends on one stream: a small queue between the task that reads the connection and whoever needs the bytes.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// Pieces that wait on one stream, each at most as long as one read of the connection.
const QUEUE: usize = 8;

/// One thing that a client did on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// It sent bytes.
    Data(Bytes),
    /// It sends no more; it may still read.
    Fin,
    /// It neither sends nor reads any more.
    Reset,
}

/// The reading end. Without further items the connection is over.
#[derive(Debug)]
pub(crate) struct Incoming {
    items: mpsc::Receiver<Item>,
}

/// The connection's end.
#[derive(Debug)]
pub(crate) struct Feeder {
    items: mpsc::Sender<Item>,
    reset: Arc<AtomicBool>,
}

/// A stream's queue. The flag is set when the client resets the stream: nothing is to be sent on it any more.
pub(crate) fn queue() -> (Feeder, Incoming, Arc<AtomicBool>) {
    let (sender, items) = mpsc::channel(QUEUE);
    let reset = Arc::<AtomicBool>::default();
    (Feeder { items: sender, reset: Arc::clone(&reset) }, Incoming { items }, reset)
}

impl Feeder {
    /// Waits for space. What nobody reads any more goes nowhere.
    pub(crate) async fn give(&self, item: Item) {
        if item == Item::Reset {
            self.reset.store(true, Ordering::Release);
        }
        drop(self.items.send(item).await);
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_unread(&self) -> bool {
        self.items.is_closed()
    }
}

impl Incoming {
    pub(crate) async fn next(&mut self) -> Option<Item> {
        self.items.recv().await
    }
}
