//! Deployment, ReplicaSet and DaemonSet: as many pods as wanted, and how those of an older template are replaced. Pure.

use super::model::{Action, Decision, Seen, State, seconds};
use crate::manifest::{Roll, Set};

/// Looks at the pods. `present` is the revision of the present template.
pub(super) fn decide(set: &Set, present: &str, pods: &[Seen], now: i64) -> Decision {
    let mut decision = Decision::default();
    // What has ended never serves again.
    let ended = pods.iter().filter(|pod| pod.state.has_ended());
    decision.actions.extend(ended.map(|pod| Action::Remove(pod.name.clone())));
    let active: Vec<&Seen> = pods.iter().filter(|pod| pod.state.is_active()).collect();
    wait_for_ready(set, &active, now, &mut decision);
    let is_new = |pod: &&&Seen| set.roll == Roll::Never || pod.revision == present;
    let (new, old): (Vec<&Seen>, Vec<&Seen>) = active.iter().partition(is_new);
    match set.roll {
        Roll::Never => scale(set, new, set.replicas, now, &mut decision),
        Roll::Recreate => {
            let leaving = |pod: &Seen| pod.revision != present && pod.state == State::Leaving;
            if old.is_empty() && !pods.iter().any(leaving) {
                scale(set, new, set.replicas, now, &mut decision);
            } else {
                decision.actions.extend(old.iter().map(|pod| Action::Remove(pod.name.clone())));
            }
        }
        Roll::Rolling { surge, unavailable } => {
            let most = count(set.replicas) + count(surge);
            let room = most.saturating_sub(old.len());
            replace(set, &new, old, count(unavailable), now, &mut decision);
            let wanted = set.replicas.min(u32::try_from(room).unwrap_or(u32::MAX));
            // More new ones than wanted end, also while old ones leave no room for others.
            let target =
                if new.len() > count(set.replicas) { set.replicas } else { wanted.max(as_u32(new.len())) };
            scale(set, new, target, now, &mut decision);
        }
    }
    decision
}

fn count(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn as_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// A pod that is ready counts only later.
fn wait_for_ready(set: &Set, active: &[&Seen], now: i64, decision: &mut Decision) {
    for pod in active {
        if let State::Ready(since) = pod.state
            && !pod.state.is_available(set.min_ready, now)
        {
            decision.wake_at(since.saturating_add(seconds(set.min_ready)));
        }
    }
}

/// Makes or removes pods until there are as many; those that serve least go first.
fn scale(set: &Set, mut pods: Vec<&Seen>, wanted: u32, now: i64, decision: &mut Decision) {
    let wanted = count(wanted);
    decision.actions.extend((pods.len()..wanted).map(|_| Action::Create(None)));
    least_first(&mut pods, set.min_ready, now);
    let surplus = pods.len().saturating_sub(wanted);
    decision.actions.extend(pods.iter().take(surplus).map(|pod| Action::Remove(pod.name.clone())));
}

/// Removes old pods: those that do not serve, and of the others as many as may be missing.
fn replace(
    set: &Set,
    new: &[&Seen],
    mut old: Vec<&Seen>,
    unavailable: usize,
    now: i64,
    decision: &mut Decision,
) {
    let serves = |pod: &&Seen| pod.state.is_available(set.min_ready, now);
    let least = count(set.replicas).saturating_sub(unavailable);
    let new_serve = new.iter().copied().filter(|pod| serves(pod)).count();
    least_first(&mut old, set.min_ready, now);
    // As many as may go without leaving too few, whatever becomes of the new ones that do not serve.
    let mut total = old.len() + new_serve;
    let mut serving = old.iter().copied().filter(|pod| serves(pod)).count() + new_serve;
    for pod in old {
        let spare = if serves(&pod) { serving > least } else { total > least };
        if !spare {
            continue;
        }
        total -= 1;
        serving -= usize::from(serves(&pod));
        decision.actions.push(Action::Remove(pod.name.clone()));
    }
}

/// Pods that do not serve before those that do, and the younger before the older.
fn least_first(pods: &mut [&Seen], min_ready: u32, now: i64) {
    let rank = |pod: &Seen| match pod.state {
        State::Ready(_) if pod.state.is_available(min_ready, now) => 3,
        State::Ready(_) => 2,
        State::Running => 1,
        _ => 0,
    };
    pods.sort_by(|a, b| {
        rank(a).cmp(&rank(b)).then(b.created_at.cmp(&a.created_at)).then_with(|| a.name.cmp(&b.name))
    });
}

#[cfg(test)]
mod tests;
