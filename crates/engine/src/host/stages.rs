//! Stage timings of the last pieces of work, for profiles of a pod's start.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use berth_types::SandboxId;

use crate::status::Stages;

/// Pieces of work remembered.
const KEPT: usize = 256;

/// The timings of one piece of work, from any of its tasks.
#[derive(Debug, Clone)]
pub(crate) struct Timeline {
    began: Instant,
    stages: Arc<Mutex<Vec<(&'static str, Duration)>>>,
}

impl Timeline {
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), stages: Arc::default() }
    }

    /// When the work began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Remembers that `stage` took from `since` until now.
    pub(crate) fn stage(&self, stage: &'static str, since: Instant) {
        let took = since.elapsed();
        tracing::trace!(stage, micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX), "stage");
        self.stages.lock().expect("no code panics with this lock held").push((stage, took));
    }
}

/// The last [`KEPT`] timings.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<VecDeque<Stages>>);

impl Log {
    pub(crate) fn add(&self, sandbox: &SandboxId, verb: &'static str, timeline: &Timeline) {
        let stages = timeline.stages.lock().expect("no code panics with this lock held").clone();
        let total = timeline.began.elapsed();
        let mut log = self.0.lock().expect("no code panics with this lock held");
        if log.len() == KEPT {
            log.pop_front();
        }
        log.push_back(Stages { sandbox: sandbox.clone(), verb, total, stages });
    }

    pub(crate) fn all(&self) -> Vec<Stages> {
        self.0.lock().expect("no code panics with this lock held").iter().cloned().collect()
    }
}
