//! What a client sends on one stream: a small queue between the task that reads the connection and whoever needs the bytes.

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

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
    reset: Reset,
}

/// Whether either side has given a stream up, in both directions. It is told beside the queue: nobody has to read what was sent
/// before.
#[derive(Debug, Clone)]
pub(crate) struct Reset(watch::Sender<bool>);

impl Reset {
    pub(crate) fn set(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for it.
    pub(crate) async fn wait(&self) {
        // The sender is here.
        drop(self.0.subscribe().wait_for(|reset| *reset).await);
    }
}

/// The connection's end.
#[derive(Debug)]
pub(crate) struct Feeder {
    items: mpsc::Sender<Item>,
    reset: Reset,
}

/// A stream's queue, and its end by a reset.
pub(crate) fn queue() -> (Feeder, Incoming, Reset) {
    let (sender, items) = mpsc::channel(QUEUE);
    let reset = Reset(watch::channel(false).0);
    (Feeder { items: sender, reset: reset.clone() }, Incoming { items, reset: reset.clone() }, reset)
}

impl Feeder {
    /// Waits for space. What nobody reads any more goes nowhere.
    pub(crate) async fn give(&self, item: Item) {
        if !self.reset.is_set() {
            drop(self.items.send(item).await);
        }
    }

    /// The client has given the stream up. It counts as one until its reader has let go.
    pub(crate) fn reset(&self) {
        self.reset.set();
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_unread(&self) -> bool {
        self.items.is_closed()
    }
}

impl Incoming {
    /// What came before a reset comes before it here.
    pub(crate) async fn next(&mut self) -> Option<Item> {
        tokio::select! {
            biased;
            item = self.items.recv() => item,
            () = self.reset.wait() => Some(Item::Reset),
        }
    }

    /// Waits until the connection is over. What still comes goes nowhere.
    pub(crate) async fn over(&mut self) {
        while self.items.recv().await.is_some() {}
    }

    /// The stream's end by a reset, for whoever does not read meanwhile.
    pub(crate) fn ended(&self) -> Reset {
        self.reset.clone()
    }
}
