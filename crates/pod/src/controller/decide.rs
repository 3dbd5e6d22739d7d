//! What a pod needs next, from its plan and its state. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use berth_engine::model::{ContainerView, ExitView};
use berth_types::ContainerId;
use berth_types::lifecycle::container::State;

use crate::manifest::RestartPolicy;
use crate::plan::{Plan, Planned};
use crate::restart::{Backoff, Next, init_policy};

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Make an attempt of a container.
    Create {
        /// Its name.
        name: String,
        /// Which attempt.
        attempt: u32,
    },
    /// Start a container that was made.
    Start(ContainerId),
}

/// The result of a look at the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    /// What to do now.
    pub(super) actions: Vec<Action>,
    /// Sidecars to end, since all that they are for has ended: names and ids.
    pub(super) ends: Vec<(String, ContainerId)>,
    /// When to look again, if nothing happens before (nanoseconds since 1970).
    pub(super) wake: Option<i64>,
    /// How far the pod is.
    pub(super) phase: Phase,
}

/// How far a pod is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Init containers run, or main containers are being started.
    Starting,
    /// Every main container was started once.
    Running,
    /// An init container failed for good.
    Failed {
        /// Which.
        container: String,
        /// Its exit status.
        code: i32,
    },
    /// Every container ended for good.
    Ended,
}

/// What probes and hooks say of containers.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Their postStart runs: those after them wait.
    pub(super) hooked: BTreeSet<ContainerId>,
    /// They run and have not started yet, as their probes have it, or are being ended.
    pub(super) starting: BTreeSet<ContainerId>,
    /// They were ended by a probe: however they ended, they failed.
    pub(super) failed: BTreeSet<ContainerId>,
}

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    /// The containers of the pod, of all attempts.
    pub(super) containers: &'a [Arc<ContainerView>],
    /// The container that must not start yet.
    pub(super) held: Option<&'a str>,
    /// What probes and hooks say.
    pub(super) marks: &'a Marks,
    /// The time.
    pub(super) now: i64,
}

/// What is remembered of a container's ends, so that each counts once.
#[derive(Debug, Default)]
pub(super) struct History {
    seen: BTreeMap<String, (u32, Next, Backoff)>,
}

impl History {
    /// What follows the end of this attempt.
    fn ended(&mut self, view: &ContainerView, exit: &ExitView, policy: RestartPolicy, failed: bool) -> Next {
        let metadata = &view.config.metadata;
        // A daemon that was just started has seen none of the attempts before.
        let unseen = || (u32::MAX, Next::Stay, Backoff::after(metadata.attempt));
        let (attempt, next, mut backoff) = self.seen.get(&metadata.name).copied().unwrap_or_else(unseen);
        if attempt == metadata.attempt {
            return next;
        }
        let ran = view.started_at.map_or(0, |start| exit.finished_at.saturating_sub(start));
        let ran = Duration::from_nanos(u64::try_from(ran).unwrap_or(0));
        let code = if failed && exit.code == 0 { 1 } else { exit.code };
        let next = backoff.ended(policy, code, ran);
        self.seen.insert(metadata.name.clone(), (metadata.attempt, next, backoff));
        next
    }
}

/// The status of one container.
enum Status {
    Act(Action),
    /// Waits for an event.
    Busy,
    /// Held back until its client is attached.
    Held,
    /// Another attempt is due then.
    Later(i64),
    Runs,
    /// Runs, and has not started as its probes have it.
    Unready,
    /// Runs, and its postStart beside it.
    Hooked,
    Done {
        code: i32,
    },
}

/// Looks at the pod.
pub(super) fn decide(plan: &Plan, look: &Look<'_>, history: &mut History) -> Decision {
    let (beside, waits) = init(plan, look, history);
    let rest = waits.unwrap_or_else(|| mains(plan, look, history));
    match rest.phase {
        Phase::Ended | Phase::Failed { .. } => without_sidecars(plan, look, rest),
        Phase::Starting | Phase::Running => Decision {
            actions: [beside.actions, rest.actions].concat(),
            wake: earlier(beside.wake, rest.wake),
            ..rest
        },
    }
}

/// What sidecars need beside what comes after them, and what the pod waits for before its main containers.
fn init(plan: &Plan, look: &Look<'_>, history: &mut History) -> (Decision, Option<Decision>) {
    let mut beside = at(Phase::Running);
    for (index, planned) in plan.init.iter().enumerate() {
        let policy = if planned.sidecar { RestartPolicy::Always } else { init_policy(plan.restart) };
        let (name, status) = (planned.name(), status(planned, look, history, policy));
        let waits = match status {
            Status::Runs | Status::Done { .. } if planned.sidecar => None,
            Status::Done { code: 0 } => None,
            Status::Done { code } => Some(at(Phase::Failed { container: name.to_owned(), code })),
            Status::Act(action) => Some(Decision { actions: vec![action], ..at(Phase::Starting) }),
            Status::Later(wake) => Some(Decision { wake: Some(wake), ..at(Phase::Starting) }),
            Status::Busy | Status::Runs | Status::Unready | Status::Hooked | Status::Held => {
                Some(at(Phase::Starting))
            }
        };
        match waits {
            None => {}
            // What came after it goes on.
            Some(waits) if planned.sidecar && begun(&plan.init[index + 1..], &plan.main, look) => {
                beside.actions.extend(waits.actions);
                beside.wake = earlier(beside.wake, waits.wake);
            }
            Some(waits) => return (beside, Some(waits)),
        }
    }
    (beside, None)
}

/// Whether one of these containers was made.
fn begun(init: &[Planned], main: &[Planned], look: &Look<'_>) -> bool {
    let mut made = look.containers.iter().map(|view| view.config.metadata.name.as_str());
    made.any(|name| init.iter().chain(main).any(|planned| planned.name() == name))
}

/// A pod whose containers have ended for good ends its sidecars, and then itself.
fn without_sidecars(plan: &Plan, look: &Look<'_>, rest: Decision) -> Decision {
    let runs = |view: &&Arc<ContainerView>| matches!(view.state, State::Running | State::Stopping { .. });
    let name = |view: &Arc<ContainerView>| view.config.metadata.name.clone();
    let sidecar = |view: &&Arc<ContainerView>| {
        plan.init.iter().any(|planned| planned.sidecar && planned.name() == view.config.metadata.name)
    };
    let ends: Vec<_> = look
        .containers
        .iter()
        .filter(runs)
        .filter(sidecar)
        .map(|view| (name(view), view.id.clone()))
        .collect();
    let phase = if ends.is_empty() || rest.phase != Phase::Ended { rest.phase } else { Phase::Running };
    Decision { ends, phase, ..rest }
}

fn earlier(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    one.into_iter().chain(other).min()
}

fn at(phase: Phase) -> Decision {
    Decision { actions: Vec::new(), ends: Vec::new(), wake: None, phase }
}

fn mains(plan: &Plan, look: &Look<'_>, history: &mut History) -> Decision {
    let mut decision = at(Phase::Running);
    let mut ended = 0;
    for planned in &plan.main {
        let attempt = newest(planned.name(), look).map_or(0, |view| view.config.metadata.attempt);
        match status(planned, look, history, plan.restart_of(attempt)) {
            Status::Act(action) => {
                let first = matches!(&action, Action::Create { attempt: 0, .. } | Action::Start(_));
                if first {
                    decision.phase = Phase::Starting;
                }
                let hook = matches!(action, Action::Start(_)) && planned.hooks.post_start.is_some();
                decision.actions.push(action);
                if hook {
                    break;
                }
            }
            // The next ones are started after it.
            Status::Hooked => {
                decision.phase = Phase::Starting;
                break;
            }
            Status::Later(wake) => decision.wake = earlier(decision.wake, Some(wake)),
            Status::Busy => decision.phase = Phase::Starting,
            Status::Done { .. } => ended += 1,
            Status::Runs | Status::Unready | Status::Held => {}
        }
    }
    if ended == plan.main.len() {
        decision.phase = Phase::Ended;
    }
    decision
}

/// The newest attempt of a container.
fn newest<'a>(name: &str, look: &Look<'a>) -> Option<&'a Arc<ContainerView>> {
    let attempts = look.containers.iter().filter(|view| view.config.metadata.name == name);
    attempts.max_by_key(|view| view.config.metadata.attempt)
}

fn status(planned: &Planned, look: &Look<'_>, history: &mut History, policy: RestartPolicy) -> Status {
    let name = &planned.config.metadata.name;
    let Some(view) = newest(name, look) else {
        return Status::Act(Action::Create { name: name.clone(), attempt: 0 });
    };
    match view.state {
        State::Created if look.held == Some(name) => Status::Held,
        State::Created => Status::Act(Action::Start(view.id.clone())),
        State::Creating | State::Starting | State::Removing | State::Gone => Status::Busy,
        State::Running if look.marks.hooked.contains(&view.id) => Status::Hooked,
        State::Running | State::Stopping { .. } if look.marks.starting.contains(&view.id) => Status::Unready,
        State::Running | State::Stopping { .. } | State::Unknown => Status::Runs,
        State::Exited => {
            let Some(exit) = &view.exit else { return Status::Busy };
            match history.ended(view, exit, policy, look.marks.failed.contains(&view.id)) {
                Next::Stay => Status::Done { code: exit.code },
                Next::Again(wait) => {
                    let due =
                        exit.finished_at.saturating_add(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX));
                    if due > look.now {
                        Status::Later(due)
                    } else {
                        Status::Act(Action::Create {
                            name: name.clone(),
                            attempt: view.config.metadata.attempt + 1,
                        })
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
