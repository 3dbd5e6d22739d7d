//! Statuses of containers.

use std::time::Duration;

use berth_engine::model::{ContainerView, SandboxView};
use berth_types::lifecycle::container::State;
use serde_json::{Map, Value, json};

use super::{Seen, time};
use crate::restart::{FIRST, LONGEST};
use crate::termination::message;

/// Those of some of a pod's containers; nothing where there are none.
pub(super) fn statuses(pod: &SandboxView, some: &[&Seen<'_>], all: &[Seen<'_>]) -> Value {
    if some.is_empty() {
        return Value::Null;
    }
    let initialized = all.iter().filter(|one| one.init).all(|one| one.ready() || one.started());
    some.iter().map(|one| status(pod, one, initialized)).collect()
}

fn status(pod: &SandboxView, seen: &Seen<'_>, initialized: bool) -> Value {
    let (state, last) = states(pod, seen, initialized);
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| {
        fields.insert(key.to_owned(), value);
    };
    put("name", json!(seen.name));
    put("state", state);
    put("lastState", last);
    put("ready", json!(seen.ready()));
    put("started", json!(seen.started()));
    put("restartCount", json!(seen.newest.map_or(0, |view| view.config.metadata.attempt)));
    let Some(view) = seen.newest else {
        put("image", json!(""));
        put("imageID", json!(""));
        return Value::Object(fields);
    };
    let image = &view.config.image;
    let named = if image.user_specified.is_empty() { &image.image } else { &image.user_specified };
    put("image", json!(named));
    put("imageID", json!(if view.image_ref.is_empty() { &view.image_id } else { &view.image_ref }));
    put("containerID", json!(id(view)));
    if view.started_at.is_some() {
        let groups = &view.user.groups;
        let user = json!({ "uid": view.user.uid, "gid": view.user.gid, "supplementalGroups": groups });
        put("user", json!({ "linux": user }));
    }
    Value::Object(fields)
}

fn id(view: &ContainerView) -> String {
    format!("berth://{}", view.id)
}

/// `state` and `lastState`.
fn states(pod: &SandboxView, seen: &Seen<'_>, initialized: bool) -> (Value, Value) {
    let before = || seen.before.map_or_else(|| json!({}), terminated);
    let waiting = |reason: &str, message: String| {
        let mut state = json!({ "reason": reason });
        if !message.is_empty() {
            state["message"] = json!(message);
        }
        json!({ "waiting": state })
    };
    let Some(view) = seen.newest else {
        let reason = if seen.init || !initialized { "PodInitializing" } else { "ContainerCreating" };
        return (waiting(reason, String::new()), json!({}));
    };
    match view.state {
        State::Running | State::Stopping { .. } => {
            let since = view.started_at.map_or(Value::Null, time);
            (json!({ "running": { "startedAt": since } }), before())
        }
        State::Exited if seen.again && view.config.metadata.attempt > 0 => {
            (waiting("CrashLoopBackOff", back_off(pod, view)), terminated(view))
        }
        State::Exited | State::Unknown | State::Removing | State::Gone => (terminated(view), before()),
        State::Creating | State::Created | State::Starting => {
            (waiting("ContainerCreating", String::new()), before())
        }
    }
}

fn back_off(pod: &SandboxView, view: &ContainerView) -> String {
    let doublings = view.config.metadata.attempt.saturating_sub(1).min(16);
    let wait: Duration = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let (minutes, seconds) = (wait.as_secs() / 60, wait.as_secs() % 60);
    let wait = if minutes > 0 { format!("{minutes}m{seconds}s") } else { format!("{seconds}s") };
    let of = &pod.config.metadata;
    let name = &view.config.metadata.name;
    format!("back-off {wait} restarting failed container={name} pod={}_{}({})", of.name, of.namespace, of.uid)
}

fn terminated(view: &ContainerView) -> Value {
    let mut state = json!({ "containerID": id(view) });
    if let Some(started) = view.started_at {
        state["startedAt"] = time(started);
    }
    match &view.exit {
        Some(exit) => {
            state["exitCode"] = json!(exit.code);
            state["reason"] = json!(exit.reason.word());
            state["finishedAt"] = time(exit.finished_at);
            let message = message(view, exit);
            if !message.is_empty() {
                state["message"] = json!(message);
            }
        }
        None => {
            state["exitCode"] = json!(137);
            state["reason"] = json!("ContainerStatusUnknown");
        }
    }
    json!({ "terminated": state })
}
