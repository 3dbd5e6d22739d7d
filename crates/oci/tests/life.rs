//! The commands of a container's life, beside runc and crun.

use serde_json::{Value, json};

mod support;
use support::bundle::{Bundle, Runtime, oracles};
use support::life::{Life, wait_until};
use support::root;

/// Ends with 7 when it is told to.
const WAITS: &str = "trap 'exit 7' TERM; echo ready; while :; do sleep 1000 & wait; done";

/// All that one runtime shows of one life, as far as it does not depend on names and moments.
fn life(runtime: Runtime) -> Vec<String> {
    let bundle = Bundle::new(WAITS);
    let life = Life::new(&bundle, runtime);
    let mut seen = Vec::new();
    let mut note = |what: &str, value: &dyn std::fmt::Debug| seen.push(format!("{what}: {value:?}"));
    let pid_file = bundle.path().join("pid");
    note("create", &life.create(&["--pid-file", pid_file.to_str().expect("a path")]).code);
    let pid = std::fs::read_to_string(&pid_file).expect("the pid file");
    let state = life.state();
    note(
        "pid",
        &(state["pid"] == json!(pid.parse::<i32>().expect("a number"))
            && std::path::Path::new("/proc").join(&pid).exists()),
    );
    note("bundle", &(state["bundle"] == json!(bundle.path()) && state["id"] == json!(life.id)));
    note("version", &state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")));
    note("created", &state["status"]);
    note("not yet", &life.text("out"));
    note("create again", &(life.create(&[]).code == 0));
    note("start", &life.verb("start").code);
    wait_until(|| life.text("out") == "ready\n", || life.text("out"));
    note("running", &life.status());
    note("start again", &(life.verb("start").code == 0));
    let list: Value = serde_json::from_str(&life.call(&["list", "--format", "json"]).fine()).expect("json");
    let names: Vec<_> = list.as_array().expect("a list").iter().map(|c| c["id"] == json!(life.id)).collect();
    note("list", &names);
    note("list -q", &(life.call(&["list", "-q"]).fine() == format!("{}\n", life.id)));
    let pids: Vec<i32> =
        serde_json::from_str(&life.call(&["ps", "--format", "json", &life.id]).fine()).expect("pids");
    note("ps", &(pids.len() > 1 && pids.iter().any(|p| p.to_string() == pid)));
    let exec = life.call(&["exec", &life.id, "sh", "-c", "echo $$ $A; pwd; exit 3"]);
    note("exec", &(exec.code, exec.out.lines().map(|l| l.contains("b c")).collect::<Vec<_>>()));
    note("exec of nothing", &(life.call(&["exec", &life.id, "/no/such"]).code == 0));
    note("pause", &life.verb("pause").code);
    note("paused", &life.status());
    note("exec in paused", &(life.call(&["exec", &life.id, "true"]).code == 0));
    note("resume", &life.verb("resume").code);
    note("resumed", &life.status());
    note("update", &life.call(&["update", "--pids-limit", "77", "--memory", "64m", &life.id]).code);
    note("pids", &life.cgroup("pids.max", "pids.max"));
    note("memory", &life.cgroup("memory.limit_in_bytes", "memory.max"));
    note("delete of running", &(life.verb("delete").code == 0));
    note("still", &life.status());
    note("kill 0", &life.call(&["kill", &life.id, "0"]).code);
    note("kill", &life.call(&["kill", &life.id, "SIGTERM"]).code);
    life.until("stopped");
    let state = life.state();
    note("stopped", &(state["status"].clone(), state["pid"].clone()));
    note("kill of stopped", &(life.call(&["kill", &life.id, "KILL"]).code == 0));
    note("exec in stopped", &(life.call(&["exec", &life.id, "true"]).code == 0));
    note("pause of stopped", &(life.verb("pause").code == 0));
    note("delete", &life.verb("delete").code);
    note("gone", &(life.verb("state").code == 0, life.has_cgroup()));
    note("delete of none", &(life.verb("delete").code == 0));
    note("forced delete of none", &life.call(&["delete", "--force", &life.id]).code);
    seen
}

#[test]
fn the_life_of_a_container_is_that_of_runc_and_crun() {
    let test = "the_life_of_a_container_is_that_of_runc_and_crun";
    if !root(test) {
        return;
    }
    let ours = life(Runtime::Ours);
    for line in [
        "created: String(\"created\")",
        "paused: \"paused\"",
        "exec: (3, [true, false])",
        "gone: (false, false)",
    ] {
        assert!(ours.iter().any(|l| l == line), "{line}\n{}", ours.join("\n"));
    }
    for oracle in oracles(test) {
        let theirs = life(oracle);
        // crun 1.8 fails to update on a host with v1 and v2 hierarchies.
        let is_asked = |line: &str| {
            oracle != Runtime::Crun
                || !["update:", "pids:", "memory:"].iter().any(|what| line.starts_with(what))
        };
        let differ: Vec<_> = ours.iter().zip(&theirs).filter(|(a, b)| a != b && is_asked(a)).collect();
        assert!(differ.is_empty() && ours.len() == theirs.len(), "ours and {oracle:?}: {differ:#?}");
    }
}

/// containerd's shim, CRI-O and podman look for these words.
#[test]
fn errors_have_the_words_that_callers_look_for() {
    if !root("errors_have_the_words_that_callers_look_for") {
        return;
    }
    let mut bundle = Bundle::new("true");
    let life = Life::new(&bundle, Runtime::Ours);
    life.verb("state").refused("does not exist");
    life.call(&["kill", &life.id, "TERM"]).refused("does not exist");
    life.verb("delete").refused("does not exist");
    life.create(&[]).fine();
    life.verb("start").fine();
    life.until("stopped");
    life.call(&["kill", &life.id, "TERM"]).refused("container not running");
    life.call(&["kill", &life.id, "TERM"]).refused("process already finished");
    life.create(&[]).refused("exists already");
    drop(life);
    bundle.config["process"]["args"] = json!(["nosuch"]);
    let life = Life::new(&bundle, Runtime::Ours);
    let said = life.create(&[]);
    assert_eq!(said.code, 127);
    said.refused("exec \"nosuch\": executable file not found in $PATH");
    life.verb("state").refused("does not exist");
    assert!(!life.has_cgroup());
    // What is no program is found at create too, as runc has it: who only starts does not clean up.
    drop(life);
    bundle.config["process"]["args"] = json!(["/etc"]);
    let life = Life::new(&bundle, Runtime::Ours);
    let said = life.create(&[]);
    assert_eq!(said.code, 126);
    said.refused("exec \"/etc\": permission denied");
    life.verb("state").refused("does not exist");
    assert!(!life.has_cgroup());
    let log = bundle.path().join("log");
    let log_option = log.to_str().expect("a path");
    drop(life.call(&["--log", log_option, "--log-format", "json", "state", "none"]));
    let line: Value = serde_json::from_str(&std::fs::read_to_string(&log).expect("the log")).expect("json");
    assert_eq!(
        (&line["level"], line["msg"].as_str().expect("text").contains("does not exist")),
        (&json!("error"), true)
    );
}

#[test]
fn what_is_not_obeyed_is_refused_by_its_name() {
    if !root("what_is_not_obeyed_is_refused_by_its_name") {
        return;
    }
    let bundle = Bundle::new("true");
    let life = Life::new(&bundle, Runtime::Ours);
    for option in ["--no-pivot", "--no-new-keyring", "--preserve-fds=300", "--preserve-fds=3"] {
        let name = option.split('=').next().expect("a part");
        life.create(&[option]).refused(name);
        life.verb("state").refused("does not exist");
    }
    for (words, name) in [
        (&["--systemd-cgroup", "state", "x"][..], "--systemd-cgroup"),
        (&["--rootless", "true", "state", "x"], "--rootless"),
        (&["--criu", "/bin/criu", "state", "x"], "--criu"),
        (&["checkpoint", "--image-path", "/tmp/x", "x"], "checkpoint"),
        (&["restore", "x"], "restore"),
        (&["spec", "--rootless"], "--rootless"),
        (&["exec", "--process-label", "l", "x", "true"], "--process-label"),
        (&["exec", "--cgroup", "/x", "x", "true"], "--cgroup"),
        (&["update", "--kernel-memory", "1m", "x"], "--kernel-memory"),
        (&["update", "--l3-cache-schema", "L3:0=f", "x"], "--l3-cache-schema"),
        (&["state", "--no-such-option", "x"], "--no-such-option"),
        (&["state", "../x"], "container id"),
    ] {
        life.call(words).refused(name);
    }
    // Values that ask for nothing.
    life.call(&["--systemd-cgroup=false", "--rootless=auto", "--criu", "", "list"]).fine();
}

/// A start that was cut off, and one that is given twice at the same time.
#[test]
fn a_container_is_started_once() {
    if !root("a_container_is_started_once") {
        return;
    }
    let bundle = Bundle::new("echo once; sleep 1000");
    let life = Life::new(&bundle, Runtime::Ours);
    life.create(&[]).fine();
    let start = || {
        let mut start = life.command(&["start", &life.id]);
        start.stderr(std::process::Stdio::null());
        start
    };
    let starts: Vec<_> = (0..8).map(|_| start().spawn().expect("spawn")).collect();
    let codes: Vec<_> = starts.into_iter().map(|mut s| s.wait().expect("wait").success()).collect();
    assert_eq!(codes.iter().filter(|fine| **fine).count(), 1, "{codes:?}");
    wait_until(|| !life.text("out").is_empty(), || "nothing was said".into());
    assert_eq!(life.text("out"), "once\n");
    // A record that says "created" of a program that runs: its start was killed before it could write.
    let path = bundle.state().join(&life.id).join("state.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("json");
    record["phase"] = json!("created");
    std::fs::write(&path, record.to_string()).expect("write");
    assert_eq!(life.status(), "running");
    life.verb("start").refused("running");
}

/// The number of a process may be another's: it is neither shown nor signalled.
#[test]
fn another_process_of_the_same_number_is_left_alone() {
    if !root("another_process_of_the_same_number_is_left_alone") {
        return;
    }
    let bundle = Bundle::new("true");
    let life = Life::new(&bundle, Runtime::Ours);
    life.create(&[]).fine();
    let mut other =
        std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().expect("cat");
    let path = bundle.state().join(&life.id).join("state.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("json");
    record["process"]["pid"] = json!(other.id());
    // Both may have begun in one tick of the clock.
    let start = record["process"]["start"].as_u64().expect("a number");
    record["process"]["start"] = json!(start - 1);
    std::fs::write(&path, record.to_string()).expect("write");
    assert_eq!(life.status(), "stopped");
    life.call(&["kill", &life.id, "KILL"]).refused("not running");
    life.verb("delete").fine();
    assert!(!life.has_cgroup());
    assert!(other.try_wait().expect("wait").is_none(), "the other process was killed");
    drop(other.stdin.take());
    assert!(other.wait().expect("wait").success());
}

/// A create that was killed while a hook held it: nothing is known of its process but the cgroup.
#[test]
fn what_a_killed_create_leaves_is_deleted() {
    if !root("what_a_killed_create_leaves_is_deleted") {
        return;
    }
    let mut bundle = Bundle::new("true");
    let fifo = bundle.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .expect("mkfifo");
    let script = format!("echo here > {0}; cat {0}", fifo.display());
    bundle.config["hooks"] =
        json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", script] }] });
    let life = Life::new(&bundle, Runtime::Ours);
    let path = bundle.path().to_str().expect("a path");
    let mut create = life.command(&["create", "--bundle", path, &life.id]).spawn().expect("spawn");
    assert_eq!(std::fs::read_to_string(&fifo).expect("read"), "here\n");
    assert_eq!(life.status(), "creating");
    life.call(&["kill", &life.id, "TERM"]).refused("not running");
    create.kill().expect("kill");
    create.wait().expect("wait");
    // Lets the hook end.
    std::fs::write(&fifo, "go").expect("write");
    wait_until(|| life.status() == "stopped", || life.status());
    assert!(life.has_cgroup());
    life.call(&["delete", &life.id]).fine();
    assert!(!life.has_cgroup());
    life.verb("state").refused("does not exist");
}

/// Without a PID namespace of its own nothing else ends with a container's first process.
#[test]
fn a_kill_reaches_what_is_not_the_first_process() {
    let test = "a_kill_reaches_what_is_not_the_first_process";
    if !root(test) {
        return;
    }
    for runtime in std::iter::once(Runtime::Ours).chain(oracles(test)) {
        let mut bundle = Bundle::new("sleep 1000 & echo $! > /tmp/other; exec sleep 1000");
        let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().expect("array");
        namespaces.retain(|n| n["type"] != "pid");
        let life = Life::new(&bundle, runtime);
        life.create(&[]).fine();
        life.verb("start").fine();
        wait_until(
            || bundle.rootfs().join("tmp/other").metadata().is_ok_and(|m| m.len() > 0),
            || "no file".into(),
        );
        if runtime == Runtime::Ours {
            // Another signal is for the first alone, KILL for all, whoever of them is left.
            life.call(&["kill", &life.id, "INT"]).fine();
            life.until("stopped");
            assert_ne!(life.call(&["ps", "--format", "json", &life.id]).fine(), "[]\n");
            life.call(&["kill", &life.id, "TERM"]).refused("not running");
            life.call(&["kill", &life.id, "KILL"]).fine();
            assert_eq!(life.call(&["ps", "--format", "json", &life.id]).fine(), "[]\n");
            life.call(&["kill", &life.id, "KILL"]).refused("not running");
            life.call(&["kill", "--all", &life.id, "KILL"]).refused("not running");
        } else {
            life.call(&["kill", &life.id, "KILL"]).fine();
            life.until("stopped");
        }
        life.verb("delete").fine();
        assert!(!life.has_cgroup(), "{runtime:?}");
    }
}
