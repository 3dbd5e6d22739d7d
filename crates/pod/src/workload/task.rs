//! The task of one workload: looks, decides, acts.

mod act;
mod down;
mod look;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use berth_engine::{EngineEvent, Events, now};
use berth_types::error::chain;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::keep::{self, Record};
use super::model::{Action, Decision, Status};
use super::{Key, Shown, WorkloadError, Workloads, names};
use crate::controller::{Options, PodError, Progress};
use crate::manifest::Workload;

/// How long a workload waits before it tries again what could not be done: first, and at most.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(300);
/// How many pods of a workload are made at a time.
const AT_ONCE: usize = 8;

/// What a workload's task is told.
#[derive(Debug)]
pub(super) enum Command {
    /// What it wants from now on.
    Apply {
        workload: Box<Workload>,
        options: Options,
        progress: mpsc::Sender<Progress>,
        done: Done,
        /// Whether the workload has just been made.
        new: bool,
    },
    /// Remove all of it.
    Down { grace: Option<u64>, done: Done },
}

type Done = oneshot::Sender<Result<(), WorkloadError>>;

/// What came of something that was begun.
#[derive(Debug)]
enum Came {
    /// A pod was made, or could not be.
    Made { name: String, result: Result<(), PodError> },
    /// A pod was removed, or could not be.
    Removed { name: String, result: Result<(), PodError> },
    /// A job was made, or could not be, or was removed.
    Job { name: String, result: Result<(), WorkloadError> },
}

/// A pod that is being made.
#[derive(Debug, Clone)]
struct Making {
    revision: String,
    index: Option<u32>,
    at: i64,
}

/// A client that waits for what it applied.
struct Waiting {
    progress: mpsc::Sender<Progress>,
    done: Done,
}

/// A workload and what is remembered of it.
pub(super) struct Task {
    workloads: Workloads,
    key: Key,
    workload: Workload,
    revision: String,
    record: Record,
    status: Status,
    options: Options,
    making: BTreeMap<String, Making>,
    leaving: BTreeSet<String>,
    /// Since when pods are ready, by their names.
    ready: BTreeMap<String, i64>,
    work: JoinSet<Came>,
    failures: u32,
    retry_at: Option<i64>,
    message: String,
    waiting: Vec<Waiting>,
    /// Those that wait until all of it is removed.
    downs: Vec<Done>,
    grace: Option<u64>,
    /// Whether it is not written yet that the workload is removed.
    unsaid: bool,
}

/// Why the task looks again.
enum Wake {
    Look,
    Came(Came),
    Command(Command),
    Closed,
}

impl Task {
    pub(super) fn new(
        workloads: Workloads,
        key: Key,
        workload: Workload,
        record: Record,
        status: Status,
        options: Options,
    ) -> Self {
        let revision = names::revision(&workload);
        Self {
            workloads,
            key,
            workload,
            revision,
            record,
            status,
            options,
            making: BTreeMap::new(),
            leaving: BTreeSet::new(),
            ready: BTreeMap::new(),
            work: JoinSet::new(),
            failures: 0,
            retry_at: None,
            message: String::new(),
            waiting: Vec::new(),
            downs: Vec::new(),
            grace: None,
            unsaid: false,
        }
    }

    /// Until the workload is removed.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut events = self.workloads.inner.engine.events();
        let mut readiness = self.workloads.inner.pods.readiness();
        let mut changed = self.workloads.inner.changed.subscribe();
        // Nothing is made before its first command has written what is wanted.
        let mut begun = !self.record.document.is_empty();
        loop {
            let wake_at = if begun {
                match self.step().await {
                    Some(wake_at) => wake_at,
                    None => break,
                }
            } else {
                None
            };
            let woken = wait(
                &mut self.work,
                &self.record.uid,
                wake_at,
                &mut commands,
                &mut events,
                (&mut readiness, &mut changed),
            );
            match woken.await {
                Wake::Look => {}
                Wake::Came(came) => self.came(came),
                Wake::Command(Command::Apply { workload, options, progress, done, new }) => {
                    let waiting = Waiting { progress, done };
                    begun |= self.apply(*workload, options, waiting, new).await;
                    if !begun {
                        // Nothing of it was ever written: there is no such workload.
                        break;
                    }
                }
                Wake::Command(Command::Down { grace, done }) => {
                    self.begin_down(grace, done).await;
                    begun = true;
                }
                Wake::Closed => return,
            }
        }
        commands.close();
        self.end(&mut commands).await;
    }

    /// One look, and what follows. The time of the next look; nothing when all of the workload is removed.
    async fn step(&mut self) -> Option<Option<i64>> {
        if self.record.removing {
            return self.step_down();
        }
        let pods = self.look();
        let before = self.status.clone();
        let mut decision = self.decide(&pods);
        if self.status != before && !self.save_status().await {
            // What is not written must not be built on: a job would run again.
            self.status = before;
            decision = Decision { actions: Vec::new(), wake: Some(self.later()) };
        }
        self.publish(&pods, decision.wake);
        let idle = decision.actions.is_empty();
        if decision.actions.contains(&Action::RemoveSelf) {
            self.mark_removing().await;
            return self.step_down();
        }
        let blocked = self.act(decision.actions);
        if (idle || blocked) && self.work.is_empty() {
            self.settled();
        }
        let wake = decision.wake.into_iter().chain(self.retry_at.filter(|at| blocked && *at > now())).min();
        Some(wake)
    }

    /// Takes over what a manifest says. False when it could not be written.
    async fn apply(&mut self, workload: Workload, options: Options, waiting: Waiting, new: bool) -> bool {
        if self.record.removing {
            drop(waiting.done.send(Err(WorkloadError::Down(self.key.title()))));
            return false;
        }
        let same =
            !new && workload.source == self.workload.source && workload.objects() == self.workload.objects();
        if !same {
            let mut record = self.record.clone();
            record.document.clone_from(&workload.source);
            record.objects = workload.objects().source();
            if let Err(error) = self.save(&record).await {
                tracing::warn!(workload = self.key.title(), error = %chain(&error), "failed to write what is asked for");
                drop(waiting.done.send(Err(error)));
                return false;
            }
            self.record = record;
            self.revision = names::revision(&workload);
            self.workload = workload;
        }
        self.options = options;
        (self.failures, self.retry_at) = (0, None);
        self.message.clear();
        self.waiting.push(waiting);
        true
    }

    /// Tells those who wait how it stands: all pods have started, or wait for others.
    fn settled(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            drop(waiting.done.send(Ok(())));
        }
    }

    /// A pod could not be made.
    fn failed(&mut self, error: &PodError) {
        self.message = chain(error);
        self.again_later();
        tracing::warn!(
            workload = self.key.title(),
            error = self.message,
            "failed to make a pod; trying again later"
        );
        for waiting in std::mem::take(&mut self.waiting) {
            drop(waiting.done.send(Err(WorkloadError::pod(self.key.title(), error))));
        }
    }

    /// What failed is not begun again before a pause, which grows.
    fn again_later(&mut self) {
        self.failures = self.failures.saturating_add(1);
        let wait = FIRST_RETRY.saturating_mul(1 << (self.failures - 1).min(16)).min(LONGEST_RETRY);
        self.retry_at = Some(now().saturating_add(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX)));
    }

    fn later(&self) -> i64 {
        now().saturating_add(i64::try_from(FIRST_RETRY.as_nanos()).unwrap_or(i64::MAX))
    }

    async fn save(&self, record: &Record) -> Result<(), WorkloadError> {
        let (dir, record) = (self.workloads.inner.dir.clone(), record.clone());
        let path = dir.join(&record.uid);
        let saved = tokio::task::spawn_blocking(move || keep::save(&dir, &record)).await;
        let saved = saved.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        saved.map_err(|source| WorkloadError::Keep { workload: self.key.title(), path, source })
    }

    async fn save_status(&mut self) -> bool {
        let (dir, uid, status) =
            (self.workloads.inner.dir.clone(), self.record.uid.clone(), self.status.clone());
        let saved = tokio::task::spawn_blocking(move || keep::save_status(&dir, &uid, &status)).await;
        match saved.unwrap_or_else(|e| Err(std::io::Error::other(e))) {
            Ok(()) => true,
            Err(e) => {
                self.message = format!("failed to write its status: {e}");
                tracing::warn!(workload = self.key.title(), error = %e, "failed to write a workload's status");
                false
            }
        }
    }
}

/// Waits for a reason to look again.
async fn wait(
    work: &mut JoinSet<Came>,
    uid: &str,
    wake_at: Option<i64>,
    commands: &mut mpsc::Receiver<Command>,
    events: &mut Events,
    (readiness, changed): (&mut watch::Receiver<u64>, &mut watch::Receiver<u64>),
) -> Wake {
    let sleep = wake_at.map_or(Duration::from_secs(24 * 3600), |at| {
        Duration::from_nanos(u64::try_from(at.saturating_sub(now())).unwrap_or(0))
    });
    let mut timer = std::pin::pin!(tokio::time::sleep(sleep));
    loop {
        tokio::select! {
            () = &mut timer => return Wake::Look,
            Some(came) = work.join_next() => match came {
                Ok(came) => return Wake::Came(came),
                // It is looked at again; nothing of ours panics on purpose.
                Err(_) => return Wake::Look,
            },
            command = commands.recv() => return command.map_or(Wake::Closed, Wake::Command),
            Ok(()) = readiness.changed() => return Wake::Look,
            Ok(()) = changed.changed() => return Wake::Look,
            event = events.next() => match event {
                None => return Wake::Closed,
                Some(stamped) => {
                    let owner = stamped.pod.as_ref().and_then(|pod| pod.config.annotations.get(names::OWNER));
                    if matches!(stamped.event, EngineEvent::Resync) || owner.is_some_and(|owner| owner == uid) {
                        return Wake::Look;
                    }
                }
            },
        }
    }
}
