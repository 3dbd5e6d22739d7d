use super::*;
use crate::manifest::{document_of, parse_files, resume};

fn workload(kind: &str, name: &str, spec: &str) -> Workload {
    let group = WorkloadKind::named(kind).unwrap().api_version();
    let text = format!("{{apiVersion: {group}, kind: {kind}, metadata: {{name: {name}}}, spec: {spec}}}");
    parse_files(&[("", text.as_bytes())]).unwrap().workloads.remove(0)
}

fn set(kind: &str, name: &str) -> Workload {
    workload(kind, name, "{serviceName: db, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}"
        .replace("serviceName: db, ", if kind == "StatefulSet" { "serviceName: db, " } else { "" }).as_str())
}

fn job(more: &str) -> Workload {
    workload(
        "Job",
        "sum",
        &format!(
            "{{{more} template: {{spec: {{restartPolicy: Never, containers: [{{name: c, image: i}}]}}}}}}"
        ),
    )
}

#[test]
fn pods_are_called_as_in_kubernetes() {
    let named = |of: &Workload, index| own(of, "u", "rev", index, "xyzzy").name;
    assert_eq!(named(&set("Deployment", "web"), None), "web-rev-xyzzy");
    assert_eq!(named(&set("ReplicaSet", "web"), None), "web-xyzzy");
    assert_eq!(named(&set("DaemonSet", "web"), None), "web-xyzzy");
    assert_eq!(named(&set("StatefulSet", "web"), Some(2)), "web-2");
    assert_eq!(named(&job(""), None), "sum-xyzzy");
    assert_eq!(named(&job("completions: 3, completionMode: Indexed,"), Some(2)), "sum-2-xyzzy");
    let long = named(&set("Deployment", &"a".repeat(200)), None);
    assert_eq!(long.len(), 63);
    assert!(long.ends_with("axyzzy"), "{long}");
}

#[test]
fn a_pod_of_a_template_is_a_manifest_of_its_own() {
    let indexed = job("completions: 3, completionMode: Indexed,");
    let document = document_of(&indexed.pod, &own(&indexed, "u-1", "rev", Some(2), "xyzzy"));
    let pod = resume(&document.to_string(), "").unwrap();
    assert_eq!(pod.metadata.name, "sum-2-xyzzy");
    assert_eq!(pod.spec.hostname.as_deref(), Some("sum-2"));
    let env = &pod.spec.containers[0].env[0];
    assert_eq!((env.name.as_str(), env.value.as_str()), ("JOB_COMPLETION_INDEX", "2"));
    assert_eq!(pod.metadata.labels["batch.kubernetes.io/job-name"], "sum");
    assert_eq!(pod.metadata.annotations[OWNER], "u-1");
    assert_eq!(pod.metadata.annotations[CONTAINERS], "c");
    assert_eq!(pod.metadata.annotations[INDEX], "2");

    let stateful = set("StatefulSet", "web");
    let document = document_of(&stateful.pod, &own(&stateful, "u", "rev", Some(0), ""));
    let pod = resume(&document.to_string(), "").unwrap();
    assert_eq!((pod.spec.hostname.as_deref(), pod.spec.subdomain.as_deref()), (Some("web-0"), Some("db")));
    assert_eq!(pod.metadata.labels["a"], "b");
    assert_eq!(pod.metadata.labels["statefulset.kubernetes.io/pod-name"], "web-0");
}

#[test]
fn a_revision_is_that_of_the_template_and_its_objects() {
    let first = revision(&set("Deployment", "web"));
    assert_eq!(first, revision(&set("Deployment", "web")));
    assert!(first.len() == HASH && first.bytes().all(|b| LETTERS.contains(&b)), "{first}");
    assert_ne!(first, revision(&set("Deployment", "other")));
    let text = |value: &str| {
        let text = format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: m}}, data: {{a: {value}}}}}\n---\n
            {{apiVersion: batch/v1, kind: Job, metadata: {{name: j}}, spec: {{template: {{spec: {{restartPolicy: Never, containers: [{{name: c, image: i, envFrom: [{{configMapRef: {{name: m}}}}]}}]}}}}}}}}"
        );
        revision(&parse_files(&[("", text.as_bytes())]).unwrap().workloads[0])
    };
    assert_ne!(text("one"), text("two"));
    let (one, other) = (random(), random());
    assert!(one.len() == RANDOM && one != other, "{one} {other}");
}
