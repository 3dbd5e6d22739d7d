//! Changes of containers that plugins want: made one after the other by one task, in the order in which plugins wanted them.
//! The task waits for the owners of pods alone.

use tokio::sync::{mpsc, oneshot};

use crate::api::ContainerUpdate;
use crate::connection::Connection;
use crate::service::{NriError, Service};

/// Answers whose changes wait for those of others.
pub(crate) const MAX_BATCHES: usize = 64;

/// The changes of one answer or call.
#[derive(Debug)]
pub(crate) struct Batch {
    updates: Vec<ContainerUpdate>,
    /// Who asks by itself: when it has gone, the rest is not made.
    by: Option<Connection>,
    reply: oneshot::Sender<Vec<Failure>>,
}

/// A change that was not made.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) update: ContainerUpdate,
    pub(crate) error: NriError,
}

/// Changes that are made as soon as those before them are, whether this is waited for or not.
#[derive(Debug)]
pub(crate) struct Pending(oneshot::Receiver<Vec<Failure>>);

impl Batch {
    pub(crate) fn new(updates: Vec<ContainerUpdate>, by: Option<Connection>) -> (Self, Pending) {
        let (reply, pending) = oneshot::channel();
        (Self { updates, by, reply }, Pending(pending))
    }
}

impl Pending {
    /// No change, which waits for no others.
    pub(crate) fn nothing() -> Self {
        let (reply, pending) = oneshot::channel();
        drop(reply.send(Vec::new()));
        Self(pending)
    }

    /// Those that failed.
    pub(crate) async fn failures(self) -> Result<Vec<Failure>, NriError> {
        self.0.await.map_err(|_| NriError::Ended)
    }

    /// The first failure that counts.
    pub(crate) async fn done(self) -> Result<(), NriError> {
        let mut first = Ok(());
        for Failure { update, error } in self.failures().await? {
            if !update.ignore_failure {
                first = first.and(Err(error));
                continue;
            }
            let (container, error) = (update.container_id, berth_types::error::chain(&error));
            tracing::warn!(container, error, "an update that an NRI plugin wants failed, which it allows");
        }
        first
    }
}

/// Makes changes as long as the daemon works.
pub(crate) async fn run(service: Service, mut batches: mpsc::Receiver<Batch>) {
    while let Some(Batch { updates, by, reply }) = batches.recv().await {
        let mut failures = Vec::new();
        for update in updates {
            if by.as_ref().is_some_and(Connection::has_ended) {
                break;
            }
            if let Err(error) = service.update_one(&update).await {
                failures.push(Failure { update, error });
            }
        }
        // Nobody may wait for it.
        drop(reply.send(failures));
    }
}

#[cfg(test)]
mod tests;
