//! When a container is asked, and what follows from its answers. Pure: time is what the caller says.

use std::time::Duration;

use super::{Kind, Probes, Spec};

/// What came of asking once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered as it should.
    Success,
    /// It did not.
    Failure,
    /// It could not be asked, which says nothing of it.
    Unknown,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// A probe that was begun has its answer.
    Answer(Kind, Outcome),
    /// The container could not be ended: it is asked again.
    Lives(Kind),
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Ask it; the answer comes back as an event.
    Ask(Kind),
    /// It has started.
    Started,
    /// It became ready, or no longer is.
    Ready(bool),
    /// End it: this probe failed.
    End(Kind),
}

/// The probes of one running container. A new one of the same name has a new state.
///
/// The clock is any that does not go back.
#[derive(Debug, Clone)]
pub struct State {
    workers: Vec<Worker>,
    started: bool,
    ready: bool,
}

#[derive(Debug, Clone)]
struct Worker {
    kind: Kind,
    spec: Spec,
    /// When it is asked next, unless it must not be now.
    due: Duration,
    asked: bool,
    /// Whether nothing more is asked of this container.
    done: bool,
    last: Option<Outcome>,
    in_a_row: u32,
}

impl State {
    /// Of a container that runs since `age`. `spread` is which part of its period the first probe waits
    /// in addition (0 to 1): those of many containers that are found at once are not to be begun at once.
    pub fn new(probes: &Probes, age: Duration, spread: f64, now: Duration) -> Self {
        let worker = |kind: Kind| {
            let spec = probes.get(kind)?.clone();
            let wait = spec.delay.saturating_sub(age).max(spec.period.mul_f64(spread.clamp(0.0, 1.0)));
            let due = now.saturating_add(wait);
            Some(Worker { kind, spec, due, asked: false, done: false, last: None, in_a_row: 0 })
        };
        let workers = Kind::ALL.into_iter().filter_map(worker).collect();
        let started = probes.startup.is_none();
        Self { workers, started, ready: started && probes.readiness.is_none() }
    }

    /// Whether it has started, as far as a probe tells.
    pub fn started(&self) -> bool {
        self.started
    }

    /// Whether it is ready.
    pub fn ready(&self) -> bool {
        self.ready
    }

    /// When time alone makes something happen.
    pub fn wake(&self) -> Option<Duration> {
        let waits = |w: &&Worker| self.may_ask(w);
        self.workers.iter().filter(waits).map(|w| w.due).min()
    }

    /// Takes what happened.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Tick => {}
            Event::Answer(kind, outcome) => self.answer(kind, outcome, now, &mut effects),
            Event::Lives(kind) => {
                if let Some(worker) = self.worker(kind) {
                    worker.done = false;
                    worker.after(now);
                }
            }
        }
        let due: Vec<_> =
            self.workers.iter().filter(|w| self.may_ask(w) && w.due <= now).map(|w| w.kind).collect();
        for kind in due {
            if let Some(worker) = self.worker(kind) {
                worker.asked = true;
                worker.after(now);
                effects.push(Effect::Ask(kind));
            }
        }
        effects
    }

    fn worker(&mut self, kind: Kind) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|w| w.kind == kind)
    }

    fn may_ask(&self, worker: &Worker) -> bool {
        !worker.asked && !worker.done && (self.started || worker.kind == Kind::Startup)
    }

    fn answer(&mut self, kind: Kind, outcome: Outcome, now: Duration, effects: &mut Vec<Effect>) {
        let Some(worker) = self.worker(kind).filter(|w| w.asked) else { return };
        worker.asked = false;
        if outcome == Outcome::Unknown {
            return;
        }
        worker.in_a_row = if worker.last == Some(outcome) { worker.in_a_row.saturating_add(1) } else { 1 };
        worker.last = Some(outcome);
        let success = outcome == Outcome::Success;
        if worker.in_a_row < if success { worker.spec.successes } else { worker.spec.failures } {
            return;
        }
        match (kind, success) {
            (Kind::Startup, true) => {
                worker.done = true;
                self.started = true;
                effects.push(Effect::Started);
                self.begin_others(now);
                if self.workers.iter().all(|w| w.kind != Kind::Readiness) {
                    self.set_ready(true, effects);
                }
            }
            (Kind::Startup | Kind::Liveness, false) => {
                worker.done = true;
                worker.in_a_row = 0;
                effects.push(Effect::End(kind));
            }
            (Kind::Readiness, ready) => self.set_ready(ready, effects),
            (Kind::Liveness, true) => {}
        }
    }

    /// What waited for the start: whether it is ready is asked now, whether it lives with the period that it would have.
    fn begin_others(&mut self, now: Duration) {
        for worker in &mut self.workers {
            match worker.kind {
                Kind::Readiness => worker.due = worker.due.max(now),
                Kind::Liveness if worker.due <= now => worker.after(now),
                Kind::Startup | Kind::Liveness => {}
            }
        }
    }

    fn set_ready(&mut self, ready: bool, effects: &mut Vec<Effect>) {
        if self.ready != ready {
            self.ready = ready;
            effects.push(Effect::Ready(ready));
        }
    }
}

impl Worker {
    /// The next time of its period that is not yet over: those that were missed are left out.
    fn after(&mut self, now: Duration) {
        let (period, late) = (self.spec.period.as_nanos().max(1), now.saturating_sub(self.due).as_nanos());
        let periods = u32::try_from(late / period + 1).unwrap_or(u32::MAX);
        self.due = self.due.saturating_add(self.spec.period.saturating_mul(periods));
    }
}

#[cfg(test)]
mod tests;
