//! Deployment, ReplicaSet, DaemonSet and StatefulSet.

use serde::Deserialize;
use serde_json::Value;

use super::super::{ManifestError, Pod, RestartPolicy};
use super::read::{Parts, Reading, Selector};
use super::{MAX_REPLICAS, Ordered, Roll, Set, Spec, WorkloadKind};

/// The longest that a pod must be ready before it counts: as `i32`, the type of the API.
const MAX_SECONDS: u32 = i32::MAX.unsigned_abs();

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SetSpec {
    #[serde(default)]
    replicas: Option<i64>,
    #[serde(default)]
    selector: Option<Selector>,
    #[serde(default)]
    template: Option<Value>,
    /// Of a Deployment.
    #[serde(default)]
    strategy: Option<Strategy>,
    /// Of a DaemonSet.
    #[serde(default)]
    update_strategy: Option<Strategy>,
    #[serde(default)]
    min_ready_seconds: Option<i64>,
    /// There is no history of templates to go back in.
    #[serde(default)]
    revision_history_limit: Option<i64>,
    #[serde(default)]
    progress_deadline_seconds: Option<i64>,
    #[serde(default)]
    paused: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Strategy {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    rolling_update: Option<Rolling>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rolling {
    #[serde(default)]
    max_surge: Option<Amount>,
    #[serde(default)]
    max_unavailable: Option<Amount>,
    /// Of a StatefulSet.
    #[serde(default)]
    partition: Option<i64>,
}

/// A number, or a part of the replicas.
#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "invalid type: expected a number or a percentage")]
enum Amount {
    Number(i64),
    Text(String),
}

impl Amount {
    /// How many of `all` that is.
    fn of(&self, all: u32, up: bool) -> Result<u32, String> {
        match self {
            Self::Number(number) => u32::try_from(*number)
                .map_err(|_| format!("Invalid value: {number}: must be greater than or equal to 0")),
            Self::Text(text) => {
                let percent = text.strip_suffix('%').and_then(|digits| digits.parse::<u32>().ok());
                let percent = percent.filter(|percent| *percent <= 10_000).ok_or_else(|| {
                    format!("Invalid value: {text:?}: a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%', or '93%', regex used for validation is '[0-9]+%')")
                })?;
                let whole = u64::from(all) * u64::from(percent);
                let part = if up { whole.div_ceil(100) } else { whole / 100 };
                Ok(u32::try_from(part).unwrap_or(u32::MAX))
            }
        }
    }
}

/// A set of equal pods.
pub(super) fn set(reading: &mut Reading<'_>) -> Result<Parts, Vec<ManifestError>> {
    let document = reading.document::<SetSpec>()?;
    let (metadata, spec, kind) = (document.metadata, document.spec, reading.kind());
    let pod = reading.template(spec.template.as_ref(), &metadata);
    Selector::check(spec.selector.as_ref(), pod.as_ref(), reading);
    always(pod.as_ref(), reading);
    foreign(&spec, reading);
    let replicas = match kind {
        WorkloadKind::DaemonSet => 1,
        _ => reading.number("spec.replicas", spec.replicas, 1, MAX_REPLICAS),
    };
    let min_ready = reading.number("spec.minReadySeconds", spec.min_ready_seconds, 0, MAX_SECONDS);
    reading.number("spec.revisionHistoryLimit", spec.revision_history_limit, 10, MAX_SECONDS);
    let progress =
        reading.number("spec.progressDeadlineSeconds", spec.progress_deadline_seconds, 600, MAX_SECONDS);
    if kind == WorkloadKind::Deployment && progress <= min_ready {
        let message = format!("Invalid value: {progress}: must be greater than minReadySeconds");
        reading.fault("spec.progressDeadlineSeconds", message);
    }
    let roll = match kind {
        WorkloadKind::Deployment => deployment(&spec.strategy.unwrap_or_default(), replicas, reading),
        WorkloadKind::DaemonSet => daemon(&spec.update_strategy.unwrap_or_default(), reading),
        _ => Roll::Never,
    };
    Ok((metadata, Some(Spec::Set(Set { replicas, roll, min_ready })), pod))
}

/// Fields of another kind.
fn foreign(spec: &SetSpec, reading: &mut Reading<'_>) {
    let (kind, deployment) = (reading.kind(), reading.kind() == WorkloadKind::Deployment);
    let daemon = kind == WorkloadKind::DaemonSet;
    let given = [
        ("replicas", spec.replicas.is_some() && daemon),
        ("strategy", spec.strategy.is_some() && !deployment),
        ("updateStrategy", spec.update_strategy.is_some() && !daemon),
        ("revisionHistoryLimit", spec.revision_history_limit.is_some() && !deployment && !daemon),
        ("progressDeadlineSeconds", spec.progress_deadline_seconds.is_some() && !deployment),
        ("paused", spec.paused && !deployment),
    ];
    for (field, _) in given.iter().filter(|(_, given)| *given) {
        let message = format!("no such field in a {} {}", kind.api_version(), kind.word());
        reading.fault(format!("spec.{field}"), message);
    }
    if spec.paused && deployment {
        reading.later("spec.paused");
    }
}

fn always(pod: Option<&Pod>, reading: &mut Reading<'_>) {
    if let Some(policy) = pod.map(|pod| pod.spec.restart_policy).filter(|p| *p != RestartPolicy::Always) {
        let message = format!("Unsupported value: \"{policy:?}\": supported values: \"Always\"");
        reading.fault("spec.template.spec.restartPolicy", message);
    }
    if pod.is_some_and(|pod| pod.spec.active_deadline_seconds.is_some()) {
        let kind = reading.kind().word();
        let message = format!("Forbidden: activeDeadlineSeconds in {kind} is not Supported");
        reading.fault("spec.template.spec.activeDeadlineSeconds", message);
    }
}

fn deployment(given: &Strategy, replicas: u32, reading: &mut Reading<'_>) -> Roll {
    let known = [("Recreate", false), ("RollingUpdate", true)];
    let rolls = reading.choice("spec.strategy.type", given.kind.as_deref(), true, &known);
    let at = "spec.strategy.rollingUpdate";
    if !rolls {
        if given.rolling_update.is_some() {
            reading.fault(at, "Forbidden: may not be specified when strategy `type` is 'Recreate'");
        }
        return Roll::Recreate;
    }
    let quarter = || Amount::Text("25%".to_owned());
    let rolling = given.rolling_update.as_ref();
    no_partition(rolling, at, reading);
    let surge = rolling.and_then(|r| r.max_surge.clone()).unwrap_or_else(quarter);
    let unavailable = rolling.and_then(|r| r.max_unavailable.clone()).unwrap_or_else(quarter);
    // What is nothing whatever the replicas are.
    let none = |amount: &Amount| amount.of(100, true) == Ok(0);
    if none(&surge) && none(&unavailable) {
        reading.fault(format!("{at}.maxUnavailable"), "Invalid value: 0: may not be 0 when `maxSurge` is 0");
    }
    let surge = amount(&format!("{at}.maxSurge"), &surge, replicas, true, reading);
    let unavailable = amount(&format!("{at}.maxUnavailable"), &unavailable, replicas, false, reading);
    // As the controller of Kubernetes: both may be rounded to nothing.
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    Roll::Rolling { surge, unavailable: unavailable.min(replicas) }
}

fn no_partition(rolling: Option<&Rolling>, at: &str, reading: &mut Reading<'_>) {
    if rolling.is_some_and(|rolling| rolling.partition.is_some()) {
        let kind = reading.kind();
        let message = format!("no such field in a {} {}", kind.api_version(), kind.word());
        reading.fault(format!("{at}.partition"), message);
    }
}

fn amount(at: &str, given: &Amount, of: u32, up: bool, reading: &mut Reading<'_>) -> u32 {
    match given.of(of, up) {
        Ok(amount) => amount.min(MAX_REPLICAS),
        Err(message) => {
            reading.fault(at, message);
            1
        }
    }
}

fn daemon(given: &Strategy, reading: &mut Reading<'_>) -> Roll {
    let known = [("RollingUpdate", true), ("OnDelete", false)];
    let at = "spec.updateStrategy.rollingUpdate";
    if !reading.choice("spec.updateStrategy.type", given.kind.as_deref(), true, &known) {
        return Roll::Never;
    }
    let rolling = given.rolling_update.as_ref();
    no_partition(rolling, at, reading);
    let surge = rolling.and_then(|r| r.max_surge.clone()).unwrap_or(Amount::Number(0));
    let unavailable = rolling.and_then(|r| r.max_unavailable.clone()).unwrap_or(Amount::Number(1));
    let surge = amount(&format!("{at}.maxSurge"), &surge, 1, true, reading);
    let unavailable = amount(&format!("{at}.maxUnavailable"), &unavailable, 1, true, reading);
    match (surge, unavailable) {
        (0, 0) => {
            reading.fault(format!("{at}.maxUnavailable"), "Invalid value: 0: cannot be 0 when maxSurge is 0");
        }
        (1.., 1..) if rolling.is_some_and(|r| r.max_surge.is_some() && r.max_unavailable.is_some()) => {
            reading.fault(
                format!("{at}.maxSurge"),
                "Invalid value: may not be set when maxUnavailable is non-zero",
            );
        }
        _ => {}
    }
    let unavailable = if surge > 0 { 0 } else { 1 };
    Roll::Rolling { surge: surge.min(1), unavailable }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OrderedSpec {
    #[serde(default)]
    replicas: Option<i64>,
    #[serde(default)]
    selector: Option<Selector>,
    #[serde(default)]
    template: Option<Value>,
    /// The domain of its pods' names.
    #[serde(default)]
    service_name: Option<String>,
    #[serde(default)]
    pod_management_policy: Option<String>,
    #[serde(default)]
    update_strategy: Option<Strategy>,
    #[serde(default)]
    min_ready_seconds: Option<i64>,
    /// There is no history of templates to go back in.
    #[serde(default)]
    revision_history_limit: Option<i64>,
    #[serde(default)]
    ordinals: Option<Ordinals>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ordinals {
    #[serde(default)]
    start: Option<i64>,
}

/// A set of pods with numbers.
pub(super) fn ordered(reading: &mut Reading<'_>) -> Result<Parts, Vec<ManifestError>> {
    let document = reading.document::<OrderedSpec>()?;
    let (metadata, spec) = (document.metadata, document.spec);
    let mut pod = reading.template(spec.template.as_ref(), &metadata);
    Selector::check(spec.selector.as_ref(), pod.as_ref(), reading);
    always(pod.as_ref(), reading);
    let replicas = reading.number("spec.replicas", spec.replicas, 1, MAX_REPLICAS);
    let min_ready = reading.number("spec.minReadySeconds", spec.min_ready_seconds, 0, MAX_SECONDS);
    reading.number("spec.revisionHistoryLimit", spec.revision_history_limit, 10, MAX_SECONDS);
    let start = spec.ordinals.and_then(|ordinals| ordinals.start);
    let first = reading.number("spec.ordinals.start", start, 0, MAX_SECONDS - MAX_REPLICAS);
    let policies = [("OrderedReady", false), ("Parallel", true)];
    let policy = spec.pod_management_policy.as_deref();
    let parallel = reading.choice("spec.podManagementPolicy", policy, false, &policies);
    let update = spec.update_strategy.unwrap_or_default();
    let known = [("RollingUpdate", true), ("OnDelete", false)];
    let rolls = reading.choice("spec.updateStrategy.type", update.kind.as_deref(), true, &known);
    let rolling = update.rolling_update.unwrap_or_default();
    if rolling.max_unavailable.is_some() {
        reading.later("spec.updateStrategy.rollingUpdate.maxUnavailable");
    }
    if rolling.max_surge.is_some() {
        reading.fault("spec.updateStrategy.rollingUpdate.maxSurge", "no such field in a apps/v1 StatefulSet");
    }
    let at = "spec.updateStrategy.rollingUpdate.partition";
    let partition = reading.number(at, rolling.partition, 0, MAX_SECONDS);
    // Its pods' names are below it.
    if let (Some(pod), Some(service)) = (&mut pod, spec.service_name.filter(|name| !name.is_empty())) {
        pod.spec.subdomain.get_or_insert(service);
    }
    let partition = rolls.then_some(partition);
    let ordered = Ordered { replicas, first, parallel, partition, min_ready };
    Ok((metadata, Some(Spec::Ordered(ordered)), pod))
}
