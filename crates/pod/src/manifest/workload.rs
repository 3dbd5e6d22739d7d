//! Workloads of a manifest: Deployment, ReplicaSet, StatefulSet and DaemonSet of `apps/v1`, Job and CronJob of `batch/v1`, defaulted
//! and checked as the API server does.

pub(super) mod read;
mod sets;
mod tasks;
pub(crate) mod template;

use berth_types::{Classify, Kind};

use super::{Objects, Pod, RestartPolicy};
use crate::workload::schedule::{Schedule, Zone};

pub(super) use read::read as read_workload;

/// The most pods of one workload.
pub const MAX_REPLICAS: u32 = 500;

/// What a workload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    /// `apps/v1` `Deployment`
    Deployment,
    /// `apps/v1` `ReplicaSet`
    ReplicaSet,
    /// `apps/v1` `StatefulSet`
    StatefulSet,
    /// `apps/v1` `DaemonSet`
    DaemonSet,
    /// `batch/v1` `Job`
    Job,
    /// `batch/v1` `CronJob`
    CronJob,
}

impl WorkloadKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Deployment, Self::ReplicaSet, Self::StatefulSet, Self::DaemonSet, Self::Job, Self::CronJob];

    /// As manifests spell it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::ReplicaSet => "ReplicaSet",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::Job => "Job",
            Self::CronJob => "CronJob",
        }
    }

    /// Its group and version.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Deployment | Self::ReplicaSet | Self::StatefulSet | Self::DaemonSet => "apps/v1",
            Self::Job | Self::CronJob => "batch/v1",
        }
    }

    /// The kind that a command line or a manifest names, whatever its case.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word().eq_ignore_ascii_case(word))
    }
}

/// A workload: what makes pods of one template.
#[derive(Debug, Clone)]
pub struct Workload {
    /// What it is.
    pub kind: WorkloadKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it wants.
    pub spec: Spec,
    /// A pod of its template, with the workload's name in the place of its own.
    pub pod: Pod,
    /// The document as JSON.
    pub source: String,
}

impl Workload {
    /// `Deployment web`, as messages name it.
    pub fn title(&self) -> String {
        format!("{} {}", self.kind.word(), self.name)
    }

    /// The objects of the manifest that its pods use.
    pub fn objects(&self) -> &Objects {
        &self.pod.objects
    }

    /// Where its pods' fields are in its document.
    pub fn template(&self) -> &'static str {
        template_of(self.kind)
    }
}

fn template_of(kind: WorkloadKind) -> &'static str {
    match kind {
        WorkloadKind::CronJob => "spec.jobTemplate.spec.template",
        _ => "spec.template",
    }
}

/// What a workload wants.
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    /// Of a Deployment, a ReplicaSet or a DaemonSet.
    Set(Set),
    /// Of a StatefulSet.
    Ordered(Ordered),
    /// Of a Job.
    Job(Job),
    /// Of a CronJob.
    Cron(Cron),
}

/// Pods that are all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set {
    /// How many.
    pub replicas: u32,
    /// How those of an older template are replaced.
    pub roll: Roll,
    /// For how many seconds a pod is ready before it counts.
    pub min_ready: u32,
}

/// How the pods of an older template are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roll {
    /// Not at all: the next one that is missing has the new template.
    Never,
    /// All of them end before the first new one begins.
    Recreate,
    /// Some at a time.
    Rolling {
        /// How many more than wanted may be there.
        surge: u32,
        /// How many fewer than wanted may be available.
        unavailable: u32,
    },
}

/// Pods with numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ordered {
    /// How many.
    pub replicas: u32,
    /// The number of the first.
    pub first: u32,
    /// Whether none waits for those before it.
    pub parallel: bool,
    /// The lowest number that is replaced when the template changes; nothing where none is.
    pub partition: Option<u32>,
    /// For how many seconds a pod is ready before it counts.
    pub min_ready: u32,
}

/// Pods that come to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// How many must end well; nothing where one is enough and none follows it.
    pub completions: Option<u32>,
    /// How many may run at a time.
    pub parallelism: u32,
    /// How many may fail.
    pub backoff_limit: u32,
    /// For how many seconds it may be active.
    pub deadline: Option<u32>,
    /// How many seconds after its end it is removed.
    pub ttl: Option<u32>,
    /// Whether each completion has its own number.
    pub indexed: bool,
    /// Whether it waits.
    pub suspend: bool,
    /// Of its pods: OnFailure or Never.
    pub restart: RestartPolicy,
}

/// Jobs by the clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Cron {
    /// When.
    pub schedule: Schedule,
    /// Where the clock is.
    pub zone: Zone,
    /// What happens while an earlier job runs.
    pub concurrency: Concurrency,
    /// Whether it waits.
    pub suspend: bool,
    /// How many seconds late a job may begin.
    pub late: Option<u32>,
    /// How many jobs are kept that ended well.
    pub keep_complete: u32,
    /// How many jobs are kept that failed.
    pub keep_failed: u32,
}

/// What happens when a job is due and an earlier one runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Concurrency {
    /// Both run.
    #[default]
    Allow,
    /// The new one is left out.
    Forbid,
    /// The earlier one is removed.
    Replace,
}

/// Why a workload of a manifest cannot take the place of one that there is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{workload}: {path}: Invalid value: field is immutable")]
pub struct Immutable {
    /// Which.
    pub workload: String,
    /// The field.
    pub path: &'static str,
}

impl Classify for Immutable {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("berth play --replace removes it first".to_owned())
    }
}

#[cfg(test)]
mod tests;
