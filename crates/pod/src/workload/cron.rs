//! CronJob: jobs by the clock. Pure.

use super::model::{Action, Decision, seconds};
use super::schedule::Schedule;
use crate::manifest::{Concurrency, Cron};

/// A job of a CronJob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenJob {
    /// Its name.
    pub(super) name: String,
    /// When it was made.
    pub(super) created_at: i64,
    /// Whether it did what it was for; nothing while it has not ended.
    pub(super) complete: Option<bool>,
    /// Whether it is being removed.
    pub(super) leaving: bool,
}

/// Looks at the jobs. `since` is for when the last one was made, or else when the CronJob was.
pub(super) fn decide(cron: &Cron, jobs: &[SeenJob], since: i64, now: i64) -> Decision {
    let mut decision = Decision::default();
    for (complete, keep) in [(true, cron.keep_complete), (false, cron.keep_failed)] {
        let mut ended: Vec<&SeenJob> =
            jobs.iter().filter(|job| job.complete == Some(complete) && !job.leaving).collect();
        ended.sort_by_key(|job| std::cmp::Reverse(job.created_at));
        let surplus = ended.iter().skip(usize::try_from(keep).unwrap_or(usize::MAX));
        decision.actions.extend(surplus.map(|job| Action::RemoveJob(job.name.clone())));
    }
    if cron.suspend {
        return decision;
    }
    let (due, next) = due(cron, since, now);
    if let Some(next) = next {
        decision.wake_at(next);
    }
    let Some(due) = due else { return decision };
    if cron.late.is_some_and(|late| due.saturating_add(seconds(late)) < now) {
        return decision;
    }
    let active: Vec<&SeenJob> = jobs.iter().filter(|job| job.complete.is_none()).collect();
    match cron.concurrency {
        // As the controller of Kubernetes: it is made once the earlier one has ended, if it is not too late then.
        Concurrency::Forbid if !active.is_empty() => return decision,
        Concurrency::Replace => {
            let ends = active.iter().filter(|job| !job.leaving);
            decision.actions.extend(ends.map(|job| Action::RemoveJob(job.name.clone())));
        }
        Concurrency::Allow | Concurrency::Forbid => {}
    }
    decision.actions.push(Action::Begin(due));
    decision
}

/// The last time that is over and has no job yet, and the next one.
fn due(cron: &Cron, since: i64, now: i64) -> (Option<i64>, Option<i64>) {
    // Of many that were missed, as while the machine was off, only the last counts.
    if let Schedule::Every(every) = cron.schedule {
        let every = i64::try_from(every.as_nanos()).unwrap_or(i64::MAX).max(1);
        let missed = now.saturating_sub(since).max(0) / every;
        let last = since.saturating_add(missed.saturating_mul(every));
        return ((missed > 0).then_some(last), last.checked_add(every));
    }
    // However they lie: each look halves what is between the last one that is known and what has none after it.
    let after = |at| cron.schedule.after(at, &cron.zone);
    let (mut last, mut next, mut above) = (None, after(since), now);
    while let Some(at) = next.filter(|at| *at <= now) {
        last = Some(at);
        let middle = at.saturating_add(above.saturating_sub(at) / 2);
        next = after(middle);
        if next.is_none_or(|next| next > now) {
            above = middle;
            next = after(at);
        }
    }
    (last, next)
}

#[cfg(test)]
mod tests;
