//! From what the engine and the probes say of a pod to how far it is. Pure.

use std::sync::Arc;

use berth_engine::model::{ContainerView, SandboxView};
use berth_types::lifecycle::{container, sandbox};

use super::model::{Seen, State};
use super::names;
use crate::manifest::{RestartPolicy, Workload};

/// Whether a running container is ready.
pub(super) type IsReady<'a> = &'a dyn Fn(&ContainerView) -> bool;

/// A pod, which has been ready since `ready_since` where it is ready.
pub(super) fn seen(workload: &Workload, view: &SandboxView, is_ready: IsReady<'_>, ready_since: i64) -> Seen {
    let annotation = |key: &str| view.config.annotations.get(key).map(String::as_str);
    let latest = latest(view);
    let mains: Vec<_> = annotation(names::CONTAINERS)
        .unwrap_or_default()
        .split(',')
        .map(|name| latest.iter().copied().find(|c| c.config.metadata.name == name))
        .collect();
    let policy = workload.pod.spec.restart_policy;
    let ended_at = latest.iter().filter_map(|c| c.exit.as_ref()).map(|exit| exit.finished_at).max();
    Seen {
        name: view.config.metadata.name.clone(),
        revision: annotation(names::REVISION).unwrap_or_default().to_owned(),
        index: annotation(names::INDEX).and_then(|text| text.parse().ok()),
        created_at: view.created_at,
        state: state(workload, view, &mains, &latest, policy, (is_ready, ready_since)),
        restarts: latest.iter().fold(0, |sum, c| sum.saturating_add(c.config.metadata.attempt)),
        ended_at: ended_at.unwrap_or(view.created_at),
    }
}

/// The newest attempt of each container.
fn latest(view: &SandboxView) -> Vec<&Arc<ContainerView>> {
    let mut newest: Vec<&Arc<ContainerView>> = Vec::new();
    for container in &view.containers {
        let metadata = &container.config.metadata;
        match newest.iter_mut().find(|c| c.config.metadata.name == metadata.name) {
            Some(known) if known.config.metadata.attempt < metadata.attempt => *known = container,
            Some(_) => {}
            None => newest.push(container),
        }
    }
    newest
}

fn state(
    workload: &Workload,
    view: &SandboxView,
    mains: &[Option<&Arc<ContainerView>>],
    latest: &[&Arc<ContainerView>],
    policy: RestartPolicy,
    (is_ready, ready_since): (IsReady<'_>, i64),
) -> State {
    let code =
        |c: &ContainerView| c.exit.as_ref().filter(|_| c.state == container::State::Exited).map(|e| e.code);
    let well = |c: &Option<&Arc<ContainerView>>| c.and_then(|c| code(c)) == Some(0);
    match view.state {
        sandbox::State::Ready => {}
        sandbox::State::Starting => return State::Pending,
        sandbox::State::Stopping { .. } | sandbox::State::Removing | sandbox::State::Gone => {
            return State::Leaving;
        }
        _ if policy != RestartPolicy::Always && mains.iter().all(well) => return State::Succeeded,
        _ => return State::Failed,
    }
    let ended = |c: &Option<&Arc<ContainerView>>| match (policy, c.and_then(|c| code(c))) {
        (RestartPolicy::Always, _) | (_, None) => false,
        (RestartPolicy::OnFailure, Some(code)) => code == 0,
        (RestartPolicy::Never, Some(_)) => true,
    };
    if mains.iter().all(ended) {
        return if mains.iter().all(well) { State::Succeeded } else { State::Failed };
    }
    // An init container that failed is tried again, unless nothing is.
    let init = &workload.pod.spec.init_containers;
    let plain = |name: &str| init.iter().any(|c| c.name == name && c.restart_policy.is_none());
    let broken =
        |c: &&&Arc<ContainerView>| plain(&c.config.metadata.name) && code(c).is_some_and(|code| code != 0);
    if policy == RestartPolicy::Never && latest.iter().any(|c| broken(&c)) {
        return State::Failed;
    }
    let running = |c: &Option<&Arc<ContainerView>>| c.is_some_and(|c| c.state == container::State::Running);
    let started = |c: &Option<&Arc<ContainerView>>| c.is_some_and(|c| c.started_at.is_some());
    if mains.iter().all(|c| running(c) && c.is_some_and(|c| is_ready(c))) {
        State::Ready(ready_since)
    } else if mains.iter().all(started) {
        State::Running
    } else {
        State::Pending
    }
}

#[cfg(test)]
mod tests;
