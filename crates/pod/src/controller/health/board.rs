//! What probes say of containers, for those who list them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use berth_types::ContainerId;
use tokio::sync::watch;

/// What the probes of a running container say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// Whether it has started.
    pub started: bool,
    /// Whether it can serve.
    pub ready: bool,
    /// What a probe says whose last answer was a failure: that of the start before readiness, and that before liveness.
    pub message: String,
}

/// Containers with probes, and those whose postStart runs.
#[derive(Debug, Default)]
pub(crate) struct Board {
    shown: Mutex<BTreeMap<ContainerId, Shown>>,
    /// Told when a container got ready, or is no longer.
    changed: watch::Sender<u64>,
}

impl Board {
    pub(crate) fn get(&self, id: &ContainerId) -> Option<Shown> {
        self.lock().get(id).cloned()
    }

    pub(super) fn set(&self, id: &ContainerId, shown: Shown) {
        let ready = shown.ready;
        let before = self.lock().insert(id.clone(), shown);
        if before.is_none_or(|before| before.ready != ready) {
            self.changed.send_modify(|n| *n = n.wrapping_add(1));
        }
    }

    /// Wakes when a container got ready, or is no longer.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn remove(&self, id: &ContainerId) {
        self.lock().remove(id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ContainerId, Shown>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
