//! Stage timings of the last pieces of work, for profiles of a pod's start.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use berth_types::shim::{Abilities, Answer, Request};
use berth_types::trace::SpanId;
use berth_types::{ContainerId, SandboxId};
use rustix::time::{ClockId, clock_gettime};

use crate::about::{About, Call};
use crate::shim::Shim;
use crate::status::Stages;

/// How long a shim may take to tell of its steps.
const STEPS_LIMIT: Duration = Duration::from_secs(5);
/// The most of its steps that are told.
const MOST_OF_SHIM: usize = 32;
/// Pieces of work remembered.
const KEPT: usize = 256;

/// The timings of one piece of work, from any of its tasks. Each is a span of the call that it is for.
#[derive(Debug, Clone)]
pub(crate) struct Timeline {
    began: Instant,
    stages: Arc<Mutex<Vec<(&'static str, Duration)>>>,
    call: Option<Call>,
}

impl Timeline {
    pub(crate) fn begin() -> Self {
        let call = About::now().call().filter(|call| call.is_told()).cloned();
        Self { began: Instant::now(), stages: Arc::default(), call }
    }

    /// When the work began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Tells of the shim's own steps of this container as parts of one that was remembered, behind the call's answer.
    pub(crate) fn add_shims(&self, part_of: Option<SpanId>, since: Instant, shim: &Shim, id: &ContainerId) {
        let (Some(of), Some(call)) = (part_of, self.call.clone()) else { return };
        if !shim.peer().abilities.has(Abilities::STEPS) {
            return;
        }
        let (shim, request) = (shim.clone(), Request::Steps { container: id.clone() });
        tokio::spawn(async move {
            let Ok((Answer::Steps(steps), _)) = shim.ask(request, Vec::new(), STEPS_LIMIT).await else {
                return;
            };
            // Both have the same clock.
            let (instant, clock) = (Instant::now(), clock_gettime(ClockId::Monotonic));
            let clock = Duration::try_from(clock).unwrap_or_default();
            let at = |nanos| instant.checked_sub(clock.saturating_sub(Duration::from_nanos(nanos)));
            for step in steps.into_iter().take(MOST_OF_SHIM) {
                let Some((begun, ended)) = at(step.since).zip(at(step.until)) else { continue };
                // The others are those of a step before.
                if begun >= since {
                    call.step(Some(of), &step.name, (begun, ended));
                }
            }
        });
    }

    /// Remembers that `stage` took from `since` until now. Gives the number of its span, if there is one.
    pub(crate) fn stage(&self, stage: &'static str, since: Instant) -> Option<SpanId> {
        let now = Instant::now();
        let took = now.saturating_duration_since(since);
        tracing::trace!(stage, micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX), "stage");
        self.stages.lock().expect("no code panics with this lock held").push((stage, took));
        self.call.as_ref()?.step(None, stage, (since, now))
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
