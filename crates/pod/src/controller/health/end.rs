//! The end of a container, as a kubelet counts it: hook and stop signal share one grace.

use std::collections::BTreeSet;
use std::time::Duration;

use berth_engine::EngineError;
use berth_types::ContainerId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::super::task::there;
use crate::probe::{self, Hook, Target};

/// What a container has after its stop signal, however long its hook took.
const LEAST: Duration = Duration::from_secs(2);
/// The longest grace: beyond it, clocks end.
const LONGEST: u64 = 10 * 365 * 24 * 3600;

/// When a container is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deadline {
    at: Instant,
    /// What is left after the hook in any case.
    least: Duration,
}

impl Deadline {
    /// So many seconds from now; zero is at once, without any hook.
    pub(super) fn after(grace: u64) -> Self {
        let least = if grace == 0 { Duration::ZERO } else { LEAST };
        Self { at: Instant::now() + Duration::from_secs(grace.min(LONGEST)), least }
    }

    /// Takes another one that is earlier. True when it is.
    pub(super) fn shorten(&mut self, other: Self) -> bool {
        let earlier = other.at < self.at;
        if earlier {
            *self = other;
        }
        earlier
    }

    fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

/// What a container waits for between its hook and its stop signal.
#[derive(Debug)]
pub(super) struct Turn {
    /// These are to end before.
    pub(super) before: BTreeSet<ContainerId>,
    /// Those that were ended.
    pub(super) ended: watch::Receiver<BTreeSet<ContainerId>>,
}

impl Turn {
    async fn comes(mut self) {
        let before = self.before;
        // Whoever has the sender is the one that waits.
        self.ended.wait_for(|ended| before.is_subset(ended)).await.ok();
    }
}

/// Runs the hook, then stops the container; a deadline that is brought forward counts at once.
pub(super) async fn end(
    target: &Target,
    hook: Option<Hook>,
    turn: Turn,
    mut deadline: watch::Receiver<Deadline>,
) -> Result<(), EngineError> {
    let hook = hook.filter(|_| !deadline.borrow().left().is_zero());
    if let Some(hook) = &hook {
        let container = target.container.short().to_owned();
        tokio::select! {
            result = probe::run(target, hook) => if let Err(message) = result {
                tracing::warn!(container, message, "preStop failed: the container is stopped all the same");
            },
            () = past(&mut deadline) => {
                tracing::warn!(container, "preStop took all of the grace: the container is stopped");
            }
        }
    }
    let shared = hook.is_some() || !turn.before.is_empty();
    tokio::select! {
        () = turn.comes() => {}
        () = past(&mut deadline) => {}
    }
    loop {
        let known = *deadline.borrow_and_update();
        let grace = if shared { known.left().max(known.least) } else { known.left() };
        tokio::select! {
            stopped = target.engine.stop_container(&target.container, grace) => return there(stopped),
            Ok(()) = deadline.changed() => {}
        }
    }
}

/// Waits for a deadline, also when it is brought forward.
async fn past(deadline: &mut watch::Receiver<Deadline>) {
    loop {
        let at = deadline.borrow_and_update().at;
        tokio::select! {
            () = sleep_until(at) => return,
            Ok(()) = deadline.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests;
