//! Probes and hooks of local pods.

use std::time::{Duration, Instant};

use berth_testkit::guard::{wait_for, wait_until};
use berth_testkit::require_root;
use serde_json::Value;

use crate::home::{BUSYBOX, DEMO, Home, LIMIT};

/// A pod of one container, `c`, whose volume `/kept` lives as long as the pod.
fn pod(name: &str, spec: &str, line: &str, fields: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  {spec}\n  volumes: [{{name: kept, emptyDir: {{}}}}]\n  containers:\n  - name: c\n    image: {BUSYBOX}\n    command: [sh, -c, '{line}']\n    volumeMounts: [{{name: kept, mountPath: /kept}}]\n    {fields}\n"
    )
}

#[track_caller]
fn play(home: &Home, text: &str) {
    home.feed(&["play", "-q", "-"], text.as_bytes()).fine();
}

/// Waits until the newest attempt of the container is as it should be.
#[track_caller]
fn wait_until_it(home: &Home, pod: &str, is: impl Fn(&Value) -> bool) -> Value {
    let mut last = Vec::new();
    let found = wait_for(LIMIT, || {
        last = home.containers();
        let newest = last.iter().filter(|c| c["pod"] == pod).max_by_key(|c| c["attempt"].as_u64())?;
        is(newest).then(|| newest.clone())
    });
    found.unwrap_or_else(|| panic!("{pod} did not become so: {last:?}"))
}

const TRAPS: &str = "trap \"exit 0\" TERM; touch /kept/up; sleep 1000 & wait";

#[test]
fn what_fails_its_liveness_probe_is_ended_and_run_again() {
    require_root!();
    let home = Home::start();
    let probe = "{periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 1, exec: {command: [test, ! , -e, /kept/ill]}}";
    // It ends well when it is asked to: by OnFailure it is run again all the same, since its probe failed.
    let fields = format!("livenessProbe: {}", probe.replace("! ", "'!'"));
    play(&home, &pod("lives", "restartPolicy: OnFailure", TRAPS, &fields));
    let first = wait_until_it(&home, "lives", |c| c["state"] == "running");
    assert_eq!((&first["attempt"], &first["ready"]), (&0.into(), &true.into()), "{first}");
    home.berth(&["exec", "lives", "touch", "/kept/ill"]).fine();
    let next = wait_until_it(&home, "lives", |c| c["attempt"] == 1);
    let old = home.containers().into_iter().find(|c| c["attempt"] == 0).unwrap();
    assert_eq!((&old["state"], &old["exitCode"]), (&"exited".into(), &0.into()), "{old}");
    assert_ne!(next["id"], first["id"]);
    home.berth(&["down", "-t", "0", "lives"]).fine();

    play(&home, &pod("dies", "restartPolicy: Never", TRAPS, &fields.replace("/kept/ill", "/kept/up")));
    let ended = wait_until_it(&home, "dies", |c| c["state"] == "exited");
    assert_eq!(ended["attempt"], 0);
    home.berth(&["down", "-t", "0", "dies"]).fine();
    home.clean();
}

#[test]
fn a_probe_that_is_late_has_failed_and_its_own_grace_counts() {
    require_root!();
    let home = Home::start();
    let times = "periodSeconds: 1, failureThreshold: 2, timeoutSeconds: 1, terminationGracePeriodSeconds: 1";
    let fields = format!("startupProbe: {{{times}, exec: {{command: [sleep, '100']}}}}");
    // The pod's grace would be longer than the test waits.
    let spec = "restartPolicy: Never\n  terminationGracePeriodSeconds: 1000";
    play(&home, &pod("late", spec, "trap : TERM; while :; do sleep 1; done", &fields));
    let shown = wait_until_it(&home, "late", |c| c["probe"] != "");
    assert!(shown["probe"].as_str().unwrap().starts_with("startup probe failed: "), "{shown}");
    assert_eq!(shown["ready"], false);
    let ended = wait_until_it(&home, "late", |c| c["state"] == "exited");
    assert_eq!(ended["exitCode"], 137);
    home.berth(&["down", "late"]).fine();
    home.clean();
}

#[test]
fn readiness_follows_its_probe_also_under_the_next_daemon() {
    require_root!();
    let mut home = Home::start();
    let fields = "readinessProbe: {periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 1, exec: {command: [test, -e, /kept/ready]}}";
    play(&home, &pod("reads", "terminationGracePeriodSeconds: 1", "exec sleep 1000", fields));
    let not = wait_until_it(&home, "reads", |c| c["probe"] != "");
    assert_eq!((&not["ready"], &not["state"]), (&false.into(), &"running".into()));
    assert!(home.berth(&["ps"]).fine().contains("running (not ready)"));
    home.berth(&["exec", "reads", "touch", "/kept/ready"]).fine();
    let ready = wait_until_it(&home, "reads", |c| c["ready"] == true);
    assert_eq!(ready["probe"], "");
    home.daemon.kill().unwrap();
    home.daemon.start().unwrap();
    wait_until_it(&home, "reads", |c| c["ready"] == true && c["id"] == ready["id"]);
    home.berth(&["exec", "reads", "rm", "/kept/ready"]).fine();
    let not = wait_until_it(&home, "reads", |c| c["ready"] == false);
    // It is not ended for it.
    assert_eq!((&not["attempt"], &not["id"]), (&0.into(), &ready["id"]));
    home.berth(&["down", "reads"]).fine();
    home.clean();
}

#[test]
fn a_server_is_asked_on_the_pods_address() {
    require_root!();
    let home = Home::start();
    let pod = |name: &str, port: u16| {
        let get = format!("{{periodSeconds: 1, httpGet: {{port: {port}, path: /health}}}}");
        let open = format!("{{periodSeconds: 1, tcpSocket: {{port: {port}}}}}");
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n  - name: c\n    image: {DEMO}\n    startupProbe: {open}\n    readinessProbe: {get}\n"
        )
    };
    play(&home, &pod("serves", 8080));
    wait_until_it(&home, "serves", |c| c["ready"] == true);
    let asked = wait_until(LIMIT, || home.berth(&["logs", "serves"]).fine().contains("GET /health"));
    assert!(asked, "{}", home.berth(&["logs", "serves"]).fine());
    play(&home, &pod("silent", 8081));
    let not = wait_until_it(&home, "silent", |c| c["probe"] != "");
    assert!(not["probe"].as_str().unwrap().contains("port 8081"), "{not}");
    home.berth(&["down", "serves", "silent"]).fine();
    home.clean();
}

#[test]
fn the_example_is_ready_until_its_page_is_gone() {
    require_root!();
    let home = Home::start();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/probes.yaml");
    home.berth(&["play", "-q", example]).fine();
    let ready = wait_until_it(&home, "probed", |c| c["ready"] == true);
    assert!(home.berth(&["logs", "probed"]).fine().contains("started"));
    home.berth(&["exec", "probed", "rm", "/www/index.html"]).fine();
    let not = wait_until_it(&home, "probed", |c| c["ready"] == false && c["probe"] != "");
    assert!(not["probe"].as_str().unwrap().contains("404") || not["id"] != ready["id"], "{not}");
    wait_until_it(&home, "probed", |c| c["attempt"] == 1 && c["ready"] == true);
    home.berth(&["down", "probed"]).fine();
    home.clean();
}

#[test]
fn hooks_run_after_the_start_and_before_the_end() {
    require_root!();
    let home = Home::start();
    let hooks = "lifecycle: {postStart: {exec: {command: [sh, -c, \"echo post >> /kept/list\"]}}, preStop: {exec: {command: [sh, -c, \"echo pre > /proc/1/fd/1\"]}}}";
    play(&home, &pod("hooks", "terminationGracePeriodSeconds: 20", TRAPS, hooks));
    // `play` waits for it.
    assert_eq!(home.berth(&["exec", "hooks", "cat", "/kept/list"]).fine(), "post\n");
    home.berth(&["stop", "hooks"]).fine();
    assert_eq!(home.berth(&["logs", "hooks"]).fine(), "pre\n");
    home.berth(&["down", "hooks"]).fine();

    // Without a grace there is no hook; a hook that never ends takes no more than the grace, and less when it is asked for.
    let sleeps = "lifecycle: {preStop: {exec: {command: [sleep, \"1000\"]}}}";
    for (grace, flags, least) in [(1, &[] as &[&str], 1), (1000, &["-t", "0"], 0)] {
        let spec = format!("terminationGracePeriodSeconds: {grace}");
        play(&home, &pod("bounded", &spec, "exec sleep 1000", sleeps));
        let begun = Instant::now();
        home.berth(&[&["down"], flags, &["bounded"]].concat()).fine();
        assert!(begun.elapsed() >= Duration::from_secs(least), "{:?}", begun.elapsed());
    }
    let marks = "lifecycle: {preStop: {exec: {command: [sh, -c, \"touch /kept/hook; sleep 1000\"]}}}";
    play(&home, &pod("waits", "terminationGracePeriodSeconds: 1000", "exec sleep 1000", marks));
    let first = home.spawn(&["down", "waits"]);
    let begun = wait_until(LIMIT, || home.berth(&["exec", "waits", "test", "-e", "/kept/hook"]).code == 0);
    assert!(begun, "the hook did not begin");
    home.berth(&["down", "-t", "0", "waits"]).fine();
    first.end().fine();
    home.clean();
}

#[test]
fn a_post_start_that_fails_ends_its_container() {
    require_root!();
    let home = Home::start();
    let fails = "lifecycle: {postStart: {exec: {command: [sh, -c, \"echo why >&2; exit 3\"]}}}";
    let said = home.feed(&["play", "-"], pod("fails", "restartPolicy: Never", TRAPS, fails).as_bytes());
    assert!(said.err.contains("postStart failed: status 3: why"), "{said:?}");
    wait_until_it(&home, "fails", |c| c["state"] == "exited");
    home.berth(&["down", "fails"]).fine();

    // One that waits holds up `play`, but not `down`.
    let waits = "lifecycle: {postStart: {sleep: {seconds: 1000}}}";
    let text = pod("holds", "terminationGracePeriodSeconds: 1000", "exec sleep 1000", waits);
    home.write("holds.yaml", &text);
    let call = home.spawn(&["play", "-q", "holds.yaml"]);
    let not = wait_until_it(&home, "holds", |c| c["state"] == "running");
    assert_eq!(not["ready"], false);
    home.berth(&["down", "-t", "0", "holds"]).fine();
    call.end();
    home.clean();
}

#[test]
fn sidecars_start_before_and_end_after() {
    require_root!();
    let home = Home::start();
    let mount = "    volumeMounts: [{name: kept, mountPath: /kept}]\n";
    let container = |name: &str, line: &str, fields: &str| {
        format!("  - name: {name}\n    image: {BUSYBOX}\n    command: [sh, -c, '{line}']\n{mount}{fields}")
    };
    let says = |name: &str| {
        format!(
            "trap \"echo {name} >> /kept/list; exit 0\" TERM; echo {name} >> /kept/list; sleep 1000 & wait"
        )
    };
    let probe = "    restartPolicy: Always\n    startupProbe: {periodSeconds: 1, exec: {command: [test, -e, /kept/list]}}\n";
    let pod = |name: &str, policy: &str, main: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: {policy}\n  terminationGracePeriodSeconds: 60\n  volumes: [{{name: kept, hostPath: {{path: {}, type: Directory}}}}]\n  initContainers:\n{}{}  containers:\n{}",
            home.dir.path().join("kept").display(),
            container("one", &says("one"), probe),
            container("two", &says("two"), probe),
            container("main", main, ""),
        )
    };
    std::fs::create_dir(home.dir.path().join("kept")).unwrap();
    let list = || std::fs::read_to_string(home.dir.path().join("kept/list")).unwrap_or_default();
    play(&home, &pod("stays", "Always", &says("main")));
    assert!(wait_until(LIMIT, || list() == "one\ntwo\nmain\n"), "{}", list());
    home.berth(&["down", "stays"]).fine();
    assert_eq!(list(), "one\ntwo\nmain\nmain\ntwo\none\n");

    // A pod whose containers have ended needs no sidecars.
    std::fs::remove_file(home.dir.path().join("kept/list")).unwrap();
    play(&home, &pod("ends", "Never", "echo main >> /kept/list"));
    assert!(wait_until(LIMIT, || list() == "one\ntwo\nmain\ntwo\none\n"), "{}", list());
    home.wait_state("ends", "one", "exited");
    home.berth(&["down", "ends"]).fine();
    home.clean();
}
