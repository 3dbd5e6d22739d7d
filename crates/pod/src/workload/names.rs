//! What the pods of a workload are called, and the labels and annotations by which they are known. Pure but for the random part.

use std::collections::BTreeMap;
use std::fs;

use crate::manifest::{Own, Workload, WorkloadKind};

/// Annotation of a pod: the uid of the workload that made it.
pub(crate) const OWNER: &str = "berth.dev/workload";
/// Annotation of a pod: of what template it was made.
pub(crate) const REVISION: &str = "berth.dev/revision";
/// Annotation of a pod: its number.
pub(crate) const INDEX: &str = "berth.dev/index";
/// Annotation of a pod: its main containers.
pub(crate) const CONTAINERS: &str = "berth.dev/containers";

/// As Kubernetes: without vowels and what is taken for them, so that no word comes out.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// The most of a name before its random part.
const MAX_BASE: usize = 58;
/// The letters of a random part, and of a revision.
const RANDOM: usize = 5;
const HASH: usize = 10;

fn letters(mut number: u128, count: usize) -> String {
    let mut text = String::with_capacity(count);
    for _ in 0..count {
        let index = usize::try_from(number % 27).unwrap_or(0);
        text.push(char::from(LETTERS[index]));
        number /= 27;
    }
    text
}

/// What tells a template from another: the pod, and the ConfigMaps and Secrets that it uses, which its pods would not notice else.
pub(super) fn revision(workload: &Workload) -> String {
    let text = [workload.pod.source.as_str(), &workload.objects().source()].concat();
    // FNV-1a: nobody gains by two templates that are taken for one.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    letters(hash.into(), HASH)
}

/// A random part of a name.
pub(super) fn random() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid").expect("the kernel gives random uuids");
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    letters(u128::from_str_radix(&digits, 16).unwrap_or(0), RANDOM)
}

/// What is a pod's own.
pub(super) fn own(workload: &Workload, uid: &str, revision: &str, index: Option<u32>, random: &str) -> Own {
    let name = &workload.name;
    let generated = |base: String| {
        let base: String = base.chars().take(MAX_BASE).collect();
        format!("{base}{random}")
    };
    let mut labels = BTreeMap::new();
    let mut label = |key: &str, value: &str| drop(labels.insert(key.to_owned(), value.to_owned()));
    let mut own = Own::default();
    let number = index.map(|index| index.to_string());
    own.name = match workload.kind {
        WorkloadKind::Deployment => {
            label("pod-template-hash", revision);
            generated(format!("{name}-{revision}-"))
        }
        WorkloadKind::ReplicaSet => generated(format!("{name}-")),
        WorkloadKind::DaemonSet => {
            label("controller-revision-hash", revision);
            generated(format!("{name}-"))
        }
        WorkloadKind::StatefulSet => {
            let number = number.as_deref().unwrap_or("0");
            let whole = format!("{name}-{number}");
            label("controller-revision-hash", &format!("{name}-{revision}"));
            label("statefulset.kubernetes.io/pod-name", &whole);
            label("apps.kubernetes.io/pod-index", number);
            own.hostname = Some(whole.clone());
            own.subdomain.clone_from(&workload.pod.spec.subdomain);
            whole
        }
        WorkloadKind::Job | WorkloadKind::CronJob => {
            for key in ["batch.kubernetes.io/job-name", "job-name"] {
                label(key, name);
            }
            for key in ["batch.kubernetes.io/controller-uid", "controller-uid"] {
                label(key, uid);
            }
            match &number {
                None => generated(format!("{name}-")),
                Some(number) => {
                    const KEY: &str = "batch.kubernetes.io/job-completion-index";
                    label(KEY, number);
                    own.annotations.insert(KEY.to_owned(), number.clone());
                    own.variable = Some(("JOB_COMPLETION_INDEX".to_owned(), number.clone()));
                    own.hostname = Some(format!("{name}-{number}"));
                    generated(format!("{name}-{number}-"))
                }
            }
        }
    };
    own.labels = labels;
    let containers: Vec<_> = workload.pod.spec.containers.iter().map(|c| c.name.as_str()).collect();
    let mut annotate = |key: &str, value: String| drop(own.annotations.insert(key.to_owned(), value));
    annotate(OWNER, uid.to_owned());
    annotate(REVISION, revision.to_owned());
    annotate(CONTAINERS, containers.join(","));
    if let Some(number) = number {
        annotate(INDEX, number);
    }
    own
}

#[cfg(test)]
mod tests;
