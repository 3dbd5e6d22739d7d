//! Job: pods until enough of them ended well, or too many did not. Pure.

use std::collections::BTreeSet;

use super::model::{Action, Decision, End, Outcome, Seen, State, Status, seconds};
use crate::manifest::{Job, RestartPolicy};

/// How many pods that have ended are kept, so that their logs can be read.
const KEPT: usize = 10;
/// How many outcomes of failed pods are remembered by name; more than any limit needs.
const MAX_OUTCOMES: usize = 20_000;
/// The wait after a first failure, and the longest, in seconds.
const FIRST_WAIT: u32 = 10;
const LONGEST_WAIT: u32 = 360;

/// Looks at the pods, and remembers in `status` what they say.
pub(super) fn decide(job: &Job, pods: &[Seen], status: &mut Status, now: i64) -> Decision {
    let mut decision = Decision::default();
    count(pods, status);
    if status.end.is_none() {
        status.end = end(job, pods, status, now).map(|reason| End { reason, at: now });
    }
    if let Some(end) = &status.end {
        // What is left over, as it is no longer needed.
        remove_active(pods, &mut decision);
        if let Some(ttl) = job.ttl {
            let due = end.at.saturating_add(seconds(ttl));
            if due <= now && pods.iter().all(|pod| !pod.state.is_active()) {
                return Decision { actions: vec![Action::RemoveSelf], wake: None };
            }
            // What is over waits for the end of the pods that are left, which wakes it.
            if due > now {
                decision.wake_at(due);
            }
        }
    } else if job.suspend {
        status.started_at = None;
        remove_active(pods, &mut decision);
    } else {
        let started = *status.started_at.get_or_insert(now);
        if let Some(deadline) = job.deadline {
            decision.wake_at(started.saturating_add(seconds(deadline)));
        }
        run(job, pods, status, now, &mut decision);
    }
    keep_few(pods, &mut decision);
    decision
}

/// Takes down how pods ended: that must be known also when they are gone.
fn count(pods: &[Seen], status: &mut Status) {
    for pod in pods.iter().filter(|pod| pod.state.has_ended()) {
        if status.outcomes.len() < MAX_OUTCOMES {
            let succeeded = pod.state == State::Succeeded;
            let outcome = Outcome { succeeded, index: pod.index, at: pod.ended_at };
            status.outcomes.entry(pod.name.clone()).or_insert(outcome);
        }
    }
}

/// How many ended well: each number once where they have numbers.
pub(super) fn succeeded(job: &Job, status: &Status) -> usize {
    let good = status.outcomes.values().filter(|outcome| outcome.succeeded);
    if job.indexed {
        good.filter_map(|outcome| outcome.index).collect::<BTreeSet<_>>().len()
    } else {
        good.count()
    }
}

/// How many failed.
pub(super) fn failed(status: &Status) -> usize {
    status.outcomes.values().filter(|outcome| !outcome.succeeded).count()
}

/// Why the job has ended: nothing while it has not, an empty reason when it did what it was for.
fn end(job: &Job, pods: &[Seen], status: &Status, now: i64) -> Option<String> {
    let limit = usize::try_from(job.backoff_limit).unwrap_or(usize::MAX);
    let active = || pods.iter().filter(|pod| pod.state.is_active());
    let good = succeeded(job, status);
    let done = match job.completions {
        Some(completions) => good >= usize::try_from(completions).unwrap_or(usize::MAX),
        None => good > 0 && active().next().is_none(),
    };
    if done && !job.suspend {
        return Some(String::new());
    }
    // With OnFailure a container is started again in its pod, and each time counts.
    let restarts = active().fold(0, |sum: u32, pod| sum.saturating_add(pod.restarts));
    let again = job.restart == RestartPolicy::OnFailure && restarts > 0 && restarts >= job.backoff_limit;
    if failed(status) > limit || again {
        return Some("BackoffLimitExceeded".to_owned());
    }
    let started = status.started_at.filter(|_| !job.suspend)?;
    let late = job.deadline.is_some_and(|deadline| started.saturating_add(seconds(deadline)) <= now);
    late.then(|| "DeadlineExceeded".to_owned())
}

fn remove_active(pods: &[Seen], decision: &mut Decision) {
    let active = pods.iter().filter(|pod| pod.state.is_active());
    decision.actions.extend(active.map(|pod| Action::Remove(pod.name.clone())));
}

fn run(job: &Job, pods: &[Seen], status: &Status, now: i64, decision: &mut Decision) {
    let mut active: Vec<&Seen> = pods.iter().filter(|pod| pod.state.is_active()).collect();
    let good = succeeded(job, status);
    let parallelism = usize::try_from(job.parallelism).unwrap_or(usize::MAX);
    let wanted = match job.completions {
        Some(completions) => {
            let left = usize::try_from(completions).unwrap_or(usize::MAX).saturating_sub(good);
            left.min(parallelism)
        }
        // After one that ended well none is begun.
        None if good > 0 => active.len().min(parallelism),
        None => parallelism,
    };
    if active.len() > wanted {
        active.sort_by_key(|pod| std::cmp::Reverse(pod.created_at));
        let surplus = active.iter().take(active.len() - wanted);
        decision.actions.extend(surplus.map(|pod| Action::Remove(pod.name.clone())));
        return;
    }
    let missing = wanted - active.len();
    if missing == 0 {
        return;
    }
    if let Some(due) = wait(status).filter(|due| *due > now) {
        decision.wake_at(due);
        return;
    }
    if job.indexed {
        decision
            .actions
            .extend(free(job, pods, status).take(missing).map(|index| Action::Create(Some(index))));
    } else {
        decision.actions.extend((0..missing).map(|_| Action::Create(None)));
    }
}

/// Numbers that no pod has and that have not ended well.
fn free<'a>(job: &Job, pods: &'a [Seen], status: &'a Status) -> impl Iterator<Item = u32> + 'a {
    let good =
        status.outcomes.values().filter(|outcome| outcome.succeeded).filter_map(|outcome| outcome.index);
    let active = pods.iter().filter(|pod| pod.state.is_active()).filter_map(|pod| pod.index);
    let taken: BTreeSet<u32> = good.chain(active).collect();
    (0..job.completions.unwrap_or(0)).filter(move |index| !taken.contains(index))
}

/// When the next pod may be made, after those that failed since the last that did not.
fn wait(status: &Status) -> Option<i64> {
    let good = status.outcomes.values().filter(|o| o.succeeded).map(|o| o.at).max().unwrap_or(i64::MIN);
    let bad: Vec<i64> =
        status.outcomes.values().filter(|o| !o.succeeded && o.at > good).map(|o| o.at).collect();
    let last = bad.iter().max()?;
    let doublings = u32::try_from(bad.len() - 1).unwrap_or(u32::MAX).min(10);
    Some(last.saturating_add(seconds((FIRST_WAIT << doublings).min(LONGEST_WAIT))))
}

/// Of the pods that have ended the last ones stay. What the others said is in the status.
fn keep_few(pods: &[Seen], decision: &mut Decision) {
    let mut ended: Vec<&Seen> = pods.iter().filter(|pod| pod.state.has_ended()).collect();
    ended.sort_by_key(|pod| std::cmp::Reverse(pod.ended_at));
    decision.actions.extend(ended.iter().skip(KEPT).map(|pod| Action::Remove(pod.name.clone())));
}

#[cfg(test)]
mod tests;
