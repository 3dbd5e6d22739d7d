//! Conditions of a pod, with the reasons and messages of a kubelet.

use berth_engine::model::SandboxView;
use berth_types::lifecycle::sandbox;
use serde_json::{Value, json};

use super::{Phase, Seen, time};

/// One of them.
struct Condition {
    kind: &'static str,
    holds: bool,
    since: i64,
    reason: &'static str,
    message: String,
}

impl Condition {
    fn new(kind: &'static str, holds: bool, since: i64) -> Self {
        Self { kind, holds, since, reason: "", message: String::new() }
    }

    fn because(self, reason: &'static str, message: String) -> Self {
        Self { reason, message, ..self }
    }

    fn json(&self) -> Value {
        let word = if self.holds { "True" } else { "False" };
        let mut value = json!({ "type": self.kind, "status": word, "lastTransitionTime": time(self.since) });
        for (key, text) in [("reason", self.reason), ("message", self.message.as_str())] {
            if !text.is_empty() {
                value[key] = json!(text);
            }
        }
        value
    }
}

/// In the order in which a kubelet has them.
pub(super) fn all(view: &SandboxView, seen: &[Seen<'_>], phase: Phase) -> Value {
    let made = view.created_at;
    let ends = || seen.iter().filter_map(|one| Some(one.newest?.exit.as_ref()?.finished_at));
    let up = view.state == sandbox::State::Ready;
    let sandbox_since =
        if up || view.state == sandbox::State::Starting { made } else { ends().max().unwrap_or(made) };
    let containers = containers_ready(seen, phase, made);
    let ready = Condition {
        kind: "Ready",
        holds: containers.holds,
        since: containers.since,
        reason: containers.reason,
        message: containers.message.clone(),
    };
    [
        Condition::new("PodReadyToStartContainers", up, sandbox_since),
        initialized(seen, phase, made),
        ready,
        containers,
        Condition::new("PodScheduled", true, made),
    ]
    .iter()
    .map(Condition::json)
    .collect()
}

fn containers_ready(seen: &[Seen<'_>], phase: Phase, made: i64) -> Condition {
    let counted = || seen.iter().filter(|one| !one.init || one.sidecar);
    let unready: Vec<_> = counted().filter(|one| !one.ready()).collect();
    let since = if unready.is_empty() {
        counted().filter_map(Seen::since).max()
    } else {
        // The first of them made the pod what it is.
        unready.iter().map(|one| one.since().unwrap_or(made)).min()
    };
    let condition = Condition::new("ContainersReady", unready.is_empty(), since.unwrap_or(made));
    let terminal =
        |reason| Condition { holds: false, ..condition_of(&condition) }.because(reason, String::new());
    match phase {
        Phase::Succeeded => terminal("PodCompleted"),
        Phase::Failed => terminal("PodFailed"),
        Phase::Pending | Phase::Running if unready.is_empty() => condition,
        Phase::Pending | Phase::Running => {
            let message = format!("containers with unready status: {}", names(&unready));
            condition.because("ContainersNotReady", message)
        }
    }
}

fn condition_of(of: &Condition) -> Condition {
    Condition::new(of.kind, of.holds, of.since)
}

fn initialized(seen: &[Seen<'_>], phase: Phase, made: i64) -> Condition {
    let inits = || seen.iter().filter(|one| one.init);
    let done = |one: &&Seen<'_>| if one.sidecar { one.started() } else { one.ready() };
    let left: Vec<_> = inits().filter(|one| !done(one)).collect();
    let begun = seen.iter().any(|one| !one.init && one.newest.is_some_and(|view| view.started_at.is_some()));
    let condition = |holds, since| Condition::new("Initialized", holds, since);
    if phase == Phase::Succeeded || begun || left.is_empty() {
        let condition = condition(true, since_initialized(seen, made));
        let completed = phase == Phase::Succeeded;
        return if completed { condition.because("PodCompleted", String::new()) } else { condition };
    }
    let message = format!("containers with incomplete status: {}", names(&left));
    condition(false, made).because("ContainersNotInitialized", message)
}

/// When the last init container ended, or the last sidecar had started.
fn since_initialized(seen: &[Seen<'_>], made: i64) -> i64 {
    let inits = seen.iter().filter(|one| one.init);
    let at = |one: &Seen<'_>| match one.sidecar {
        // It may have been run again since.
        true => one.before.or(one.newest)?.started_at,
        false => one.newest?.exit.as_ref().map(|exit| exit.finished_at),
    };
    inits.filter_map(at).max().unwrap_or(made)
}

/// `[a b]`, as Go prints a list.
fn names(all: &[&Seen<'_>]) -> String {
    format!("[{}]", all.iter().map(|one| one.name).collect::<Vec<_>>().join(" "))
}
