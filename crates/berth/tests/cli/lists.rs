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
    // Again is not an error.
    assert_eq!(home.berth(&["stop", "w"]).fine(), "w\n");
    let said = home.berth(&["rm", "nosuch", "w"]);
    assert_eq!((said.code, said.out.as_str()), (1, "w\n"));
    assert!(said.err.contains("berth: no pod or container \"nosuch\"\n  hint: "), "{said:?}");
    let err = home.berth(&["wait", "w"]).refused();
    assert!(err.contains("no pod or container \"w\""), "{err}");
    home.clean();
}

#[test]
fn what_cannot_be_written_is_an_error() {
    require_root!();
    let home = Home::start();
    home.berth(&["pull", "-q", BUSYBOX]).fine();
    for arguments in
        [&["images"][..], &["images", "-q"], &["ps"], &["pods", "-o", "json"], &["inspect", BUSYBOX]]
    {
        let mut command = home.command(&["--no-autostart"]);
        command.args(arguments).stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
        let output = command.stderr(std::process::Stdio::piped()).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(125), "{arguments:?}: {err}");
        assert_eq!(err, "berth: write output: No space left on device (os error 28)\n", "{arguments:?}");
    }
    home.clean();
}

#[test]
fn what_fails_of_several_does_not_keep_the_others() {
    require_root!();
    let home = Home::start();
    for name in ["a", "b"] {
        home.berth(&["run", "-d", "-q", "--name", name, BUSYBOX, "sleep", "1000"]).fine();
    }
    let said = home.berth(&["inspect", "nosuch", "a", "b"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(said.err.lines().next(), Some("berth: no pod or container \"nosuch\""));
    assert_eq!(serde_json::from_str::<Value>(&said.out).unwrap().as_array().unwrap().len(), 2);
    let said = home.berth(&["down", "-t", "0", "nosuch", "a", "nosuch.yaml", "b"]);
    assert_eq!((said.code, said.out.as_str()), (1, "a\nb\n"), "{said:?}");
    assert!(said.err.contains("\"nosuch\"") && said.err.contains("nosuch.yaml"), "{said:?}");
    home.clean();
}

#[test]
fn a_file_of_a_pods_name_does_not_hide_the_pod() {
    require_root!();
    let home = Home::start();
    home.write("web", "not a manifest: [");
    home.berth(&["run", "-d", "-q", "--name", "web", BUSYBOX, "sleep", "1000"]).fine();
    assert_eq!(home.berth(&["down", "-t", "0", "web"]).fine(), "web\n");
    let said = home.berth(&["down", "web"]);
    assert!(said.code == 1 && said.err.contains("not YAML"), "{said:?}");
    home.clean();
}

#[test]
fn the_shortest_requested_grace_counts() {
    require_root!();
    let home = Home::start();
    let line = "trap 'echo no' TERM; echo ready; sleep 1000 & while :; do wait $!; done";
    home.berth(&["run", "-d", "-q", "--name", "stubborn", BUSYBOX, "sh", "-c", line]).fine();
    let call = home.spawn(&["logs", "-f", "stubborn"]);
    call.shows("ready\n");
    let patient = home.spawn(&["stop", "-t", "100000", "stubborn"]);
    call.shows("no\n");
    let impatient = home.spawn(&["stop", "-t", "0", "stubborn"]);
    assert_eq!(patient.end().fine(), "stubborn\n");
    assert_eq!(impatient.end().fine(), "stubborn\n");
    call.end().fine();
    // Whichever is first, for all of them it is removed.
    let all: Vec<_> = (0..4).map(|_| home.spawn(&["rm", "-f", "stubborn"])).collect();
    for call in all {
        let said = call.end();
        assert!(said.code == 0 || said.err.contains("no pod or container \"stubborn\""), "{said:?}");
    }
    home.clean();
}

#[test]
fn what_was_stopped_by_its_id_is_not_run_again() {
    require_root!();
    let home = Home::start();
    let id = home.berth(&["run", "-d", "-q", "--restart", "always", BUSYBOX, "sleep", "1000"]).fine();
    home.berth(&["stop", "-t", "0", id.trim()]).fine();
    let pods = home.berth(&["pods", "-o", "json"]).json();
    assert_eq!(
        (&pods[0]["state"], pods[0]["containers"].as_array().unwrap().len()),
        (&"not ready".into(), 1)
    );
    home.berth(&["rm", id.trim()]).fine();
    home.clean();
}

#[test]
fn lists_come_in_every_form() {
    require_root!();
    let home = Home::start();
    home.berth(&["run", "-d", "-q", "--name", "w", BUSYBOX, "sleep", "1000"]).fine();
    home.berth(&["volume", "create", "kept"]).fine();
    for (list, name) in [
        (&["ps"][..], "w/w\n"),
        (&["pods"], "w\n"),
        (&["images"], &format!("{BUSYBOX}\n")),
        (&["stats", "--no-stream"], "w/w\n"),
        (&["volume", "ls"], "kept\n"),
    ] {
        let with = |form: &str| home.berth(&[list, &["-o", form]].concat());
        assert!(with("name").fine().contains(name), "{list:?}");
        let yaml = with("yaml").fine();
        // Of pods it is what kubectl shows.
        let first = if list == ["pods"] { "apiVersion: v1\n" } else { "- " };
        assert!(yaml.starts_with(first) && yaml.contains("\n  "), "{list:?}: {yaml}");
        assert!(with("json").json().is_array(), "{list:?}");
        assert!(with("wide").fine().lines().count() >= 2, "{list:?}");
    }
    let id = home.wait_state("w", "w", "running")["id"].as_str().unwrap().to_owned();
    assert!(home.berth(&["ps", "-o", "wide"]).fine().contains(&id));
    for none in
        [&["top", "w"][..], &["history", BUSYBOX], &["doctor"], &["version"], &["info"], &["system", "df"]]
    {
        let err = home.berth(&[none, &["-o", "name"]].concat()).refused();
        assert!(err.contains("there are no names here"), "{none:?}: {err}");
        assert_eq!(home.berth(&[none, &["-o", "yaml"]].concat()).code, 0, "{none:?}");
    }
    home.berth(&["rm", "-f", "w"]).fine();
    home.berth(&["volume", "prune", "-a", "-f"]).fine();
    home.clean();
}
