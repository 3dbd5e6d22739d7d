//! `berth pause` and `unpause`, and what the other commands do with what is paused.

use berth_testkit::guard::wait_until;
use berth_testkit::require_root;

use crate::home::{BUSYBOX, Home, LIMIT};

#[test]
fn what_is_paused_does_nothing_until_it_goes_on() {
    require_root!();
    let home = Home::start();
    let volume = format!("{}:/v", home.dir.path().display());
    let line = "while :; do echo x >> /v/n; done";
    home.berth(&["run", "-d", "-q", "--name", "p", "-v", &volume, BUSYBOX, "sh", "-c", line]).fine();
    let written = || std::fs::metadata(home.dir.path().join("n")).map_or(0, |file| file.len());
    assert!(wait_until(LIMIT, || written() > 0));
    assert_eq!(home.berth(&["pause", "p"]).fine(), "p\n");
    let before = written();
    let row = home.wait_state("p", "p", "paused");
    assert_eq!(row["ready"], true, "{row}");
    assert_eq!(home.berth(&["pods", "--format", "{{.Status}}"]).fine(), "Paused\n");
    assert_eq!(home.berth(&["ps", "-q", "--filter", "status=running"]).fine(), "");
    assert_eq!(home.berth(&["ps", "--format", "{{.Names}}", "--filter", "status=paused"]).fine(), "p\n");
    assert_eq!(home.berth(&["inspect", "-f", "{{.State}}", "p/p"]).fine(), "paused\n");
    assert!(home.berth(&["top", "p"]).fine().contains("sh -c"));
    assert_eq!(written(), before);

    let said = home.berth(&["pause", "p"]);
    assert!(said.code == 1 && said.err.contains("p is paused already"), "{said:?}");
    let said = home.berth(&["exec", "p", "true"]);
    assert!(said.code == 125 && said.err.contains("is paused") && said.err.contains("unpause"), "{said:?}");
    let said = home.berth(&["attach", "p"]);
    assert!(said.code == 125 && said.err.contains("p is paused"), "{said:?}");
    let said = home.berth(&["start", "p"]);
    assert!(said.code == 1 && said.err.contains("p is paused"), "{said:?}");
    let said = home.berth(&["rm", "p"]);
    assert!(said.code == 1 && said.err.contains("p is paused\n  hint: stop it first"), "{said:?}");

    assert_eq!(home.berth(&["unpause", "p"]).fine(), "p\n");
    assert!(wait_until(LIMIT, || written() > before));
    home.wait_state("p", "p", "running");
    let said = home.berth(&["unpause", "p"]);
    assert!(said.code == 1 && said.err.contains("p is not paused"), "{said:?}");
    home.berth(&["pause", "p"]).fine();
    home.berth(&["rm", "-f", "p"]).fine();
    let said = home.berth(&["pause", "p"]);
    assert!(said.code == 1 && said.err.contains("no pod or container"), "{said:?}");
    home.clean();
}

#[test]
fn what_is_paused_can_be_ended() {
    require_root!();
    let home = Home::start();
    let line = "trap 'echo asked; exit 3' TERM; trap 'echo usr1' USR1; echo ready; while :; do sleep 1 & wait $!; done";
    let begin = |name: &str| {
        home.berth(&["run", "-d", "-q", "--name", name, BUSYBOX, "sh", "-c", line]).fine();
        assert!(wait_until(LIMIT, || home.berth(&["logs", name]).fine() == "ready\n"));
        home.berth(&["pause", name]).fine();
    };
    // It is asked, and not only killed when its time is over.
    begin("s");
    home.berth(&["stop", "-t", "60", "s"]).fine();
    assert_eq!(home.wait_state("s", "s", "exited")["exitCode"], 3);
    assert_eq!(home.berth(&["logs", "s"]).fine(), "ready\nasked\n");
    let said = home.berth(&["pause", "s"]);
    assert!(said.code == 1 && said.err.contains("s is not running"), "{said:?}");

    begin("k");
    home.berth(&["kill", "k"]).fine();
    assert_eq!(home.wait_state("k", "k", "exited")["exitCode"], 137);

    // Its stop signal lets it go on, another one waits for that.
    begin("t");
    home.berth(&["kill", "-s", "USR1", "t"]).fine();
    assert_eq!(home.berth(&["logs", "t"]).fine(), "ready\n");
    home.wait_state("t", "t", "paused");
    home.berth(&["kill", "-s", "TERM", "t"]).fine();
    assert_eq!(home.wait_state("t", "t", "exited")["exitCode"], 3);
    home.berth(&["rm", "s", "k", "t"]).fine();
    home.clean();
}

#[test]
fn a_pod_is_paused_as_a_whole_and_over_a_restart_of_the_daemon() {
    require_root!();
    let mut home = Home::start();
    let container = |name: &str, line: &str| {
        format!(
            "  - name: {name}\n    image: {BUSYBOX}\n    command: [sh, -c, '{line}']\n    livenessProbe: {{periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 1, exec: {{command: ['true']}}}}\n"
        )
    };
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: two}}\nspec:\n  containers:\n{}{}",
        container("a", "sleep 1000"),
        container("b", "sleep 1000")
    );
    home.feed(&["play", "-q", "-"], pod.as_bytes()).fine();
    home.berth(&["pause", "two/a"]).fine();
    home.wait_state("two", "b", "running");
    // What is paused already is no error beside what is not.
    home.berth(&["pause", "two"]).fine();
    home.daemon.stop().unwrap();
    home.daemon.start().unwrap();
    for name in ["a", "b"] {
        home.wait_state("two", name, "paused");
    }
    home.berth(&["unpause", "two"]).fine();
    for name in ["a", "b"] {
        let row = home.wait_state("two", name, "running");
        // No probe has counted what it was not there to answer.
        assert_eq!(row["attempt"], 0, "{row}");
    }
    home.berth(&["pause", "two"]).fine();
    home.berth(&["down", "-t", "0", "two"]).fine();
    home.clean();
}
