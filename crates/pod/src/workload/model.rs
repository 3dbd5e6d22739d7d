//! What decisions are made of: the pods of a workload as they are, and what is to be done. Pure.

use std::collections::BTreeMap;

/// How far a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It is being made, or its containers are being started.
    Pending,
    /// Its containers run, and are not all ready.
    Running,
    /// It is ready since then (nanoseconds since 1970).
    Ready(i64),
    /// Every container ended well, for good.
    Succeeded,
    /// A container failed for good, or the pod was lost.
    Failed,
    /// It is being removed.
    Leaving,
}

impl State {
    /// Whether it runs or will.
    pub(crate) fn is_active(self) -> bool {
        matches!(self, Self::Pending | Self::Running | Self::Ready(_))
    }

    /// Whether it has come to an end by itself.
    pub(crate) fn has_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }

    /// Whether it has been ready for so many seconds.
    pub(crate) fn is_available(self, min_ready: u32, now: i64) -> bool {
        matches!(self, Self::Ready(since) if since.saturating_add(seconds(min_ready)) <= now)
    }
}

/// A pod of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its name.
    pub(crate) name: String,
    /// Of what template it was made.
    pub(crate) revision: String,
    /// Its number, where it has one.
    pub(crate) index: Option<u32>,
    /// When it was made.
    pub(crate) created_at: i64,
    /// How far it is.
    pub(crate) state: State,
    /// How often its containers were started again.
    pub(crate) restarts: u32,
    /// When it ended.
    pub(crate) ended_at: i64,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make a pod of the present template, with this number where it has one.
    Create(Option<u32>),
    /// Remove the pod of this name.
    Remove(String),
    /// Make the job that is due at this time.
    Begin(i64),
    /// Remove the job of this name.
    RemoveJob(String),
    /// Remove the workload itself.
    RemoveSelf,
}

/// The result of a look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    /// What to do now.
    pub(crate) actions: Vec<Action>,
    /// When to look again, if nothing happens before.
    pub(crate) wake: Option<i64>,
}

impl Decision {
    pub(crate) fn wake_at(&mut self, at: i64) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

/// How a pod of a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Outcome {
    /// Whether it did what it was for.
    pub(crate) succeeded: bool,
    /// Its number, where it has one.
    pub(crate) index: Option<u32>,
    /// When.
    pub(crate) at: i64,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct End {
    /// Empty when it did what it was for.
    pub(crate) reason: String,
    /// When.
    pub(crate) at: i64,
}

/// What is remembered of a workload beside its manifest, also over a reboot.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Status {
    /// When a job began.
    #[serde(default)]
    pub(crate) started_at: Option<i64>,
    /// How the pods of a job ended, by their names: those that failed, and those that were removed.
    #[serde(default)]
    pub(crate) outcomes: BTreeMap<String, Outcome>,
    /// How a job ended.
    #[serde(default)]
    pub(crate) end: Option<End>,
    /// For when the last job of a CronJob was made.
    #[serde(default)]
    pub(crate) last: Option<i64>,
}

/// Nanoseconds.
pub(crate) fn seconds(n: u32) -> i64 {
    i64::from(n) * 1_000_000_000
}
