//! A workload as it is listed.

use super::Key;
use super::job;
use super::keep::Record;
use super::model::{Seen, State, Status};
use crate::manifest::{Roll, Spec, Workload};

/// A workload for those who list them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Which.
    pub key: Key,
    /// Its uid.
    pub uid: String,
    /// When it was made (nanoseconds since 1970).
    pub created_at: i64,
    /// How many pods are wanted to be ready, or to end well; of a CronJob how many of its jobs there are.
    pub wanted: u32,
    /// How many of them are, or did; of a CronJob how many of its jobs run.
    pub done: u32,
    /// How many pods of the present template are ready.
    pub current: u32,
    /// In one word or two.
    pub state: String,
    /// Why it is not further; empty when nothing is wrong.
    pub message: String,
    /// Whether a job that has ended did what it was for.
    pub complete: Option<bool>,
    /// When a CronJob is due next, 0 for never.
    pub next_at: i64,
}

impl Shown {
    /// Before the first look.
    pub(super) fn new(key: &Key, record: &Record, status: &Status) -> Self {
        Self {
            key: key.clone(),
            uid: record.uid.clone(),
            created_at: record.created_at,
            wanted: 0,
            done: 0,
            current: 0,
            state: "starting".to_owned(),
            message: String::new(),
            complete: status.end.as_ref().map(|end| end.reason.is_empty()),
            next_at: 0,
        }
    }

    /// As it is now. Pure.
    pub(super) fn look(
        &mut self,
        workload: &Workload,
        revision: &str,
        pods: &[Seen],
        status: &Status,
        jobs: &[(Key, Shown)],
    ) {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let ready = |pod: &&Seen| matches!(pod.state, State::Ready(_));
        self.current = number(pods.iter().filter(ready).filter(|pod| pod.revision == revision).count());
        match &workload.spec {
            Spec::Set(set) => {
                let rolls = set.roll != Roll::Never;
                self.set(set.replicas, rolls.then_some(revision), pods);
            }
            Spec::Ordered(set) => {
                self.set(set.replicas, set.partition.map(|_| revision), pods);
            }
            Spec::Job(job) => {
                self.wanted = job.completions.unwrap_or(1);
                self.done = number(job::succeeded(job, status));
                self.complete = status.end.as_ref().map(|end| end.reason.is_empty());
                let active = pods.iter().any(|pod| pod.state.is_active());
                let state = match &status.end {
                    Some(end) if end.reason.is_empty() => "complete",
                    Some(end) => {
                        self.message.clone_from(&end.reason);
                        "failed"
                    }
                    None if job.suspend => "suspended",
                    None if active => "running",
                    None => "waiting",
                };
                state.clone_into(&mut self.state);
            }
            Spec::Cron(cron) => {
                self.wanted = number(jobs.len());
                self.done = number(jobs.iter().filter(|(_, job)| job.complete.is_none()).count());
                let state = if cron.suspend { "suspended" } else { "scheduled" };
                state.clone_into(&mut self.state);
            }
        }
    }

    /// `revision` is what all of them become, where they do.
    fn set(&mut self, replicas: u32, revision: Option<&str>, pods: &[Seen]) {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let is_old = |pod: &Seen| revision.is_some_and(|revision| pod.revision != revision);
        let old = pods.iter().any(|pod| is_old(pod) && pod.state.is_active());
        let leaving = pods.iter().any(|pod| pod.state == State::Leaving);
        self.wanted = replicas;
        self.done = number(pods.iter().filter(|pod| matches!(pod.state, State::Ready(_))).count());
        let state = if old {
            "rolling"
        } else if self.done < replicas {
            "not ready"
        } else if leaving || self.done > replicas {
            "shrinking"
        } else {
            "ready"
        };
        state.clone_into(&mut self.state);
    }
}

#[cfg(test)]
mod tests;
