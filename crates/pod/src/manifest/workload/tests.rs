use super::super::{Manifest, parse_files};
use super::*;

const TEMPLATE: &str = "{metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: a.io/x}]}}";
const TASK: &str = "{spec: {restartPolicy: Never, containers: [{name: c, image: a.io/x}]}}";

fn text(kind: &str, spec: &str) -> String {
    let group = WorkloadKind::named(kind).unwrap().api_version();
    format!("{{apiVersion: {group}, kind: {kind}, metadata: {{name: web}}, spec: {{{spec}}}}}")
}

fn parse(text: &str) -> Result<Manifest, super::super::ManifestError> {
    parse_files(&[("", text.as_bytes())])
}

#[track_caller]
fn read(kind: &str, spec: &str) -> Workload {
    parse(&text(kind, spec)).unwrap().workloads.remove(0)
}

fn refused(kind: &str, spec: &str) -> String {
    parse(&text(kind, spec)).expect_err(spec).to_string()
}

fn selected(more: &str) -> String {
    format!("selector: {{matchLabels: {{app: web}}}}, template: {TEMPLATE}{more}")
}

fn set(kind: &str, more: &str) -> Set {
    match read(kind, &selected(more)).spec {
        Spec::Set(set) => set,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_deployment_has_the_defaults_of_kubernetes() {
    let web = read("Deployment", &selected(""));
    assert_eq!(
        (web.kind, web.name.as_str(), web.namespace.as_str()),
        (WorkloadKind::Deployment, "web", "default")
    );
    // A quarter of one, rounded up to surge and down to be unavailable.
    let roll = Roll::Rolling { surge: 1, unavailable: 0 };
    assert_eq!(web.spec, Spec::Set(Set { replicas: 1, roll, min_ready: 0 }));
    assert_eq!((web.pod.metadata.name.as_str(), web.pod.spec.containers.len()), ("web", 1));
    let again = super::super::resume_workload(&web.source, "").unwrap();
    assert_eq!((again.spec, again.pod.source), (web.spec, web.pod.source));
}

#[test]
fn how_many_may_be_missing_or_too_many() {
    let roll = |strategy: &str| set("Deployment", &format!(", replicas: 10, strategy: {strategy}")).roll;
    for (strategy, surge, unavailable) in [
        ("{}", 3, 2),
        ("{type: RollingUpdate}", 3, 2),
        ("{rollingUpdate: {maxSurge: 0}}", 0, 2),
        ("{rollingUpdate: {maxSurge: 2, maxUnavailable: 100%}}", 2, 10),
        ("{rollingUpdate: {maxSurge: 0, maxUnavailable: 5%}}", 0, 1),
        ("{rollingUpdate: {maxSurge: 1%, maxUnavailable: 0}}", 1, 0),
    ] {
        assert_eq!(roll(strategy), Roll::Rolling { surge, unavailable }, "{strategy}");
    }
    assert_eq!(roll("{type: Recreate}"), Roll::Recreate);
    assert_eq!(set("ReplicaSet", ", replicas: 3"), Set { replicas: 3, roll: Roll::Never, min_ready: 0 });
    let daemon = |more: &str| set("DaemonSet", more);
    let one = |roll| Set { replicas: 1, roll, min_ready: 0 };
    assert_eq!(daemon(""), one(Roll::Rolling { surge: 0, unavailable: 1 }));
    assert_eq!(daemon(", updateStrategy: {type: OnDelete}"), one(Roll::Never));
    let surge = ", updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}";
    assert_eq!(daemon(surge), one(Roll::Rolling { surge: 1, unavailable: 0 }));
}

#[test]
fn what_the_api_server_refuses_of_sets_is_refused_in_its_words() {
    for (kind, spec, said) in [
        ("Deployment", format!("template: {TEMPLATE}"), "spec.selector: Required value"),
        ("Deployment", "selector: {matchLabels: {app: web}}".to_owned(), "spec.template: Required value"),
        (
            "Deployment",
            format!("selector: {{}}, template: {TEMPLATE}"),
            "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
        ),
        (
            "Deployment",
            format!("selector: {{matchLabels: {{app: other}}}}, template: {TEMPLATE}"),
            "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
        ),
        (
            "Deployment",
            format!(
                "selector: {{matchExpressions: [{{key: app, operator: NotIn, values: [web]}}]}}, template: {TEMPLATE}"
            ),
            "does not match template",
        ),
        (
            "Deployment",
            format!("selector: {{matchExpressions: [{{key: app, operator: In}}]}}, template: {TEMPLATE}"),
            "spec.selector.matchExpressions[0].values: Required value",
        ),
        (
            "Deployment",
            format!("selector: {{matchExpressions: [{{key: app, operator: Like}}]}}, template: {TEMPLATE}"),
            "not a valid selector operator",
        ),
        (
            "Deployment",
            selected(", replicas: -1"),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "Deployment",
            selected(", replicas: 501"),
            "spec.replicas: Invalid value: 501: must be less than or equal to 500",
        ),
        (
            "Deployment",
            selected(", strategy: {type: Blue}"),
            "spec.strategy.type: Unsupported value: \"Blue\": supported values: \"Recreate\", \"RollingUpdate\"",
        ),
        (
            "Deployment",
            selected(", strategy: {type: Recreate, rollingUpdate: {}}"),
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ),
        (
            "Deployment",
            selected(", strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0}}"),
            "maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
        (
            "Deployment",
            selected(", strategy: {rollingUpdate: {maxSurge: half}}"),
            "maxSurge: Invalid value: \"half\": a valid percent string",
        ),
        (
            "Deployment",
            selected(", minReadySeconds: 600"),
            "spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds",
        ),
        ("Deployment", selected(", paused: true"), "spec.paused is not supported yet"),
        (
            "Deployment",
            selected(", replica: 3"),
            "spec.replica: no such field in a apps/v1 Deployment (hint: did you mean replicas?)",
        ),
        ("DaemonSet", selected(", replicas: 3"), "spec.replicas: no such field in a apps/v1 DaemonSet"),
        (
            "StatefulSet",
            selected(", volumeClaimTemplates: []"),
            "spec.volumeClaimTemplates is not supported yet",
        ),
        (
            "StatefulSet",
            selected(", podManagementPolicy: Random"),
            "supported values: \"OrderedReady\", \"Parallel\"",
        ),
        ("ReplicaSet", selected(", strategy: {}"), "spec.strategy: no such field"),
    ] {
        let told = refused(kind, &spec);
        assert!(told.contains(said), "{kind} {spec}: {told}");
    }
    let never = selected("")
        .replace("spec: {containers", "spec: {restartPolicy: Never, activeDeadlineSeconds: 5, containers");
    let told = refused("Deployment", &never);
    assert!(
        told.contains(
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""
        ),
        "{told}"
    );
    assert!(told.contains("spec.template.spec.activeDeadlineSeconds: Forbidden"), "{told}");
    let typo = selected("").replace("image:", "imag:");
    let told = refused("Deployment", &typo);
    assert!(
        told.contains(
            "spec.template.spec.containers[0].imag: no such field in a v1 Pod (hint: did you mean image?)"
        ),
        "{told}"
    );
}

#[test]
fn a_stateful_set_has_an_order() {
    let Spec::Ordered(ordered) = read("StatefulSet", &selected(", replicas: 3, serviceName: db")).spec else {
        panic!()
    };
    assert_eq!(ordered, Ordered { replicas: 3, first: 0, parallel: false, partition: Some(0), min_ready: 0 });
    let more = ", ordinals: {start: 5}, podManagementPolicy: Parallel, updateStrategy: {rollingUpdate: {partition: 6}}";
    let Spec::Ordered(ordered) = read("StatefulSet", &selected(more)).spec else { panic!() };
    assert_eq!(ordered, Ordered { replicas: 1, first: 5, parallel: true, partition: Some(6), min_ready: 0 });
    let web = read("StatefulSet", &selected(", serviceName: db"));
    assert_eq!(web.pod.spec.subdomain.as_deref(), Some("db"));
}

#[test]
fn a_job_is_done_after_one_pod_unless_it_says_more() {
    let job = |more: &str| match read("Job", &format!("template: {TASK}{more}")).spec {
        Spec::Job(job) => job,
        other => panic!("{other:?}"),
    };
    let one = job("");
    assert_eq!((one.completions, one.parallelism, one.backoff_limit, one.deadline), (Some(1), 1, 6, None));
    assert_eq!((one.restart, one.indexed, one.suspend, one.ttl), (RestartPolicy::Never, false, false, None));
    let queue = job(", parallelism: 3");
    assert_eq!((queue.completions, queue.parallelism), (None, 3));
    let many = job(", completions: 5, completionMode: Indexed, ttlSecondsAfterFinished: 0, backoffLimit: 0");
    assert_eq!((many.completions, many.indexed, many.ttl, many.backoff_limit), (Some(5), true, Some(0), 0));
    for (more, said) in [
        (", completionMode: Indexed", "spec.completions: Required value: when completion mode is Indexed"),
        (", completions: -1", "spec.completions: Invalid value: -1: must be greater than or equal to 0"),
        (", parallelism: 1000", "spec.parallelism: Invalid value: 1000: must be less than or equal to 500"),
        (", podFailurePolicy: {}", "spec.podFailurePolicy is not supported yet"),
    ] {
        let told = refused("Job", &format!("template: {TASK}{more}"));
        assert!(told.contains(said), "{more}: {told}");
    }
    let told = refused("Job", &format!("template: {TEMPLATE}"));
    assert!(
        told.contains(
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""
        ),
        "{told}"
    );
}

#[test]
fn a_cron_job_has_a_schedule_and_jobs() {
    let cron =
        |more: &str| format!("schedule: '*/5 * * * *', jobTemplate: {{spec: {{template: {TASK}}}}}{more}");
    let Spec::Cron(read_cron) = read("CronJob", &cron(", timeZone: Etc/UTC")).spec else { panic!() };
    assert_eq!((read_cron.keep_complete, read_cron.keep_failed), (3, 1));
    assert_eq!((read_cron.concurrency, read_cron.suspend, read_cron.late), (Concurrency::Allow, false, None));
    for (spec, said) in [
        (
            cron("").replace("*/5 * * * *", "* *"),
            "spec.schedule: Invalid value: \"* *\": expected exactly 5 fields",
        ),
        (
            cron(", timeZone: Mars/Olympus"),
            "spec.timeZone: Invalid value: \"Mars/Olympus\": unknown time zone Mars/Olympus",
        ),
        (
            cron(", concurrencyPolicy: Maybe"),
            "spec.concurrencyPolicy: Unsupported value: \"Maybe\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
        ),
        (
            cron("").replace("Never", "Always"),
            "spec.jobTemplate.spec.template.spec.restartPolicy: Required value",
        ),
        (cron("").replace("image:", "imag:"), "spec.jobTemplate.spec.template.spec.containers[0].imag"),
    ] {
        let told = refused("CronJob", &spec);
        assert!(told.contains(said), "{spec}: {told}");
    }
    // What its jobs would be refused for.
    let sample = |metadata: &str| {
        cron("").replace("{spec: {template", &format!("{{metadata: {metadata}, spec: {{template"))
    };
    read("CronJob", &sample("{labels: {a: b}, annotations: {c: d}}"));
    for (metadata, said) in [
        ("{labels: {a: 1}}", "spec.jobTemplate.metadata.labels"),
        ("{lables: {a: b}}", "spec.jobTemplate.metadata.lables"),
        ("[1]", "spec.jobTemplate.metadata: invalid type"),
    ] {
        let told = refused("CronJob", &sample(metadata));
        assert!(told.contains(said), "{metadata}: {told}");
    }
    let long = text("CronJob", &cron("")).replace("name: web}", &format!("name: {}}}", "a".repeat(53)));
    assert!(parse(&long).unwrap_err().to_string().contains("must be no more than 52 characters"));
}

#[test]
fn workloads_stand_beside_pods_and_use_the_objects_of_the_file() {
    let deployment = text("Deployment", &selected(""))
        .replace("image: a.io/x", "image: a.io/x, envFrom: [{configMapRef: {name: words}}]");
    let words = "{apiVersion: v1, kind: ConfigMap, metadata: {name: words}, data: {A: b}}";
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: c, image: i}]}}";
    let read = parse(&format!("{deployment}\n---\n{words}\n---\n{pod}\n")).unwrap();
    assert_eq!((read.pods.len(), read.workloads.len(), read.all_pods().count()), (1, 1, 2));
    let kept = read.workloads[0].objects().source();
    assert!(kept.contains("words"), "{kept}");
    let again = super::super::resume_workload(&read.workloads[0].source, &kept).unwrap();
    assert_eq!(again.objects(), read.workloads[0].objects());
    let told = parse(&format!("{deployment}\n---\n{deployment}\n")).unwrap_err().to_string();
    assert!(told.contains("duplicate Deployment web"), "{told}");
}
