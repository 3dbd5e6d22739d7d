//! What containers of `berth run` wrote to their root file systems outlives a restart, as docker's does.

use std::net::TcpListener;

use berth_testkit::guard::{free_port, wait_until};
use berth_testkit::require_root;

use crate::home::{BUSYBOX, Home, LIMIT};

/// Counts its runs in its root, and waits.
const COUNTS: &str = "echo run >> /runs; exec sleep 1000";

fn runs(home: &Home, name: &str) -> String {
    home.berth(&["exec", name, "wc", "-l", "/runs"]).fine()
}

#[test]
fn a_restart_keeps_what_was_written() {
    require_root!();
    let mut home = Home::start();
    home.berth(&["run", "-d", "-q", "--name", "k", BUSYBOX, "sh", "-c", COUNTS]).fine();
    let change =
        "mkdir -p /d; echo x > /d/f; chown 7:8 /d/f; ln /d/f /d/g; rm /bin/vi; rm -r /home; mkdir /home";
    home.berth(&["exec", "k", "sh", "-c", change]).fine();
    let before = home.berth(&["diff", "k"]).fine();
    assert_eq!(home.berth(&["restart", "-t", "0", "k"]).fine(), "k\n");
    assert_eq!(runs(&home, "k"), "2 /runs\n");
    let look = "cat /d/g; stat -c '%u %g %h' /d/f; ls /bin/vi 2>&1 | grep -c No; ls /home | wc -l";
    assert_eq!(home.berth(&["exec", "k", "sh", "-c", look]).fine(), "x\n7 8 2\n1\n0\n");
    assert_eq!(home.berth(&["diff", "k"]).fine(), before);
    assert_eq!(home.containers().len(), 1, "{:?}", home.containers());

    home.berth(&["stop", "-t", "0", "k"]).fine();
    assert_eq!(home.berth(&["diff", "k"]).fine(), before);
    home.daemon.stop().unwrap();
    home.daemon.start().unwrap();
    home.berth(&["start", "k"]).fine();
    assert_eq!(runs(&home, "k"), "3 /runs\n");
    home.daemon.stop().unwrap();
    home.daemon.start().unwrap();
    assert_eq!(runs(&home, "k"), "3 /runs\n");
    assert_eq!(home.containers().len(), 1, "{:?}", home.containers());
    home.berth(&["rm", "-f", "k"]).fine();

    // What ran to its end goes on where it was, too.
    home.berth(&["create", "-q", "--name", "c", BUSYBOX, "sh", "-c", "echo run >> /runs; wc -l < /runs"])
        .fine();
    for count in ["1\n", "2\n", "3\n"] {
        assert_eq!(home.berth(&["start", "-a", "c"]).fine(), count);
    }
    home.berth(&["rm", "c"]).fine();
    home.clean();
}

#[test]
fn a_container_that_is_run_again_by_its_policy_keeps_what_was_written() {
    require_root!();
    let home = Home::start();
    let line = "echo run >> /runs; [ $(wc -l < /runs) -ge 2 ] && exec sleep 1000; exit 3";
    home.berth(&["run", "-d", "-q", "--restart", "always", "--name", "p", BUSYBOX, "sh", "-c", line]).fine();
    assert!(wait_until(LIMIT, || home.berth(&["exec", "p", "wc", "-l", "/runs"]).out == "2 /runs\n"));
    assert!(home.berth(&["diff", "p"]).fine().contains("A /runs\n"));
    home.berth(&["rm", "-f", "p"]).fine();
    home.clean();
}

#[test]
fn a_pod_of_a_manifest_begins_with_its_image_as_in_kubernetes() {
    require_root!();
    let home = Home::start();
    let manifest = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: m}}, spec: {{terminationGracePeriodSeconds: 0, containers: [
            {{name: m, image: {BUSYBOX}, command: [sh, -c, '{COUNTS}']}}]}}}}"
    );
    let file = home.write("m.yaml", &manifest);
    home.berth(&["play", "-q", &file]).fine();
    home.berth(&["restart", "m"]).fine();
    assert!(wait_until(LIMIT, || home.berth(&["exec", "m", "wc", "-l", "/runs"]).out == "1 /runs\n"));
    home.berth(&["down", &file]).fine();
    home.clean();
}

#[test]
fn a_start_that_fails_loses_nothing() {
    require_root!();
    let home = Home::start();
    let port = free_port();
    let publish = format!("{port}:80");
    home.berth(&["run", "-d", "-q", "-p", &publish, "--name", "f", BUSYBOX, "sh", "-c", COUNTS]).fine();
    home.berth(&["stop", "-t", "0", "f"]).fine();
    let taken = TcpListener::bind(("0.0.0.0", port)).unwrap();
    let said = home.berth(&["start", "f"]);
    assert!(said.code == 1 && said.err.contains(&port.to_string()), "{said:?}");
    assert_eq!(home.wait_state("f", "f", "exited")["pod"], "f");
    drop(taken);
    home.berth(&["start", "f"]).fine();
    assert_eq!(runs(&home, "f"), "2 /runs\n");

    // The layer comes back from a container that was made and could not run.
    home.berth(&["exec", "f", "mv", "/bin/sh", "/bin/away"]).fine();
    let said = home.berth(&["restart", "-t", "0", "f"]);
    assert!(said.code == 1 && said.err.contains("sh"), "{said:?}");
    assert!(home.berth(&["diff", "f"]).fine().contains("A /bin/away\n"));
    assert_eq!(home.containers().len(), 1, "{:?}", home.containers());
    home.berth(&["rm", "f"]).fine();
    home.clean();
}

#[test]
fn files_keep_their_owners_in_a_user_namespace() {
    require_root!();
    let home = Home::start();
    let said =
        home.berth(&["run", "-d", "-q", "--userns", "auto", "--name", "u", BUSYBOX, "sh", "-c", COUNTS]);
    if said.code != 0 {
        assert!(said.err.contains("user namespace") || said.err.contains("idmap"), "{said:?}");
        println!("skipped: files_keep_their_owners_in_a_user_namespace: {}", said.err.trim());
        return home.clean();
    }
    home.berth(&["exec", "u", "sh", "-c", "echo x > /f; chown 7:8 /f"]).fine();
    home.berth(&["restart", "-t", "0", "u"]).fine();
    assert_eq!(runs(&home, "u"), "2 /runs\n");
    let look = "stat -c '%u %g' /f /runs /";
    assert_eq!(home.berth(&["exec", "u", "sh", "-c", look]).fine(), "7 8\n0 0\n0 0\n");
    home.berth(&["rm", "-f", "u"]).fine();
    home.clean();
}
