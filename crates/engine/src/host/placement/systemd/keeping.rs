//! What keeps a pod's scope whole: one at a time for each pod, and what is to be done about it. No calls to systemd.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_types::SandboxId;

/// What has to be done before a group is made in a pod's scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Nothing: it is whole.
    Nothing,
    /// It is made again: someone has ended it, or it was not made whole by a daemon that was killed or an error of systemd's.
    Again,
    /// Nothing can be: the pod's own group was in it, and its limits are not known here.
    Refused,
}

impl Keep {
    /// By whether the waiting process has its group, whether the pod's own group is there, and what the new group is called in the
    /// scope. A scope in which the waiting process has none has nothing else in it.
    pub(super) fn of(has_pause: bool, has_pod: bool, inside: &str) -> Self {
        let in_pod = inside.split_once('/').is_some_and(|(first, _)| first == super::POD);
        match (has_pause, has_pod) {
            (true, _) => Self::Nothing,
            (false, false) if in_pod => Self::Refused,
            (false, _) => Self::Again,
        }
    }
}

/// One turn at a time for each pod; pods do not wait for each other.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<SandboxId, Arc<Mutex<()>>>>);

impl Turns {
    /// Does something that must not be done twice at once for a pod.
    pub(super) fn with<T>(&self, pod: &SandboxId, work: impl FnOnce() -> T) -> T {
        let turn = Arc::clone(lock(&self.0).entry(pod.clone()).or_default());
        let done = {
            let _one = lock(&turn);
            work()
        };
        let mut turns = lock(&self.0);
        drop(turn);
        // New ones are taken from here, under this lock: with none but the one in here nobody waits.
        if turns.get(pod).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(pod);
        }
        done
    }
}

/// Nothing is half done under these locks.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
