//! What goes on beside a pod's containers: their probes and hooks, and the ends that these ask for. What follows from an
//! answer is decided by [`crate::probe::state`].

mod board;
mod end;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use berth_engine::model::{ContainerView, SandboxView};
use berth_engine::{Engine, EngineError, now};
use berth_types::ContainerId;
use berth_types::error::chain;
use berth_types::lifecycle::container::State as Phase;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::decide::Marks;
use crate::plan::{Plan, Planned};
use crate::probe::state::{Effect, Event, Outcome, State};
use crate::probe::{self, Answer, Kind, Target};

pub(crate) use board::Board;
pub use board::Shown;
use end::Deadline;

/// Containers that are asked at the same time, of all pods. Each is asked by one probe of a kind at a time.
const MAX_ASKED: usize = 128;
/// Until what did not end is ended again.
const RETRY: Duration = Duration::from_secs(10);

/// How often it is looked whether a paused container goes on.
const PAUSED: Duration = Duration::from_secs(1);

/// What the pods of an engine share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) board: Board,
    asked: Semaphore,
}

impl Default for Shared {
    fn default() -> Self {
        Self { board: Board::default(), asked: Semaphore::new(MAX_ASKED) }
    }
}

/// The probes, hooks and ends of one pod.
#[derive(Debug)]
pub(super) struct Health {
    engine: Engine,
    shared: Arc<Shared>,
    /// Where the pod is reached.
    address: Option<IpAddr>,
    begun: Instant,
    /// Whether the next look finds containers of an earlier daemon.
    adopts: bool,
    watched: BTreeMap<ContainerId, Watched>,
    hooks: BTreeMap<ContainerId, AbortHandle>,
    ends: BTreeMap<ContainerId, watch::Sender<Deadline>>,
    /// The probes that containers failed.
    failed: BTreeMap<ContainerId, Kind>,
    /// Those that were ended, for those that wait for them.
    ended: watch::Sender<BTreeSet<ContainerId>>,
    /// Those that did not end, and when they are ended again.
    stuck: BTreeMap<ContainerId, Instant>,
    marks: Marks,
    asking: JoinSet<Report>,
    jobs: JoinSet<Report>,
}

#[derive(Debug)]
struct Watched {
    name: String,
    state: State,
    /// What its probes say that failed last.
    said: BTreeMap<Kind, String>,
}

/// What came of a task.
#[derive(Debug)]
pub(super) enum Report {
    Answer(ContainerId, Kind, Answer),
    PostStart(ContainerId, Result<(), String>),
    Ended(ContainerId, Result<(), EngineError>),
}

impl Health {
    /// Of a pod that begins.
    pub(super) fn new(engine: Engine, shared: Arc<Shared>) -> Self {
        Self {
            engine,
            shared,
            address: None,
            begun: Instant::now(),
            adopts: false,
            watched: BTreeMap::new(),
            hooks: BTreeMap::new(),
            ends: BTreeMap::new(),
            failed: BTreeMap::new(),
            ended: watch::Sender::default(),
            stuck: BTreeMap::new(),
            marks: Marks::default(),
            asking: JoinSet::new(),
            jobs: JoinSet::new(),
        }
    }

    /// The pod is one that an earlier daemon left.
    pub(super) fn adopt(&mut self) {
        self.adopts = true;
    }

    /// What the decision about the pod needs to know.
    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Follows what became of the containers, and asks those that it is time for.
    pub(super) fn look(&mut self, plan: &Plan, view: &SandboxView, address: Option<IpAddr>) {
        self.address = address;
        let running: BTreeMap<&ContainerId, &Arc<ContainerView>> =
            view.containers.iter().filter(|c| c.state == Phase::Running).map(|c| (&c.id, c)).collect();
        let there: BTreeSet<&ContainerId> = view.containers.iter().map(|c| &c.id).collect();
        let gone: Vec<_> = self
            .watched
            .keys()
            .chain(self.hooks.keys())
            .filter(|id| !running.contains_key(id))
            .cloned()
            .collect();
        for id in gone {
            self.forget(&id);
        }
        self.failed.retain(|id, _| there.contains(id));
        self.stuck.retain(|id, until| there.contains(id) && *until > Instant::now());
        self.ended.send_modify(|ended| ended.retain(|id| there.contains(id)));
        for (id, container) in running {
            if !self.watched.contains_key(id) && !self.hooks.contains_key(id) && !self.ends.contains_key(id) {
                self.watch(plan, container);
            }
        }
        self.adopts = false;
        let ids: Vec<_> = self.watched.keys().cloned().collect();
        for id in ids {
            self.step(plan, &id, Event::Tick);
        }
        self.mark();
    }

    fn watch(&mut self, plan: &Plan, container: &ContainerView) {
        let name = &container.config.metadata.name;
        let Some(planned) = plan.named(name).filter(|planned| !planned.probes.is_empty()) else { return };
        let age = container.started_at.map_or(0, |started| now().saturating_sub(started));
        let age = Duration::from_nanos(u64::try_from(age).unwrap_or(0));
        // Those of all pods of an earlier daemon are found at once.
        let spread = if self.adopts { part(&container.id) } else { 0.0 };
        let state = State::new(&planned.probes, age, spread, self.begun.elapsed());
        self.watched
            .insert(container.id.clone(), Watched { name: name.clone(), state, said: BTreeMap::new() });
        self.show(&container.id);
    }

    /// Runs the hook of a container that was just started.
    pub(super) fn started(&mut self, planned: &Planned, container: &ContainerId) {
        let Some(hook) = planned.hooks.post_start.clone() else { return };
        let (id, target) = (container.clone(), self.target(container));
        let job = async move { Report::PostStart(id, probe::run(&target, &hook).await) };
        let handle = self.jobs.spawn(job);
        self.hooks.insert(container.clone(), handle);
        self.shared.board.set(container, Shown::default());
        self.mark();
    }

    /// When time alone makes something happen.
    pub(super) fn wake(&self) -> Option<Instant> {
        let probes = self.watched.values().filter_map(|watched| watched.state.wake());
        probes.map(|next| self.begun + next).chain(self.stuck.values().copied()).min()
    }

    /// What came of the next task that ends. It may be dropped at any time.
    pub(super) async fn next(&mut self) -> Report {
        loop {
            let report = tokio::select! {
                Some(report) = self.asking.join_next() => report,
                Some(report) = self.jobs.join_next() => report,
                else => std::future::pending().await,
            };
            // One that was cancelled reports nothing.
            if let Ok(report) = report {
                return report;
            }
        }
    }

    /// Takes what came of a task. The result is something that a user who waits for the pod should know.
    pub(super) fn take(&mut self, plan: &Plan, report: Report) -> Option<String> {
        let note = match report {
            Report::Answer(id, kind, answer) => self.answer(plan, &id, kind, &answer),
            Report::PostStart(id, result) => self.hooked(plan, &id, result),
            Report::Ended(id, result) => {
                self.ends.remove(&id);
                if result.is_ok() {
                    self.ended.send_if_modified(|ended| ended.insert(id.clone()));
                }
                if let Err(e) = result {
                    self.stuck.insert(id.clone(), Instant::now() + RETRY);
                    tracing::warn!(pod = plan.name(), container = id.short(), error = %chain(&e), "a container did not end");
                    if let Some(kind) = self.failed.remove(&id) {
                        self.step(plan, &id, Event::Lives(kind));
                    }
                }
                None
            }
        };
        self.mark();
        note
    }

    /// The postStart of a container has ended.
    fn hooked(&mut self, plan: &Plan, id: &ContainerId, result: Result<(), String>) -> Option<String> {
        self.hooks.remove(id);
        self.shared.board.remove(id);
        let container = self.engine.container(id.as_str()).ok()?;
        let Err(message) = result else {
            if container.state == Phase::Running {
                self.watch(plan, &container);
            }
            return None;
        };
        let name = &container.config.metadata.name;
        tracing::warn!(
            pod = plan.name(),
            container = name,
            message,
            "postStart failed: the container is ended"
        );
        self.end_one(plan, name, id, plan.grace);
        Some(format!("container {name} is ended: postStart failed: {message}"))
    }

    fn answer(&mut self, plan: &Plan, id: &ContainerId, kind: Kind, answer: &Answer) -> Option<String> {
        let watched = self.watched.get_mut(id)?;
        if answer.outcome != Outcome::Success {
            let message = format!("{} probe failed: {}", kind.word(), answer.message);
            tracing::debug!(pod = plan.name(), container = watched.name, message);
            watched.said.insert(kind, message);
        } else {
            watched.said.remove(&kind);
        }
        let (name, message) = (watched.name.clone(), watched.said.get(&kind).cloned().unwrap_or_default());
        let ends = self.step(plan, id, Event::Answer(kind, answer.outcome));
        self.show(id);
        ends.then(|| format!("container {name} is ended: {message}"))
    }

    /// Feeds a container's state, and does what follows. True when the container is ended.
    fn step(&mut self, plan: &Plan, id: &ContainerId, event: Event) -> bool {
        let now = self.begun.elapsed();
        let Some(watched) = self.watched.get_mut(id) else { return false };
        let (name, mut ends) = (watched.name.clone(), false);
        for effect in watched.state.step(now, event) {
            match effect {
                Effect::Ask(kind) => self.ask(plan, &name, id, kind),
                Effect::Started | Effect::Ready(_) => {
                    tracing::debug!(
                        pod = plan.name(),
                        container = name,
                        ?effect,
                        "a probe changed its result"
                    );
                }
                Effect::End(kind) => {
                    ends = true;
                    self.failed.insert(id.clone(), kind);
                    let own = plan.named(&name).and_then(|planned| planned.probes.get(kind)?.grace);
                    let message = self.watched.get(id).and_then(|watched| watched.said.get(&kind));
                    tracing::warn!(pod = plan.name(), container = name, message, "the container is ended");
                    self.end_one(plan, &name, id, own.unwrap_or(plan.grace));
                }
            }
        }
        ends
    }

    fn ask(&mut self, plan: &Plan, name: &str, id: &ContainerId, kind: Kind) {
        let Some(spec) = plan.named(name).and_then(|planned| planned.probes.get(kind)).cloned() else {
            return;
        };
        let (shared, target, id) = (self.shared.clone(), self.target(id), id.clone());
        self.asking.spawn(async move {
            let ask = || async {
                // It is never closed. A paused container has none of the places while it is waited for.
                let _one_of_many = shared.asked.acquire().await;
                probe::ask(&target, &spec).await
            };
            Report::Answer(id, kind, unpaused(&target, ask).await)
        });
    }

    /// Ends a container within so many seconds, its hook first. One that is being ended gets the shorter time.
    fn end_one(&mut self, plan: &Plan, name: &str, id: &ContainerId, grace: u64) {
        self.end_after(plan, name, id, grace, BTreeSet::new());
    }

    /// Ends these containers side by side; sidecars after all that were begun after them.
    pub(super) fn end_all(&mut self, plan: &Plan, all: &[(String, ContainerId)], grace: u64) {
        let place =
            |name: &str| plan.init.iter().position(|planned| planned.sidecar && planned.name() == name);
        for (name, id) in all {
            let later = |other: &str| place(name).is_some_and(|own| place(other).is_none_or(|at| at > own));
            let before = all.iter().filter(|(other, _)| later(other)).map(|(_, id)| id.clone()).collect();
            self.end_after(plan, name, id, grace, before);
        }
    }

    /// Ends sidecars whose pod has ended; one that did not end is given some time before the next attempt.
    pub(super) fn end_sidecars(&mut self, plan: &Plan, sidecars: &[(String, ContainerId)]) {
        let fresh =
            sidecars.iter().filter(|(_, id)| !self.ends.contains_key(id) && !self.stuck.contains_key(id));
        let fresh: Vec<_> = fresh.cloned().collect();
        self.end_all(plan, &fresh, plan.grace);
    }

    /// Ends a container after those, if they end in time.
    fn end_after(
        &mut self,
        plan: &Plan,
        name: &str,
        id: &ContainerId,
        grace: u64,
        before: BTreeSet<ContainerId>,
    ) {
        let deadline = Deadline::after(grace);
        if let Some(told) = self.ends.get(id) {
            told.send_if_modified(|known| known.shorten(deadline));
            return;
        }
        let (told, deadline) = watch::channel(deadline);
        self.ends.insert(id.clone(), told);
        let hook = plan.named(name).and_then(|planned| planned.hooks.pre_stop.clone());
        let (target, id, ended) = (self.target(id), id.clone(), self.ended.subscribe());
        let turn = end::Turn { before, ended };
        self.jobs.spawn(async move { Report::Ended(id, end::end(&target, hook, turn, deadline).await) });
    }

    /// Asks no more, and ends what runs.
    pub(super) fn stop_asking(&mut self) {
        self.asking.abort_all();
        let all: Vec<_> = self.watched.keys().chain(self.hooks.keys()).cloned().collect();
        for id in all {
            self.forget(&id);
        }
        self.mark();
    }

    /// Whether a container is being ended.
    pub(super) fn ends(&self) -> bool {
        !self.ends.is_empty()
    }

    fn forget(&mut self, id: &ContainerId) {
        self.watched.remove(id);
        if let Some(hook) = self.hooks.remove(id) {
            hook.abort();
        }
        self.shared.board.remove(id);
    }

    fn mark(&mut self) {
        self.marks.hooked = self.hooks.keys().cloned().collect();
        let starting = self.watched.iter().filter(|(_, watched)| !watched.state.started()).map(|(id, _)| id);
        self.marks.starting = starting.chain(self.ends.keys()).cloned().collect();
        self.marks.failed = self.failed.keys().cloned().collect();
    }

    fn show(&self, id: &ContainerId) {
        if let Some(Watched { state, said, .. }) = self.watched.get(id) {
            let message = said.values().next().cloned().unwrap_or_default();
            self.shared
                .board
                .set(id, Shown { started: state.started(), ready: state.ready(), message, since: 0 });
        }
    }

    fn target(&self, id: &ContainerId) -> Target {
        Target { engine: self.engine.clone(), container: id.clone(), address: self.address }
    }
}

/// The answer of a container that was not paused meanwhile: one that is paused can give none.
async fn unpaused<F: Future<Output = Answer>>(target: &Target, ask: impl Fn() -> F) -> Answer {
    let is_paused = || {
        let view = target.engine.container(target.container.as_str());
        view.is_ok_and(|view| target.engine.is_paused(&view))
    };
    loop {
        while is_paused() {
            tokio::time::sleep(PAUSED).await;
        }
        let answer = ask().await;
        if answer.outcome == Outcome::Success || !is_paused() {
            return answer;
        }
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.stop_asking();
    }
}

/// A part of a period by a container's id: from 0 to 1, as evenly as ids are.
fn part(id: &ContainerId) -> f64 {
    let digits = id.as_str().get(..4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
    f64::from(digits.unwrap_or(0)) / f64::from(u16::MAX)
}
