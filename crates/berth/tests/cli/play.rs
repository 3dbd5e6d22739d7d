//! `berth play` and `berth down`.

use berth_testkit::guard::{free_port, wait_for};
use berth_testkit::require_root;

use crate::home::{BUSYBOX, Home, LIMIT, page};

fn pod(name: &str, spec: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nspec:\n{spec}")
}

fn container(name: &str, line: &str) -> String {
    format!("  - name: {name}\n    image: {BUSYBOX}\n    command: [sh, -c, '{line}']\n")
}

#[test]
fn the_example_serves_its_page() {
    require_root!();
    let home = Home::start();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/web.yaml");
    let port = free_port();
    // The port of the example may be taken on this machine.
    let text = std::fs::read_to_string(example).unwrap().replace("18080", &port.to_string());
    home.write("web.yaml", &text);
    let out = home.berth(&["play", "web.yaml"]).fine();
    let row: Vec<_> = out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((row[0], row[3]), ("web", format!("127.0.0.1:{port}->8080/tcp").as_str()), "{out}");
    let address = row[2].split(',').next().unwrap();
    assert!(page(&format!("{address}:8080")).contains("web"));
    assert!(page(&format!("127.0.0.1:{port}")).contains("web"));
    let pods = home.berth(&["pods", "-o", "json"]).json();
    assert_eq!(pods[0]["addresses"][0], address);
    assert_eq!(pods[0]["labels"]["app"], "web");
    assert!(home.berth(&["logs", "web"]).fine().contains("serves port 8080"));

    let err = home.berth(&["play", "web.yaml"]).refused();
    assert!(err.contains("pod web exists") && err.contains("hint: "), "{err}");
    let out = home.berth(&["play", "--replace", "web.yaml"]).fine();
    assert!(out.contains("web"), "{out}");
    assert_ne!(home.berth(&["pods", "-o", "json"]).json()[0]["id"], pods[0]["id"]);
    assert_eq!(home.berth(&["down", "web.yaml"]).fine(), "web\n");
    home.clean();
}

#[test]
fn several_documents_by_standard_input_and_down_by_name() {
    require_root!();
    let home = Home::start();
    let two = [
        pod("one", &format!("  containers:\n{}", container("a", "exec sleep 1000"))),
        pod("two", &format!("  containers:\n{}", container("a", "exec sleep 1000"))),
    ]
    .join("---\n");
    let out = home.feed(&["play", "-q", "-"], two.as_bytes()).fine();
    assert_eq!(out.lines().count(), 3, "{out}");
    assert_eq!(home.berth(&["down", "-t", "0", "one"]).fine(), "one\n");
    assert_eq!(home.feed(&["down", "-t", "0", "-"], two.as_bytes()).fine(), "two\n");
    home.clean();
}

#[test]
fn several_files_and_a_directory_are_one_manifest() {
    require_root!();
    let home = Home::start();
    std::fs::create_dir(home.dir.path().join("pods")).unwrap();
    home.write(
        "words.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: words}\ndata: {WORD: hello}\n",
    );
    let from = "    envFrom: [{configMapRef: {name: words}}]\n";
    let spec = format!(
        "  restartPolicy: Never\n  containers:\n{}{from}",
        container("a", "echo $WORD; exec sleep 1000")
    );
    home.write("pods/one.yaml", &pod("one", &spec));
    home.write("pods/two.yml", &pod("two", &spec));
    home.write("pods/notes.txt", "no manifest");
    let out = home.berth(&["play", "-q", "pods", "words.yaml"]).fine();
    assert_eq!(out.lines().count(), 3, "{out}");
    assert_eq!(home.berth(&["exec", "two", "sh", "-c", "echo $WORD"]).fine(), "hello\n");
    assert_eq!(home.berth(&["down", "-t", "0", "pods/", "words.yaml"]).fine(), "one\ntwo\n");
    home.write("pods/two.yml", &pod("two", &spec.replace("envFrom", "envFrm")));
    let said = home.berth(&["play", "-q", "pods", "words.yaml"]).refused();
    assert!(said.contains("pods/two.yml: document 1: spec.containers[0].envFrm"), "{said}");
    home.clean();
}

#[test]
fn what_is_not_known_is_refused_by_its_path_and_nothing_is_made() {
    require_root!();
    let home = Home::start();
    let spec = format!("  containers:\n{}    livenes: {{}}\n", container("a", "true"));
    let err = home.feed(&["play", "-"], pod("bad", &spec).as_bytes()).refused();
    assert!(err.contains("livenes") && err.contains("containers[0]"), "{err}");
    for (text, word) in [
        ("kind: Ingress\napiVersion: networking.k8s.io/v1\nmetadata: {name: x}\nspec: {}\n", "Ingress"),
        ("just text", "document 1 is not a manifest"),
        ("", "empty"),
        ("a: [", "line"),
    ] {
        let err = home.feed(&["play", "-"], text.as_bytes()).refused();
        assert!(err.to_lowercase().contains(&word.to_lowercase()), "{text:?}: {err}");
    }
    let err = home.berth(&["play", "nosuch.yaml"]).refused();
    assert!(err.contains("nosuch.yaml") && err.contains("No such file"), "{err}");
    home.clean();
}

#[test]
fn init_containers_run_one_after_another_and_share_volumes() {
    require_root!();
    let home = Home::start();
    let mount = "    volumeMounts: [{name: shared, mountPath: /shared}]\n";
    let spec = format!(
        "  restartPolicy: Never\n  volumes: [{{name: shared, emptyDir: {{}}}}]\n  initContainers:\n{}{mount}{}{mount}  containers:\n{}{mount}",
        container("first", "echo one >> /shared/list"),
        container("second", "echo two >> /shared/list"),
        container("main", "cat /shared/list"),
    );
    home.feed(&["play", "-q", "-"], pod("steps", &spec).as_bytes()).fine();
    home.wait_state("steps", "main", "exited");
    assert_eq!(home.berth(&["logs", "steps/main"]).fine(), "one\ntwo\n");
    home.berth(&["down", "steps"]).fine();

    let spec = format!(
        "  restartPolicy: Never\n  initContainers:\n{}  containers:\n{}",
        container("first", "echo why; exit 4"),
        container("main", "true"),
    );
    let err = home.feed(&["play", "-q", "-"], pod("stuck", &spec).as_bytes()).refused();
    assert!(err.contains("init container first failed with status 4"), "{err}");
    assert_eq!(home.berth(&["logs", "stuck/first"]).fine(), "why\n");
    home.berth(&["down", "stuck"]).fine();
    home.clean();
}

#[test]
fn a_container_that_fails_is_run_again_after_its_back_off() {
    require_root!();
    let mut home = Home::start();
    let mount = "    volumeMounts: [{name: kept, mountPath: /kept}]\n";
    let line = "echo x >> /kept/runs; test $(wc -l < /kept/runs) = 3";
    let spec = format!(
        "  restartPolicy: OnFailure\n  volumes: [{{name: kept, emptyDir: {{}}}}]\n  containers:\n{}{mount}",
        container("a", line)
    );
    home.feed(&["play", "-q", "-"], pod("again", &spec).as_bytes()).fine();
    // The first time at once.
    let first = wait_for(LIMIT, || {
        let found = home.wait_state("again", "a", "exited");
        (found["attempt"] == 1).then_some(found)
    });
    assert_eq!(first.expect("no second attempt")["exitCode"], 1);
    // A daemon that was restarted in the meantime continues it.
    home.daemon.kill().unwrap();
    home.daemon.start().unwrap();
    let second = wait_for(LIMIT, || {
        let found = home.wait_state("again", "a", "exited");
        (found["attempt"] == 2).then_some(found)
    });
    assert_eq!(second.expect("no third attempt")["exitCode"], 0);
    home.berth(&["down", "again"]).fine();
    home.clean();
}

#[test]
fn a_pod_ends_at_its_deadline_and_stays_ended() {
    require_root!();
    let home = Home::start();
    let limits = "  activeDeadlineSeconds: 10\n  terminationGracePeriodSeconds: 1\n";
    let spec = format!("{limits}  containers:\n{}", container("a", "exec sleep 1000"));
    home.feed(&["play", "-q", "-"], pod("late", &spec).as_bytes()).fine();
    let ended = home.wait_state("late", "a", "exited");
    assert_eq!((&ended["attempt"], &ended["exitCode"]), (&0.into(), &137.into()), "{ended}");
    let stopped = wait_for(LIMIT, || {
        let pods = home.berth(&["pods", "-o", "json"]).json();
        (pods[0]["state"] != "ready").then_some(pods)
    });
    let pods = stopped.expect("the pod is ready");
    assert_eq!(pods[0]["containers"].as_array().unwrap().len(), 1, "{pods}");
    home.berth(&["down", "late"]).fine();

    let spec = format!(
        "{limits}  initContainers:\n{}  containers:\n{}",
        container("i", "exec sleep 1000"),
        container("a", "true")
    );
    let said = home.feed(&["play", "-q", "-"], pod("init", &spec).as_bytes()).refused();
    assert!(said.contains("pod init was active longer than its activeDeadlineSeconds"), "{said}");
    home.berth(&["down", "init"]).fine();
    home.clean();
}

#[test]
fn a_pod_that_cannot_start_leaves_nothing() {
    require_root!();
    let home = Home::start();
    let spec = format!("  containers:\n{}", container("a", "true").replace("[sh,", "[/nosuch,"));
    let said = home.feed(&["play", "-q", "-"], pod("broken", &spec).as_bytes());
    let err = said.refused();
    assert!(err.contains("/nosuch") && err.contains("not found"), "{err}");
    home.clean();
    let out = home.feed(&["down", "-"], pod("broken", &spec).as_bytes());
    assert_eq!((out.code, out.err.as_str()), (0, "no such pod is running\n"));
    let said = home.berth(&["down", "nosuch.yaml"]);
    assert!(said.code == 1 && said.err.contains("read the manifest nosuch.yaml: No such file"), "{said:?}");
    let said = home.berth(&["down", "broken"]);
    assert!(said.code == 1 && said.err.contains("broken"), "{said:?}");
}

#[test]
fn a_mistake_in_the_last_document_is_found_before_the_first_pod_runs() {
    require_root!();
    let home = Home::start();
    let fine = pod("one", &format!("  containers:\n{}", container("a", "exec sleep 1000")));
    let wrong = pod("two", &format!("  containers:\n{}", container("A", "exec sleep 1000")));
    let err = home.feed(&["play", "-q", "-"], format!("{fine}---\n{wrong}").as_bytes()).refused();
    assert!(err.contains("pod two: spec.containers[0].name"), "{err}");
    home.clean();
}

#[test]
fn an_init_container_that_keeps_failing_is_reported() {
    require_root!();
    let home = Home::start();
    let spec =
        format!("  initContainers:\n{}  containers:\n{}", container("i", "exit 3"), container("a", "true"));
    home.write("loops.yaml", &pod("loops", &spec));
    let call = home.spawn(&["play", "-q", "loops.yaml"]);
    call.complains("init container i failed with status 3, trying again (berth logs loops/i)\n");
    call.kill();
    assert_eq!(home.berth(&["down", "-t", "0", "loops"]).fine(), "loops\n");
    home.clean();
}

#[test]
fn a_pod_gets_variables_from_objects_of_its_manifest() {
    require_root!();
    let mut home = Home::start();
    let objects = "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {token: hunter2}\n---\n\
        apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {COLOUR: blue}\n";
    let spec = format!(
        "  restartPolicy: OnFailure\n  volumes: [{{name: kept}}]\n  containers:\n{}    \
         volumeMounts: [{{name: kept, mountPath: /kept}}]\n    envFrom: [{{configMapRef: {{name: settings}}}}]\n    env:\n    \
         - {{name: TOKEN, valueFrom: {{secretKeyRef: {{name: keys, key: token}}}}}}\n    \
         - {{name: IP, valueFrom: {{fieldRef: {{fieldPath: status.podIP}}}}}}\n    \
         - {{name: SAID, value: $(COLOUR) $(TOKEN) $(IP)}}\n",
        container("a", "echo $SAID >> /kept/said; until rm /kept/end; do sleep 1; done; exit 1")
    );
    let text = format!("{}\n---\n{objects}", pod("told", &spec));
    home.feed(&["play", "-q", "-"], text.as_bytes()).fine();
    let address = home.berth(&["pods", "-o", "json"]).json()[0]["addresses"][0].as_str().unwrap().to_owned();
    let line = format!("blue hunter2 {address}\n");
    let said = |home: &Home, expected: &str| {
        let found = wait_for(LIMIT, || {
            let out = home.berth(&["exec", "told", "cat", "/kept/said"]).out;
            (out == expected).then_some(())
        });
        found.unwrap_or_else(|| {
            panic!("not {expected:?}: {:?}", home.berth(&["exec", "told", "cat", "/kept/said"]))
        });
    };
    said(&home, &line);
    assert!(!home.berth(&["pods", "-o", "json"]).fine().contains("hunter2"));
    // A daemon that was restarted in the meantime runs it again with the same variables.
    home.daemon.kill().unwrap();
    home.daemon.start().unwrap();
    home.berth(&["exec", "told", "touch", "/kept/end"]).fine();
    said(&home, &format!("{line}{line}"));
    home.berth(&["down", "-t", "0", "told"]).fine();

    let missing = text.replace("name: keys, key: token", "name: keys, key: none");
    let err = home.feed(&["play", "-q", "-"], missing.as_bytes()).refused();
    assert!(
        err.contains("spec.containers[0].env[0].valueFrom.secretKeyRef.key: Not found: \"none\""),
        "{err}"
    );
    home.clean();
}

#[test]
fn the_example_with_objects_has_variables_and_files() {
    require_root!();
    let home = Home::start();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/config.yaml");
    home.write("config.yaml", &std::fs::read_to_string(example).unwrap());
    home.berth(&["play", "-q", "config.yaml"]).fine();
    let exec = |line: &str| home.berth(&["exec", "config", "sh", "-c", line]);
    assert_eq!(exec("echo $PASSWORD $COLOUR").fine(), "change-me blue\n");
    assert_eq!(exec("cat /texts/greeting.txt").fine(), "Hello from a ConfigMap.\n");
    assert_eq!(exec("cat /texts/private/password").fine(), "change-me");
    assert_eq!(exec("stat -L -c %a:%u /texts/private/password /texts/greeting.txt").fine(), "400:0\n644:0\n");
    assert!(exec("touch /texts/new").err.contains("Read-only file system"));
    assert_eq!(home.berth(&["down", "config.yaml"]).fine(), "config\n");

    let one = std::fs::read_to_string(example)
        .unwrap()
        .replace("mountPath: /texts}", "mountPath: /etc/greeting, subPath: greeting.txt}");
    home.write("one.yaml", &one);
    home.berth(&["play", "-q", "one.yaml"]).fine();
    assert_eq!(exec("cat /etc/greeting").fine(), "Hello from a ConfigMap.\n");
    assert_eq!(home.berth(&["down", "one.yaml"]).fine(), "config\n");
    home.clean();
}
