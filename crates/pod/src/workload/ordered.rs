//! StatefulSet: pods with numbers, made from the first up and ended from the last down. Pure.

use super::model::{Action, Decision, Seen, State, seconds};
use crate::manifest::Ordered;

/// Looks at the pods. `present` is the revision of the present template.
pub(super) fn decide(set: &Ordered, present: &str, pods: &[Seen], now: i64) -> Decision {
    let mut decision = Decision::default();
    let wanted = set.first..set.first.saturating_add(set.replicas);
    let of = |number: u32| pods.iter().find(|pod| pod.index == Some(number));
    let available = |pod: &Seen| pod.state.is_available(set.min_ready, now);
    for pod in pods {
        if let State::Ready(since) = pod.state
            && !available(pod)
        {
            decision.wake_at(since.saturating_add(seconds(set.min_ready)));
        }
    }
    // Up: each waits for those before it.
    for number in wanted.clone() {
        match of(number) {
            None => decision.actions.push(Action::Create(Some(number))),
            Some(pod) if pod.state.has_ended() => decision.actions.push(Action::Remove(pod.name.clone())),
            Some(pod) if available(pod) => continue,
            Some(_) => {}
        }
        if !set.parallel {
            // A pod that does not get ready must not keep its own replacement away.
            replace(set, present, pods, now, &mut decision);
            return decision;
        }
    }
    // Down, from the last.
    let mut surplus: Vec<&Seen> =
        pods.iter().filter(|pod| pod.index.is_none_or(|n| !wanted.contains(&n))).collect();
    surplus.sort_by_key(|pod| std::cmp::Reverse(pod.index));
    for pod in surplus {
        if pod.state != State::Leaving {
            decision.actions.push(Action::Remove(pod.name.clone()));
        }
        if !set.parallel {
            return decision;
        }
    }
    replace(set, present, pods, now, &mut decision);
    decision
}

/// Ends the last pod of an older template, once all that are after it serve. One that does not serve itself goes at once.
fn replace(set: &Ordered, present: &str, pods: &[Seen], now: i64, decision: &mut Decision) {
    let Some(partition) = set.partition else { return };
    let wanted = set.first..set.first.saturating_add(set.replicas);
    for number in wanted.rev().filter(|number| *number >= partition) {
        let Some(pod) = pods.iter().find(|pod| pod.index == Some(number)) else { return };
        if pod.state.is_active() && pod.revision != present {
            decision.actions.push(Action::Remove(pod.name.clone()));
            return;
        }
        if !pod.state.is_available(set.min_ready, now) {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
