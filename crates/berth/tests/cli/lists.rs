//! `berth ps`, `pods`, `inspect`, `stop`, `rm`, `wait`.

use std::collections::BTreeSet;

use berth_testkit::require_root;
use serde_json::Value;

use crate::home::{BUSYBOX, Home};

/// Checks that an object has exactly the keys that the documentation lists for a command.
#[track_caller]
fn keys(value: &Value, command: &str) {
    let page = include_str!("../../../../docs/command-line.md");
    let start = format!("- `{command}`: ");
    let line = page.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
    let listed = line.split(';').next().unwrap();
    let listed: BTreeSet<&str> = listed.split('`').skip(1).step_by(2).collect();
    let there: BTreeSet<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(there, listed, "{command}");
}

#[test]
fn json_has_what_it_promises() {
    require_root!();
    let home = Home::start();
    home.berth(&["run", "-d", "-q", "--name", "one", "-l", "a=b", BUSYBOX, "sleep", "1000"]).fine();
    let ps = home.berth(&["ps", "-o", "json"]).json();
    keys(&ps[0], "berth ps");
    assert_eq!((&ps[0]["state"], &ps[0]["owner"]), (&"running".into(), &"local".into()));
    let pods = home.berth(&["pods", "-o", "json"]).json();
    keys(&pods[0], "berth pods");
    assert_eq!(pods[0]["labels"]["a"], "b");
    assert_eq!(pods[0]["containers"][0], ps[0]);
    let images = home.berth(&["images", "-o", "json"]).json();
    keys(&images[0], "berth images");
    let id = ps[0]["id"].as_str().unwrap();
    let pod = pods[0]["id"].as_str().unwrap();
    let image = ps[0]["imageId"].as_str().unwrap();
    let all = home.berth(&["inspect", &id[..12], &pod[..12], image]).json();
    let kinds: Vec<_> = all.as_array().unwrap().iter().map(|v| v["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Container", "Pod", "Image"]);
    let version = home.berth(&["version", "-o", "json"]).json();
    assert!(version["version"].is_string() && version["cri"] == "v1", "{version}");
    assert_eq!(version["daemon"]["pid"], home.daemon.pid().unwrap());
    home.berth(&["rm", "-f", "one"]).fine();
    home.clean();
}

#[test]
fn tables_show_what_runs_or_all() {
    require_root!();
    let home = Home::start();
    home.berth(&["run", "-d", "-q", "--name", "runs", BUSYBOX, "sleep", "1000"]).fine();
    home.berth(&["run", "-q", "--name", "ended", BUSYBOX, "sh", "-c", "exit 3"]);
    let table = home.berth(&["ps"]).fine();
    assert!(table.starts_with("CONTAINER ID   POD "), "{table}");
    assert_eq!(table.lines().count(), 2, "{table}");
    let table = home.berth(&["ps", "-a"]).fine();
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.contains("exited (3)"), "{table}");
    assert_eq!(home.berth(&["ps", "-aq"]).fine().lines().count(), 2);
    assert_eq!(home.berth(&["pods", "-q"]).fine().lines().count(), 2);
    home.berth(&["run", "-q", "--name", "plain", BUSYBOX]).fine();
    let plain = home.wait_state("plain", "plain", "exited");
    assert_eq!(plain["command"], "sh", "what its image says: {plain}");
    home.berth(&["rm", "-f", "runs", "ended", "plain"]).fine();
    home.clean();
}

#[test]
fn stop_wait_and_remove() {
    require_root!();
    let home = Home::start();
    let line = "trap \"exit 3\" TERM; sleep 1000 & wait";
    home.berth(&["run", "-d", "-q", "--name", "w", BUSYBOX, "sh", "-c", line]).fine();
    let waits = home.spawn(&["wait", "w"]);
    assert_eq!(home.berth(&["stop", "w"]).fine(), "w\n");
    let code = waits.end().fine();
    // Stopped before the shell had its trap, it is killed by what it does not handle.
    assert!(["3\n", "143\n", "137\n"].contains(&code.as_str()), "{code}");
    assert_eq!(home.berth(&["wait", "w"]).fine(), code);
    // Again is no error.
    assert_eq!(home.berth(&["stop", "w"]).fine(), "w\n");
    let said = home.berth(&["rm", "nosuch", "w"]);
    assert_eq!((said.code, said.out.as_str()), (1, "w\n"));
    assert!(said.err.contains("berth: nosuch: no pod or container \"nosuch\"\n  hint: "), "{said:?}");
    let err = home.berth(&["wait", "w"]).refused();
    assert!(err.contains("no pod or container \"w\""), "{err}");
    home.clean();
}
