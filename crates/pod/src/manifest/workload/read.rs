//! From a document to a workload.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{ManifestError, Metadata, Pod, refused};
use super::{Spec, Workload, WorkloadKind, sets, tasks, template, template_of};

/// A document of a workload.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document<S> {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    pub(super) metadata: Metadata,
    pub(super) spec: S,
}

/// What the kinds have in common while they are read.
pub(super) struct Reading<'a> {
    document: usize,
    kind: WorkloadKind,
    value: &'a Value,
    pub(super) faults: Vec<ManifestError>,
}

impl Reading<'_> {
    pub(super) fn document<S: for<'de> Deserialize<'de>>(&self) -> Result<Document<S>, Vec<ManifestError>> {
        let kind = format!("{} {}", self.kind.api_version(), self.kind.word());
        refused::read(self.document, &kind, self.value)
    }

    pub(super) fn kind(&self) -> WorkloadKind {
        self.kind
    }

    pub(super) fn fault(&mut self, path: impl Into<String>, message: impl Into<String>) {
        let (path, message) = (path.into(), message.into());
        self.faults.push(ManifestError::Field { document: self.document, path, message });
    }

    /// What is known and not done.
    pub(super) fn later(&mut self, path: impl Into<String>) {
        self.faults.push(ManifestError::Later { document: self.document, path: path.into() });
    }

    /// A number that is not negative, and not more than `most`.
    pub(super) fn number(&mut self, path: &str, given: Option<i64>, default: u32, most: u32) -> u32 {
        let Some(given) = given else { return default };
        match u32::try_from(given) {
            Ok(number) if number <= most => number,
            Ok(_) => {
                self.fault(path, format!("Invalid value: {given}: must be less than or equal to {most}"));
                default
            }
            Err(_) => {
                let reason = if given < 0 {
                    "must be greater than or equal to 0".to_owned()
                } else {
                    format!("must be less than or equal to {most}")
                };
                self.fault(path, format!("Invalid value: {given}: {reason}"));
                default
            }
        }
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        path: &str,
        given: Option<&str>,
        default: T,
        known: &[(&str, T)],
    ) -> T {
        let Some(given) = given else { return default };
        if let Some((_, value)) = known.iter().find(|(word, _)| *word == given) {
            return *value;
        }
        let words: Vec<_> = known.iter().map(|(word, _)| format!("{word:?}")).collect();
        self.fault(path, format!("Unsupported value: {given:?}: supported values: {}", words.join(", ")));
        default
    }

    /// What the jobs of a CronJob would be refused for.
    pub(super) fn sample_job(&mut self) {
        let sample = job_document(self.value, "sample", "default");
        let Err(faults) = read(self.document, WorkloadKind::Job, &sample) else { return };
        // Those of its specification have been told where there are any.
        let untold = self.faults.is_empty();
        let is_metadata = |fault: &ManifestError| match fault {
            ManifestError::Field { path, .. } | ManifestError::Later { path, .. } => {
                path.starts_with("metadata")
            }
            _ => false,
        };
        let faults = faults.into_iter().filter(|fault| untold || is_metadata(fault));
        self.faults.extend(faults.map(|fault| template::below("spec.jobTemplate", fault)));
    }

    /// The pod of the template; nothing where that has faults, which are kept.
    pub(super) fn template(&mut self, given: Option<&Value>, metadata: &Metadata) -> Option<Pod> {
        let at = template_of(self.kind);
        let Some(given) = given else {
            self.fault(at, "Required value");
            return None;
        };
        match template::pod(self.document, at, given, metadata) {
            Ok(pod) => Some(pod),
            Err(faults) => {
                self.faults.extend(faults);
                None
            }
        }
    }
}

/// The job of a CronJob's document.
pub(crate) fn job_document(cron: &Value, name: &str, namespace: &str) -> Value {
    let template = &cron["spec"]["jobTemplate"];
    let mut metadata = template["metadata"].as_object().cloned().unwrap_or_default();
    metadata.insert("name".to_owned(), json!(name));
    metadata.insert("namespace".to_owned(), json!(namespace));
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]})
}

/// Reads a workload, or names all its faults.
pub(in super::super) fn read(
    document: usize,
    kind: WorkloadKind,
    value: &Value,
) -> Result<Workload, Vec<ManifestError>> {
    let mut reading = Reading { document, kind, value, faults: Vec::new() };
    let (metadata, spec, pod) = match kind {
        WorkloadKind::Deployment | WorkloadKind::ReplicaSet | WorkloadKind::DaemonSet => {
            sets::set(&mut reading)?
        }
        WorkloadKind::StatefulSet => sets::ordered(&mut reading)?,
        WorkloadKind::Job => tasks::job(&mut reading)?,
        WorkloadKind::CronJob => tasks::cron(&mut reading)?,
    };
    names(&mut reading, &metadata);
    match (spec, pod) {
        (Some(spec), Some(pod)) if reading.faults.is_empty() => Ok(Workload {
            kind,
            namespace: metadata.namespace.unwrap_or_else(|| "default".to_owned()),
            name: metadata.name,
            spec,
            pod,
            source: value.to_string(),
        }),
        _ => Err(reading.faults),
    }
}

/// What the readers of the kinds answer.
pub(super) type Parts = (Metadata, Option<Spec>, Option<Pod>);

/// The longest name of a CronJob: its jobs' names are made of it.
const MAX_CRON: usize = 52;
/// The longest name of what makes a label's value of it.
const MAX_LABEL: usize = 63;

fn names(reading: &mut Reading<'_>, metadata: &Metadata) {
    let name = &metadata.name;
    let label = |l: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !l.is_empty() && l.bytes().all(inner) && !l.starts_with('-') && !l.ends_with('-')
    };
    let reason =
        "a name has lower-case letters, digits, '-' and '.', and begins and ends with a letter or digit";
    if name.len() > 253 || !name.split('.').all(label) {
        reading.fault("metadata.name", format!("Invalid value: {name:?}: {reason}"));
    }
    let most = match reading.kind {
        WorkloadKind::CronJob => MAX_CRON,
        WorkloadKind::Job | WorkloadKind::StatefulSet => MAX_LABEL,
        WorkloadKind::Deployment | WorkloadKind::ReplicaSet | WorkloadKind::DaemonSet => 253,
    };
    if name.len() > most {
        let message = format!("Invalid value: {name:?}: must be no more than {most} characters");
        reading.fault("metadata.name", message);
    }
    if let Some(namespace) = metadata.namespace.as_deref().filter(|n| n.len() > 63 || !label(n)) {
        reading.fault("metadata.namespace", format!("Invalid value: {namespace:?}: {reason}"));
    }
}

/// Which pods are a workload's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Selector {
    #[serde(default)]
    match_labels: BTreeMap<String, String>,
    #[serde(default)]
    match_expressions: Vec<Requirement>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirement {
    key: String,
    operator: String,
    #[serde(default)]
    values: BTreeSet<String>,
}

impl Selector {
    /// As the API server checks it against the labels of the template.
    pub(super) fn check(given: Option<&Self>, pod: Option<&Pod>, reading: &mut Reading<'_>) {
        let Some(selector) = given else {
            reading.fault("spec.selector", "Required value");
            return;
        };
        if selector.match_labels.is_empty() && selector.match_expressions.is_empty() {
            let kind = reading.kind.word().to_lowercase();
            reading
                .fault("spec.selector", format!("Invalid value: {{}}: empty selector is invalid for {kind}"));
            return;
        }
        let before = reading.faults.len();
        for (index, wanted) in selector.match_expressions.iter().enumerate() {
            let at = format!("spec.selector.matchExpressions[{index}]");
            match wanted.operator.as_str() {
                "In" | "NotIn" if wanted.values.is_empty() => reading.fault(
                    format!("{at}.values"),
                    "Required value: must be specified when `operator` is 'In' or 'NotIn'",
                ),
                "Exists" | "DoesNotExist" if !wanted.values.is_empty() => reading.fault(
                    format!("{at}.values"),
                    "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                ),
                "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
                other => reading.fault(
                    format!("{at}.operator"),
                    format!("Invalid value: {other:?}: not a valid selector operator"),
                ),
            }
        }
        let Some(pod) = pod.filter(|_| reading.faults.len() == before) else { return };
        if !selector.matches(&pod.metadata.labels) {
            let labels = serde_json::to_string(&pod.metadata.labels).unwrap_or_default();
            let message = format!("Invalid value: {labels}: `selector` does not match template `labels`");
            reading.fault("spec.template.metadata.labels", message);
        }
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let equal = self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value));
        let expressed = self.match_expressions.iter().all(|wanted| {
            let found = labels.get(&wanted.key);
            let among = found.is_some_and(|value| wanted.values.contains(value));
            match wanted.operator.as_str() {
                "In" => among,
                "NotIn" => !among,
                "Exists" => found.is_some(),
                _ => found.is_none(),
            }
        });
        equal && expressed
    }
}
