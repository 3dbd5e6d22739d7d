//! Workloads beside the pods of a file.

use std::collections::BTreeSet;

use berth_testkit::guard::{wait_for, wait_until};
use berth_testkit::require_root;
use serde_json::Value;

use crate::home::{BUSYBOX, Home, LIMIT};

fn workload(kind: &str, name: &str, spec: &str) -> String {
    let group = if kind.ends_with("Job") { "batch/v1" } else { "apps/v1" };
    format!("{{apiVersion: {group}, kind: {kind}, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n")
}

/// A template whose pods run this line; more fields of the container.
fn served(line: &str, more: &str) -> String {
    format!(
        "selector: {{matchLabels: {{app: web}}}}, template: {{metadata: {{labels: {{app: web}}}}, spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: main, image: {BUSYBOX}, command: [sh, -c, '{line}']{more}}}]}}}}"
    )
}

fn task(line: &str, policy: &str) -> String {
    format!(
        "template: {{spec: {{restartPolicy: {policy}, terminationGracePeriodSeconds: 0, containers: [{{name: main, image: {BUSYBOX}, command: [sh, -c, '{line}']}}]}}}}"
    )
}

fn names(home: &Home) -> BTreeSet<String> {
    let pods = home.berth(&["pods", "-o", "json"]).json();
    pods.as_array().unwrap().iter().map(|pod| pod["name"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the workload of this name is in this state.
#[track_caller]
fn wait_workload(home: &Home, name: &str, state: &str) -> Value {
    let mut last = Value::Null;
    let found = wait_for(LIMIT, || {
        last = home.berth(&["workloads", "-o", "json"]).json();
        last.as_array().unwrap().iter().find(|w| w["name"] == name && w["state"] == state).cloned()
    });
    found.unwrap_or_else(|| panic!("{name} did not become {state}: {last}"))
}

#[test]
fn a_deployment_keeps_its_pods_and_replaces_them_by_a_new_template() {
    require_root!();
    let mut home = Home::start();
    let play = |home: &Home, replicas: u32, word: &str| {
        let spec = format!("replicas: {replicas}, {}", served(&format!("echo {word}; exec sleep 1000"), ""));
        home.write("web.yaml", &workload("Deployment", "web", &spec));
        home.berth(&["play", "-q", "web.yaml"])
    };
    let said = play(&home, 2, "one");
    assert!(said.err.contains("deployment/web made"), "{said:?}");
    assert_eq!(said.fine().lines().count(), 3);
    wait_workload(&home, "web", "ready");
    let first = names(&home);
    assert!(
        first.len() == 2 && first.iter().all(|name| name.starts_with("web-") && name.len() == 20),
        "{first:?}"
    );

    // The same file changes nothing.
    assert!(play(&home, 2, "one").err.contains("deployment/web unchanged"));
    assert_eq!(names(&home), first);
    // A pod that is removed comes again, also under another daemon.
    let gone = first.first().unwrap();
    home.berth(&["rm", "-f", gone]).fine();
    assert!(wait_until(LIMIT, || names(&home).len() == 2 && !names(&home).contains(gone)));
    home.daemon.kill().unwrap();
    home.daemon.start().unwrap();
    wait_workload(&home, "web", "ready");
    let kept = names(&home);
    home.berth(&["rm", "-f", kept.first().unwrap()]).fine();
    assert!(wait_until(LIMIT, || names(&home).len() == 2 && names(&home) != kept));

    // More of them, then another template.
    play(&home, 3, "one").fine();
    wait_workload(&home, "web", "ready");
    let old = names(&home);
    assert_eq!(old.len(), 3);
    assert!(play(&home, 3, "two").err.contains("deployment/web changed"));
    assert!(
        wait_until(LIMIT, || names(&home).len() == 3 && names(&home).is_disjoint(&old)),
        "{:?}",
        names(&home)
    );
    wait_workload(&home, "web", "ready");
    let new = names(&home);
    let log = || home.berth(&["logs", new.first().unwrap()]).fine();
    assert!(wait_until(LIMIT, || log() == "two\n"), "{}", log());
    let other = served("true", "").replace("app: web", "app: other");
    let err = home.feed(&["play", "-"], workload("Deployment", "web", &other).as_bytes()).refused();
    assert!(err.contains("Deployment web: spec.selector: Invalid value: field is immutable"), "{err}");
    assert_eq!(home.berth(&["down", "web.yaml"]).fine(), "deployment/web\n");
    assert_eq!(names(&home), BTreeSet::new());
    home.clean();
}

#[test]
fn what_is_not_ready_holds_a_roll_and_a_missing_image_is_said() {
    require_root!();
    let home = Home::start();
    let probe =
        |test: &str| format!(", readinessProbe: {{periodSeconds: 1, exec: {{command: [sh, -c, '{test}']}}}}");
    let play = |test: &str| {
        let spec = served("trap exit TERM; sleep 1000 & wait", &probe(test));
        home.feed(&["play", "-q", "-"], workload("Deployment", "web", &spec).as_bytes())
    };
    play("true").fine();
    wait_workload(&home, "web", "ready");
    let old = names(&home);
    play("false").fine();
    let rolling = wait_workload(&home, "web", "rolling");
    assert_eq!((rolling["done"].as_u64(), rolling["current"].as_u64()), (Some(1), Some(0)));
    assert!(names(&home).is_superset(&old) && names(&home).len() == 2);
    // What does not get ready makes way for the next template.
    play("test -d /").fine();
    wait_workload(&home, "web", "ready");
    assert!(wait_until(LIMIT, || names(&home).len() == 1 && names(&home).is_disjoint(&old)));
    assert_eq!(home.berth(&["down", "deployment/web"]).fine(), "deployment/web\n");

    let spec = served("true", "").replace(BUSYBOX, "docker.io/library/nosuch:1");
    let err = home.feed(&["play", "-q", "-"], workload("Deployment", "none", &spec).as_bytes()).refused();
    assert!(err.contains("Deployment none") && err.contains("nosuch"), "{err}");
    assert_eq!(home.berth(&["workloads", "-q"]).fine(), "");
    home.clean();
}

#[test]
fn sets_of_other_kinds_have_their_names() {
    require_root!();
    let home = Home::start();
    let line = "exec sleep 1000";
    let all = [
        workload(
            "StatefulSet",
            "db",
            &format!("replicas: 2, serviceName: db, {}", served("hostname -f; exec sleep 1000", "")),
        ),
        workload("DaemonSet", "agent", &served(line, "")),
        workload("ReplicaSet", "some", &format!("replicas: 2, {}", served(line, ""))),
    ]
    .join("---\n");
    home.write("all.yaml", &all);
    home.berth(&["play", "-q", "all.yaml"]).fine();
    for name in ["db", "agent", "some"] {
        wait_workload(&home, name, "ready");
    }
    let pods = names(&home);
    let count = |prefix: &str| pods.iter().filter(|name| name.starts_with(prefix)).count();
    assert_eq!((count("db-"), count("agent-"), count("some-"), pods.len()), (2, 1, 2, 5), "{pods:?}");
    assert!(pods.contains("db-0") && pods.contains("db-1"), "{pods:?}");
    let log = || home.berth(&["logs", "db-1"]).fine();
    assert!(wait_until(LIMIT, || log() == "db-1.db.default.svc.cluster.local\n"), "{}", log());
    let out = home.berth(&["workloads"]).fine();
    assert!(out.lines().any(|line| line.starts_with("StatefulSet") && line.contains("2/2")), "{out}");
    assert_eq!(
        home.berth(&["down", "all.yaml"]).fine(),
        "statefulset/db\ndaemonset/agent\nreplicaset/some\n"
    );
    home.clean();
}

#[test]
fn jobs_run_to_their_end_and_are_counted() {
    require_root!();
    let mut home = Home::start();
    let good = format!(
        "completions: 3, parallelism: 2, completionMode: Indexed, {}",
        task("echo $JOB_COMPLETION_INDEX", "Never")
    );
    home.feed(&["play", "-q", "-"], workload("Job", "good", &good).as_bytes()).fine();
    let done = wait_workload(&home, "good", "complete");
    assert_eq!((done["done"].as_u64(), done["wanted"].as_u64()), (Some(3), Some(3)));
    let pods = names(&home);
    let mut said: Vec<_> = pods.iter().map(|pod| home.berth(&["logs", pod]).fine()).collect();
    said.sort();
    assert_eq!(said, ["0\n", "1\n", "2\n"]);
    // It is not run again, whoever looks.
    home.daemon.kill().unwrap();
    home.daemon.start().unwrap();
    wait_workload(&home, "good", "complete");
    home.berth(&[vec!["rm", "-f"], pods.iter().map(String::as_str).collect()].concat()).fine();
    assert!(
        home.feed(&["play", "-q", "-"], workload("Job", "good", &good).as_bytes())
            .err
            .contains("job/good unchanged")
    );
    assert_eq!(names(&home), BTreeSet::new());
    assert_eq!(home.berth(&["down", "good"]).fine(), "job/good\n");

    let bad = format!("backoffLimit: 0, {}", task("exit 3", "Never"));
    home.feed(&["play", "-q", "-"], workload("Job", "bad", &bad).as_bytes()).fine();
    assert_eq!(wait_workload(&home, "bad", "failed")["message"], "BackoffLimitExceeded");
    let late = format!("activeDeadlineSeconds: 1, {}", task("exec sleep 1000", "OnFailure"));
    home.feed(&["play", "-q", "-"], workload("Job", "late", &late).as_bytes()).fine();
    assert_eq!(wait_workload(&home, "late", "failed")["message"], "DeadlineExceeded");
    let gone = format!("ttlSecondsAfterFinished: 0, {}", task("true", "Never"));
    home.feed(&["play", "-q", "-"], workload("Job", "gone", &gone).as_bytes());
    let listed = || home.berth(&["workloads", "-q"]).fine();
    assert!(wait_until(LIMIT, || listed() == "job/bad\njob/late\n"), "{}", listed());
    home.berth(&["down", "bad", "late"]).fine();
    home.clean();
}

#[test]
fn a_cron_job_makes_jobs_by_the_clock() {
    require_root!();
    let home = Home::start();
    let spec = |more: &str| {
        format!("schedule: '@every 2s', {more} jobTemplate: {{spec: {{{}}}}}", task("echo tick", "Never"))
    };
    home.write("tick.yaml", &workload("CronJob", "tick", &spec("successfulJobsHistoryLimit: 1,")));
    home.berth(&["play", "-q", "tick.yaml"]).fine();
    let jobs = || -> Vec<Value> {
        let all = home.berth(&["workloads", "-o", "json"]).json();
        all.as_array().unwrap().iter().filter(|w| w["kind"] == "Job").cloned().collect()
    };
    assert!(wait_until(LIMIT, || jobs().iter().any(|job| job["state"] == "complete")), "{:?}", jobs());
    let first = jobs()[0]["name"].as_str().unwrap().to_owned();
    assert!(first.starts_with("tick-"), "{first}");
    home.write(
        "tick.yaml",
        &workload("CronJob", "tick", &spec("suspend: true, successfulJobsHistoryLimit: 0,")),
    );
    home.berth(&["play", "-q", "tick.yaml"]).fine();
    wait_workload(&home, "tick", "suspended");
    assert!(wait_until(LIMIT, || jobs().is_empty()), "{:?}", jobs());
    assert_eq!(home.berth(&["down", "tick.yaml"]).fine(), "cronjob/tick\n");
    home.clean();
}

#[test]
fn a_claim_outlives_its_pods_until_it_is_removed() {
    require_root!();
    let mut home = Home::start();
    let claim = "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}\n";
    let pod = |line: &str, volume: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: user}}, spec: {{restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{{name: main, image: {BUSYBOX}, command: [sh, -c, '{line}'], volumeMounts: [{{name: v, mountPath: /data}}]}}], volumes: [{{name: v, persistentVolumeClaim: {{claimName: data{volume}}}}}]}}}}\n"
        )
    };
    let alone = pod("true", "");
    let err = home.feed(&["play", "-q", "-"], alone.as_bytes()).refused();
    assert!(err.contains("persistentvolumeclaim \"data\" not found"), "{err}");

    let writes =
        [claim, &pod("date > /data/when; grep /data /proc/mounts; exec sleep 1000", "")].join("---\n");
    home.write("user.yaml", &writes);
    let said = home.berth(&["play", "-q", "user.yaml"]);
    assert!(said.err.contains("persistentvolumeclaim/data made"), "{said:?}");
    said.fine();
    assert!(wait_until(LIMIT, || home.berth(&["logs", "user"]).out.contains("/data")));
    let mounted = home.berth(&["logs", "user"]).fine();
    assert!(mounted.contains("nosuid") && mounted.contains("nodev"), "{mounted}");
    let out = home.berth(&["workloads"]).fine();
    assert!(out.contains("PersistentVolumeClaim") && out.contains("kept"), "{out}");
    assert_eq!(home.berth(&["down", "user.yaml"]).fine(), "user\n");
    home.daemon.kill().unwrap();
    home.daemon.start().unwrap();

    // Another pod finds what the first one wrote, and may only read it.
    let reads = pod("cat /data/when; touch /data/x || echo kept; exec sleep 1000", ", readOnly: true");
    home.feed(&["play", "-q", "-"], reads.as_bytes()).fine();
    assert!(wait_until(LIMIT, || home.berth(&["logs", "user"]).out.contains("kept")));
    assert!(home.berth(&["logs", "user"]).fine().lines().count() >= 2);
    // One that a pod uses is not removed.
    home.write("claim.yaml", claim);
    let used = home.berth(&["down", "--volumes", "claim.yaml"]);
    assert!(
        used.code == 1 && used.err.contains("PersistentVolumeClaim data is used by pod user"),
        "{used:?}"
    );
    let said = home.berth(&["down", "--volumes", "user.yaml"]).fine();
    assert_eq!(said, "user\npersistentvolumeclaim/data\n");
    assert_eq!(home.berth(&["workloads", "-q"]).fine(), "");
    home.clean();
}

/// Its workload makes another in its place: not one that was run anew and another.
#[test]
fn a_pod_that_is_run_anew_is_replaced_by_its_workload() {
    require_root!();
    let home = Home::start();
    let spec = format!("replicas: 1, {}", served("exec sleep 1000", ""));
    home.feed(&["play", "-q", "-"], workload("Deployment", "web", &spec).as_bytes()).fine();
    wait_workload(&home, "web", "ready");
    let old = names(&home);
    home.berth(&["restart", old.first().unwrap()]).fine();
    wait_workload(&home, "web", "ready");
    assert!(wait_until(LIMIT, || names(&home).len() == 1 && names(&home).is_disjoint(&old)));
    // What runs is left as it is.
    let new = names(&home);
    home.berth(&["start", new.first().unwrap()]).fine();
    assert_eq!(names(&home), new);

    home.feed(&["play", "-q", "-"], workload("Job", "once", &task("exec sleep 1000", "Never")).as_bytes())
        .fine();
    wait_workload(&home, "once", "running");
    let job = names(&home).difference(&new).next().unwrap().clone();
    let said = home.berth(&["restart", &job]);
    assert!(said.code == 1 && said.err.contains(&format!("{job} belongs to job/once")), "{said:?}");
    assert!(names(&home).contains(&job));
    for name in ["deployment/web", "job/once"] {
        home.berth(&["down", name]).fine();
    }
    home.clean();
}
