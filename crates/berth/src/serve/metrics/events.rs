//! What the engine tells of: pulls, shims that were lost, containers that have ended.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use berth_engine::model::ExitReason;
use berth_engine::seams::Observe;
use berth_types::{Kind, metric};

use super::text::Text;
use super::{Metrics, Times};

/// How often something happened, by the word for it.
type ByWord = Mutex<BTreeMap<&'static str, u64>>;

#[derive(Debug, Default)]
pub(super) struct Events {
    pulls: ByWord,
    pull_times: Mutex<Times>,
    lost_shims: AtomicU64,
    ends: ByWord,
}

fn count(counts: &ByWord, word: &'static str) {
    *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(word).or_default() += 1;
}

impl Events {
    pub(super) fn pulled(&self, failed: Option<Kind>, took: Duration) {
        count(&self.pulls, failed.map_or("ok", Kind::word));
        if failed.is_none() {
            self.pull_times.lock().unwrap_or_else(PoisonError::into_inner).add(took);
        }
    }

    pub(super) fn lost_shim(&self) {
        self.lost_shims.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, reason: ExitReason) {
        count(&self.ends, reason.word());
    }

    pub(super) fn write(&self, text: &mut Text, fetched_bytes: u64) {
        let by = |text: &mut Text, family: metric::Family, label, counts: &ByWord| {
            text.family(family);
            for (word, count) in counts.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                text.value(family.name, &[(label, word)], count);
            }
        };
        by(text, metric::PULLS, "result", &self.pulls);
        text.family(metric::PULL_TIMES);
        let times = self.pull_times.lock().unwrap_or_else(PoisonError::into_inner).clone();
        times.write(text, metric::PULL_TIMES.name, &[]);
        text.family(metric::PULL_BYTES);
        text.value(metric::PULL_BYTES.name, &[], fetched_bytes);
        by(text, metric::ENDS, "reason", &self.ends);
        text.family(metric::SHIMS_LOST);
        text.value(metric::SHIMS_LOST.name, &[], self.lost_shims.load(Ordering::Relaxed));
    }
}

impl Observe for Metrics {
    fn pulled(&self, failed: Option<Kind>, took: Duration) {
        self.events.pulled(failed, took);
    }

    fn lost_shim(&self) {
        self.events.lost_shim();
    }

    fn ended(&self, reason: ExitReason) {
        self.events.ended(reason);
    }
}
