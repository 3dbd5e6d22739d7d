//! Job and CronJob.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::{ManifestError, Metadata, Pod, RestartPolicy};
use super::read::{Parts, Reading};
use super::{Concurrency, Cron, Job, MAX_REPLICAS, Spec};
use crate::workload::schedule::{Schedule, Zone};

/// As `i32`, the type of the API.
const MAX_NUMBER: u32 = i32::MAX.unsigned_abs();
/// The most completions: their outcomes are kept.
pub(super) const MAX_COMPLETIONS: u32 = 10_000;
/// The most jobs of the past that are kept.
const MAX_HISTORY: u32 = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JobSpec {
    #[serde(default)]
    template: Option<Value>,
    #[serde(default)]
    completions: Option<i64>,
    #[serde(default)]
    parallelism: Option<i64>,
    #[serde(default)]
    backoff_limit: Option<i64>,
    #[serde(default)]
    active_deadline_seconds: Option<i64>,
    #[serde(default)]
    ttl_seconds_after_finished: Option<i64>,
    #[serde(default)]
    completion_mode: Option<String>,
    #[serde(default)]
    suspend: bool,
}

/// A Job.
pub(super) fn job(reading: &mut Reading<'_>) -> Result<Parts, Vec<ManifestError>> {
    let document = reading.document::<JobSpec>()?;
    let (job, pod) = one(&document.spec, "spec", &document.metadata, reading);
    Ok((document.metadata, job.map(Spec::Job), pod))
}

fn one(
    spec: &JobSpec,
    at: &str,
    metadata: &Metadata,
    reading: &mut Reading<'_>,
) -> (Option<Job>, Option<Pod>) {
    let path = |field: &str| format!("{at}.{field}");
    let pod = reading.template(spec.template.as_ref(), metadata);
    let restart = pod.as_ref().map_or(RestartPolicy::Never, |pod| pod.spec.restart_policy);
    if restart == RestartPolicy::Always {
        let message = "Required value: valid values: \"OnFailure\", \"Never\"";
        reading.fault(path("template.spec.restartPolicy"), message);
    }
    let modes = [("NonIndexed", false), ("Indexed", true)];
    let indexed = reading.choice(&path("completionMode"), spec.completion_mode.as_deref(), false, &modes);
    let parallelism = reading.number(&path("parallelism"), spec.parallelism, 1, MAX_REPLICAS);
    let completions = match (spec.completions, spec.parallelism) {
        (None, None) => Some(1),
        (None, Some(_)) => None,
        (given, _) => Some(reading.number(&path("completions"), given, 1, MAX_COMPLETIONS)),
    };
    if indexed && spec.completions.is_none() {
        let message = "Required value: when completion mode is Indexed";
        reading.fault(path("completions"), message);
    }
    let optional = |field: &str, given: Option<i64>, reading: &mut Reading<'_>| {
        given.map(|_| reading.number(&path(field), given, 0, MAX_NUMBER))
    };
    let deadline = optional("activeDeadlineSeconds", spec.active_deadline_seconds, reading);
    let ttl = optional("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished, reading);
    let backoff_limit = reading.number(&path("backoffLimit"), spec.backoff_limit, 6, MAX_COMPLETIONS);
    let suspend = spec.suspend;
    let job = Job { completions, parallelism, backoff_limit, deadline, ttl, indexed, suspend, restart };
    (Some(job), pod)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CronSpec {
    #[serde(default)]
    schedule: Option<String>,
    #[serde(default)]
    time_zone: Option<String>,
    #[serde(default)]
    concurrency_policy: Option<String>,
    #[serde(default)]
    suspend: bool,
    #[serde(default)]
    starting_deadline_seconds: Option<i64>,
    #[serde(default)]
    successful_jobs_history_limit: Option<i64>,
    #[serde(default)]
    failed_jobs_history_limit: Option<i64>,
    #[serde(default)]
    job_template: Option<JobTemplate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobTemplate {
    #[serde(default, rename = "metadata")]
    _metadata: Map<String, Value>,
    #[serde(default)]
    spec: Option<JobSpec>,
}

/// A CronJob.
pub(super) fn cron(reading: &mut Reading<'_>) -> Result<Parts, Vec<ManifestError>> {
    let document = reading.document::<CronSpec>()?;
    let (metadata, spec) = (document.metadata, document.spec);
    let job = spec.job_template.and_then(|template| template.spec);
    let pod = match &job {
        Some(job) => one(job, "spec.jobTemplate.spec", &metadata, reading).1,
        None => {
            reading.fault("spec.jobTemplate.spec.template", "Required value");
            None
        }
    };
    let schedule = match spec.schedule.as_deref() {
        None | Some("") => Err("Required value".to_owned()),
        Some(text) => Schedule::parse(text).map_err(|reason| format!("Invalid value: {text:?}: {reason}")),
    };
    let schedule = schedule.map_err(|message| reading.fault("spec.schedule", message)).ok();
    let zone = match spec.time_zone.as_deref() {
        None => Ok(Zone::system()),
        Some(name) => Zone::named(name).map_err(|reason| format!("Invalid value: {name:?}: {reason}")),
    };
    let zone = zone.map_err(|message| reading.fault("spec.timeZone", message)).ok();
    let policies =
        [("Allow", Concurrency::Allow), ("Forbid", Concurrency::Forbid), ("Replace", Concurrency::Replace)];
    let policy = spec.concurrency_policy.as_deref();
    let concurrency = reading.choice("spec.concurrencyPolicy", policy, Concurrency::Allow, &policies);
    let given = spec.starting_deadline_seconds;
    let late = given.map(|_| reading.number("spec.startingDeadlineSeconds", given, 0, MAX_NUMBER));
    let (good, bad) = (spec.successful_jobs_history_limit, spec.failed_jobs_history_limit);
    let keep_complete = reading.number("spec.successfulJobsHistoryLimit", good, 3, MAX_HISTORY);
    let keep_failed = reading.number("spec.failedJobsHistoryLimit", bad, 1, MAX_HISTORY);
    if job.is_some() {
        reading.sample_job();
    }
    let suspend = spec.suspend;
    let cron = schedule.zip(zone).map(|(schedule, zone)| Cron {
        schedule,
        zone,
        concurrency,
        suspend,
        late,
        keep_complete,
        keep_failed,
    });
    Ok((metadata, cron.map(Spec::Cron), pod))
}
