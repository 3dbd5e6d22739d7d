//! What probes say of containers, for those who list them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use berth_engine::now;
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
    /// Since when it can serve, or cannot (nanoseconds since 1970).
    pub since: i64,
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

    /// Keeps since when it is so.
    pub(super) fn set(&self, id: &ContainerId, mut shown: Shown) {
        let changed = {
            let mut all = self.lock();
            let same = all.get(id).filter(|before| before.ready == shown.ready).map(|before| before.since);
            shown.since = same.unwrap_or_else(now);
            all.insert(id.clone(), shown);
            same.is_none()
        };
        if changed {
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
