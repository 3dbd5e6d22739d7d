//! `berth info`, `berth run --runtime` and `runtimeClassName`.

use std::path::Path;

use berth_testkit::{executable, require, require_root};

use crate::home::{BUSYBOX, Home, program};

fn manifest(name: &str, class: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nspec:\n  runtimeClassName: {class}\n  containers:\n  - name: main\n    image: {BUSYBOX}\n    command: [sleep, '1000']\n"
    )
}

#[test]
fn the_handlers_are_shown() {
    require_root!();
    let home = Home::start_with(program(), &["--handler-dir", "/nonexistent"]);
    let said = home.berth(&["info"]).fine();
    let head = said.lines().position(|line| line.starts_with("HANDLER ")).unwrap();
    let row = said.lines().nth(head + 1).unwrap();
    assert!(row.starts_with("native (default)   ready ") && row.contains("rro"), "{said}");
    let json = home.berth(&["info", "-o", "json"]).json();
    let native = &json["handlers"][0];
    assert_eq!(
        (native["name"].as_str(), native["state"].as_str()),
        (Some("native"), Some("ready")),
        "{json}"
    );
    assert_eq!((native["default"].as_bool(), native["reason"].as_str()), (Some(true), Some("")), "{json}");
    assert!(native["features"]["recursiveReadOnlyMounts"].is_boolean(), "{json}");
    assert_eq!(json["root"].as_str(), home.daemon.dir().join("root").to_str());
    home.clean();
}

#[test]
fn a_pod_is_run_by_what_it_asks_for_or_told_why_not() {
    require_root!();
    let home = Home::start_with(program(), &["--handler-dir", "/nonexistent"]);
    let err = home.berth(&["run", "--rm", "-q", "--runtime", "nobody", BUSYBOX, "true"]).refused();
    assert!(err.contains("no handler is named \"nobody\"; known are ") && err.contains("native"), "{err}");
    let out = home.berth(&["run", "--rm", "-q", "--runtime", "native", BUSYBOX, "echo", "hello"]).fine();
    assert_eq!(out, "hello\n");
    let err = home.feed(&["play", "-q", "-"], manifest("a", "nobody").as_bytes()).refused();
    assert!(err.contains("no handler is named \"nobody\""), "{err}");
    let err = home.feed(&["play", "-q", "-"], manifest("a", "/bin/runc").as_bytes()).refused();
    assert!(err.contains("spec.runtimeClassName"), "{err}");
    assert_eq!(home.berth(&["pods", "-o", "json"]).json().as_array().unwrap().len(), 0);

    home.feed(&["play", "-q", "-"], manifest("a", "native").as_bytes()).fine();
    assert_eq!(home.berth(&["pods", "-o", "json"]).json()[0]["handler"], "native");
    assert_eq!(home.berth(&["inspect", "a"]).json()[0]["handler"], "native");
    home.berth(&["down", "-t", "0", "a"]).fine();
    home.clean();
}

#[test]
fn runtimes_that_come_while_the_daemon_runs_are_used_or_explained() {
    require_root!();
    let runc = ["/usr/bin/runc", "/usr/sbin/runc"].map(Path::new).into_iter().find(|path| path.exists());
    require!(runc.is_some(), "needs the package runc");
    let dir = tempfile::tempdir().unwrap();
    let home = Home::start_with(program(), &["--handler-dir", dir.path().to_str().unwrap()]);
    let err = home.berth(&["run", "--rm", "-q", "--runtime", "runc", BUSYBOX, "true"]).refused();
    assert!(err.contains("the handler \"runc\" cannot be used: there is none at "), "{err}");
    assert!(err.contains("hint: install runc"), "{err}");

    executable::copy(runc.unwrap(), dir.path().join("runc"));
    let crun = dir.path().join("crun");
    executable::script(&crun, "#!/bin/sh\necho no kernel for it >&2\nexit 4\n");
    let json = home.berth(&["info", "-o", "json"]).json();
    let of = |name: &str| {
        json["handlers"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
    };
    assert_eq!((&of("runc")["state"], &of("runc")["reason"]), (&"ready".into(), &"".into()), "{json}");
    assert!(of("runc")["version"].as_str().unwrap().starts_with("runc version "), "{json}");
    assert_eq!(of("runsc")["state"], "missing", "{json}");
    let why = "`crun --version` failed with status 4: no kernel for it";
    assert_eq!((&of("crun")["state"], &of("crun")["reason"]), (&"unusable".into(), &why.into()), "{json}");
    let err = home.berth(&["run", "--rm", "-q", "--runtime", "crun", BUSYBOX, "true"]).refused();
    assert!(err.contains(why), "{err}");
    let out = home.berth(&["run", "--rm", "-q", "--runtime", "runc", BUSYBOX, "echo", "by runc"]).fine();
    assert_eq!(out, "by runc\n");
    home.clean();
}
