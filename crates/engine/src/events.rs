//! Events for watchers. The queue of each watcher is bounded: one that is too slow
//! is told to look at the lists again, and never delays a pod.

use std::sync::Arc;

use berth_types::lifecycle::{container, sandbox};
use berth_types::{ContainerId, SandboxId};
use tokio::sync::broadcast;

use crate::model::{ContainerView, SandboxView};

/// Events kept for a slow watcher.
pub(crate) const CAPACITY: usize = 1024;

/// What happened. The views are those of that moment.
#[derive(Debug, Clone)]
pub enum EngineEvent {
    /// A sandbox was made or changed its state.
    Sandbox {
        /// As it is now.
        now: Arc<SandboxView>,
        /// The state before; None when it is new.
        before: Option<sandbox::State>,
    },
    /// A sandbox was removed.
    SandboxRemoved(SandboxId),
    /// A container was made or changed its state.
    Container {
        /// As it is now.
        now: Arc<ContainerView>,
        /// The state before; None when it is new.
        before: Option<container::State>,
    },
    /// A container was removed.
    ContainerRemoved {
        /// Where it was.
        sandbox: SandboxId,
        /// Which.
        container: ContainerId,
    },
    /// This watcher missed events: look at the lists again.
    Resync,
}

/// An event with the time it was captured.
#[derive(Debug, Clone)]
pub struct Stamped {
    /// Nanoseconds since 1970.
    pub at: i64,
    /// The pod right after it; of one that was removed, as it was last. None for [`EngineEvent::Resync`].
    pub pod: Option<Arc<SandboxView>>,
    /// What happened.
    pub event: EngineEvent,
}

/// One watcher's view of the events.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Stamped>,
}

impl Events {
    pub(crate) fn new(receiver: broadcast::Receiver<Stamped>) -> Self {
        Self { receiver }
    }

    /// The next event; None when the engine is closed.
    pub async fn next(&mut self) -> Option<Stamped> {
        match self.receiver.recv().await {
            Ok(stamped) => Some(stamped),
            Err(broadcast::error::RecvError::Lagged(_)) => {
                Some(Stamped { at: crate::host::clock::now(), pod: None, event: EngineEvent::Resync })
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
