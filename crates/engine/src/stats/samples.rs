//! Samples by what they are of, and when one may be given: pure but for the clock that the caller reads.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::{AGAIN, OLDEST, TICK};

/// The last sample of each thing.
#[derive(Debug)]
pub(super) struct Samples<K, S> {
    last: HashMap<K, Sample<S>>,
    asked: Option<Instant>,
}

#[derive(Debug)]
struct Sample<S> {
    is: S,
    read: Instant,
    /// When it was first given to a caller.
    given: Option<Instant>,
}

impl<K, S> Default for Samples<K, S> {
    fn default() -> Self {
        Self { last: HashMap::new(), asked: None }
    }
}

impl<K: Eq + Hash + Clone, S: Clone> Samples<K, S> {
    /// Somebody asks for these.
    pub(super) fn asked(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// Whether somebody asked less than so long ago.
    pub(super) fn wanted(&self, now: Instant, within: Duration) -> bool {
        self.asked.is_some_and(|at| now.saturating_duration_since(at) < within)
    }

    /// The sample of a thing, if it may be given now.
    pub(super) fn give(&mut self, key: &K, now: Instant) -> Option<S> {
        let sample = self.last.get_mut(key)?;
        let since = |at: Instant| now.saturating_duration_since(at);
        if since(sample.read) > OLDEST || sample.given.is_some_and(|at| since(at) > AGAIN) {
            return None;
        }
        sample.given.get_or_insert(now);
        Some(sample.is.clone())
    }

    /// The last sample of a thing, however old.
    pub(super) fn last(&self, key: &K) -> Option<&S> {
        self.last.get(key).map(|sample| &sample.is)
    }

    /// Keeps a new sample.
    pub(super) fn put(&mut self, key: K, is: S, now: Instant, given: bool) {
        self.last.insert(key, Sample { is, read: now, given: given.then_some(now) });
    }

    /// Whether a thing is to be read in this tick: not when a call has read it in the half before.
    pub(super) fn is_due(&self, key: &K, now: Instant) -> bool {
        self.last.get(key).is_none_or(|sample| now.saturating_duration_since(sample.read) >= TICK / 2)
    }

    /// Drops the samples of all other things.
    pub(super) fn retain(&mut self, keys: &[&K]) {
        let keys: HashSet<&K> = keys.iter().copied().collect();
        self.last.retain(|key, _| keys.contains(key));
    }
}
