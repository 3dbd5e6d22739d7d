//! What is another container's stays as it is, and what a command that was cut off leaves can be dealt with.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};

mod support;
use support::bundle::{Bundle, Runtime};
use support::life::{Life, Said, wait_until};
use support::root;

const SLEEPS: &str = "exec sleep 1000";

/// The record of a container, changed by hand.
fn change(life: &Life<'_>, how: impl FnOnce(&mut Value)) {
    let path = record(life);
    let mut record: Value = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("json");
    how(&mut record);
    std::fs::write(&path, record.to_string()).expect("write");
}

fn record(life: &Life<'_>) -> PathBuf {
    life.bundle.state().join(&life.id).join("state.json")
}

/// A command that must end within a minute; as its test does not otherwise.
#[track_caller]
fn in_time(life: &Life<'_>, words: &[&str]) -> Said {
    let mut command = life.command(words);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawn");
    let begun = std::time::Instant::now();
    while child.try_wait().expect("wait").is_none() {
        if begun.elapsed().as_secs() > 60 {
            child.kill().expect("kill");
            child.wait().expect("wait");
            panic!("{words:?} does not end");
        }
        std::thread::yield_now();
    }
    Said::of(&child.wait_with_output().expect("output"))
}

/// The cgroup of a container whose processes have ended may be made again by another one with the same path.
#[test]
fn a_container_whose_cgroup_another_has_by_now_leaves_it_alone() {
    if !root("a_container_whose_cgroup_another_has_by_now_leaves_it_alone") {
        return;
    }
    let (first, second) = (Bundle::new("true"), Bundle::new(SLEEPS));
    let old = Life::new(&first, Runtime::Ours);
    old.create(&[]).fine();
    old.verb("start").fine();
    old.until("stopped");
    let new = Life::new(&second, Runtime::Ours);
    // The same path of its cgroup.
    second.write(&old.id);
    new.create(&[]).fine();
    new.verb("start").fine();
    assert_eq!(old.call(&["ps", "--format", "json", &old.id]).fine(), "[]\n");
    old.call(&["kill", "--all", &old.id, "KILL"]).refused("not running");
    old.verb("delete").fine();
    assert_eq!(new.status(), "running");
    assert!(old.has_cgroup(), "the other's cgroup was removed");
    new.call(&["delete", "--force", &new.id]).fine();
    assert!(!old.has_cgroup());
}

/// A create that was cut off before it had made its cgroup, where another container has one.
#[test]
fn a_create_that_was_cut_off_owns_no_cgroup_yet() {
    if !root("a_create_that_was_cut_off_owns_no_cgroup_yet") {
        return;
    }
    let bundle = Bundle::new(SLEEPS);
    let runs = Life::new(&bundle, Runtime::Ours);
    runs.create(&[]).fine();
    runs.verb("start").fine();
    let cut = Life { bundle: &bundle, runtime: Runtime::Ours, id: support::unique() };
    std::fs::create_dir(bundle.state().join(&cut.id)).expect("mkdir");
    std::fs::copy(record(&runs), record(&cut)).expect("copy");
    change(&cut, |record| {
        record["id"] = json!(cut.id);
        record["phase"] = json!("creating");
        record["process"] = Value::Null;
        record["cgroupNumbers"] = json!([]);
    });
    assert_eq!(cut.status(), "stopped");
    cut.verb("delete").fine();
    assert_eq!(runs.status(), "running");
    // And a create on a path that is in use leaves what is there.
    let third = Bundle::new("true");
    let refused = Life::new(&third, Runtime::Ours);
    third.write(&runs.id);
    assert_ne!(refused.create(&[]).code, 0);
    assert_eq!(runs.status(), "running");
}

/// Whoever looks at a process that is stopped by a signal leaves a connection behind; there is room for some.
#[test]
fn a_process_that_is_stopped_holds_nobody_up() {
    if !root("a_process_that_is_stopped_holds_nobody_up") {
        return;
    }
    let bundle = Bundle::new("echo went on");
    let life = Life::new(&bundle, Runtime::Ours);
    life.create(&[]).fine();
    life.call(&["kill", &life.id, "STOP"]).fine();
    for _ in 0..40 {
        let state: Value = serde_json::from_str(&in_time(&life, &["state", &life.id]).fine()).expect("json");
        assert_eq!(state["status"], "created");
    }
    assert!(in_time(&life, &["list"]).fine().contains(&life.id));
    life.call(&["kill", &life.id, "CONT"]).fine();
    life.verb("start").fine();
    wait_until(|| life.text("out") == "went on\n", || life.text("out"));
    drop(life);
    let life = Life::new(&bundle, Runtime::Ours);
    life.create(&[]).fine();
    life.call(&["kill", &life.id, "STOP"]).fine();
    for _ in 0..40 {
        in_time(&life, &["state", &life.id]).fine();
    }
    in_time(&life, &["delete", "--force", &life.id]).fine();
    assert!(!life.has_cgroup());
}

/// Left by a create that was killed at once, or a delete that was killed at its end.
#[test]
fn a_directory_without_a_container_does_not_keep_its_name() {
    if !root("a_directory_without_a_container_does_not_keep_its_name") {
        return;
    }
    let bundle = Bundle::new("true");
    let life = Life::new(&bundle, Runtime::Ours);
    let dir = bundle.state().join(&life.id);
    let leave = || {
        std::fs::create_dir_all(&dir).expect("mkdir");
        std::fs::write(dir.join("config.json"), "{}").expect("write");
        std::fs::write(dir.join("state.json.0.tmp"), "{").expect("write");
        drop(std::os::unix::net::UnixListener::bind(dir.join("door")).expect("bind"));
    };
    leave();
    life.verb("state").refused("does not exist");
    life.verb("delete").fine();
    assert!(!dir.exists());
    leave();
    life.create(&[]).fine();
    assert_eq!(life.status(), "created");
    life.create(&[]).refused("exists already");
    life.verb("start").fine();
}

/// One container whose record cannot be read is no reason not to see the others.
#[test]
fn a_list_goes_on_after_a_record_that_cannot_be_read() {
    if !root("a_list_goes_on_after_a_record_that_cannot_be_read") {
        return;
    }
    let bundle = Bundle::new("true");
    let life = Life::new(&bundle, Runtime::Ours);
    life.create(&[]).fine();
    let other = bundle.state().join("a-newer-one");
    std::fs::create_dir(&other).expect("mkdir");
    std::fs::write(other.join("state.json"), "{\"version\":999}").expect("write");
    let said = life.call(&["list", "--quiet"]);
    assert!(said.err.contains("a record of version 999"), "{said:?}");
    assert_eq!(said.fine(), format!("{}\n", life.id));
}

/// A delete that runs twice at once, and one that is repeated: hooks are told once.
#[test]
fn poststop_hooks_run_once() {
    if !root("poststop_hooks_run_once") {
        return;
    }
    let mut bundle = Bundle::new("true");
    let log = bundle.path().join("log");
    let script = format!("echo stopped >> {}", log.display());
    bundle.config["hooks"] = json!({ "poststop": [{ "path": "/bin/sh", "args": ["sh", "-c", script] }] });
    let life = Life::new(&bundle, Runtime::Ours);
    life.create(&[]).fine();
    let delete = || life.command(&["delete", "--force", &life.id]).spawn().expect("spawn");
    let deletes: Vec<_> = (0..4).map(|_| delete()).collect();
    for mut delete in deletes {
        assert!(delete.wait().expect("wait").success());
    }
    assert_eq!(std::fs::read_to_string(&log).expect("the log"), "stopped\n");
    life.create(&[]).fine();
    // As if the delete before had been killed after its hooks.
    change(&life, |record| record["poststopRan"] = json!(true));
    life.call(&["delete", "--force", &life.id]).fine();
    assert_eq!(std::fs::read_to_string(&log).expect("the log"), "stopped\n");
}

/// The name of a pid file may be foreseen by others who write in its directory.
#[test]
fn a_pid_file_follows_no_link() {
    if !root("a_pid_file_follows_no_link") {
        return;
    }
    let bundle = Bundle::new("true");
    let life = Life::new(&bundle, Runtime::Ours);
    let precious = bundle.path().join("precious");
    std::fs::write(&precious, "precious").expect("write");
    let pid_file = bundle.path().join("pid");
    for name in ["pid", "pid.0.tmp", "pid.1.tmp"] {
        std::os::unix::fs::symlink(&precious, bundle.path().join(name)).expect("symlink");
    }
    life.create(&["--pid-file", pid_file.to_str().expect("a path")]).fine();
    assert_eq!(std::fs::read_to_string(&precious).expect("read"), "precious");
    let meta = std::fs::symlink_metadata(&pid_file).expect("stat");
    let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777;
    assert!(meta.is_file() && mode == 0o644, "{mode:o}");
    let pid: u32 = std::fs::read_to_string(&pid_file).expect("read").parse().expect("a number");
    assert_eq!(life.state()["pid"], json!(pid));
}

/// Callers give empty names for none.
#[test]
fn an_empty_name_of_a_file_is_none() {
    if !root("an_empty_name_of_a_file_is_none") {
        return;
    }
    let bundle = Bundle::new(SLEEPS);
    let life = Life::new(&bundle, Runtime::Ours);
    life.create(&["--pid-file", "", "--console-socket", ""]).fine();
    life.call(&["--log", "", "--criu", "", "start", &life.id]).fine();
    life.call(&["exec", "--pid-file", "", "--console-socket", "", "--process", "", &life.id, "true"]).fine();
    life.call(&["update", "--resources", "", "--pids-limit", "33", &life.id]).fine();
    assert_eq!(life.cgroup("pids.max", "pids.max"), "33");
}

/// Somebody else removes the container of a `run`: its status is that of the process all the same.
#[test]
fn a_run_whose_container_another_deletes_has_the_status_of_its_process() {
    if !root("a_run_whose_container_another_deletes_has_the_status_of_its_process") {
        return;
    }
    let bundle = Bundle::new(SLEEPS);
    let mut run = bundle.command(Runtime::Ours).spawn().expect("spawn");
    let life = Life { bundle: &bundle, runtime: Runtime::Ours, id: bundle.last_id() };
    wait_until(|| life.verb("state").out.contains("running"), || "it does not run".into());
    life.call(&["delete", "--force", &life.id]).fine();
    assert_eq!(run.wait().expect("wait").code(), Some(137));
}

/// A container that shows files by a file system of its own: who executes something in it does not wait for that.
#[test]
fn a_file_system_that_never_answers_does_not_hold_an_exec_up() {
    let test = "a_file_system_that_never_answers_does_not_hold_an_exec_up";
    if !root(test) {
        return;
    }
    if !std::path::Path::new("/dev/fuse").exists() {
        eprintln!("skipped: {test}: needs /dev/fuse");
        return;
    }
    // Nobody reads what the kernel asks.
    let script = "exec 3<>/dev/fuse; mount -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none /etc && \
                  echo mounted; sleep 1000";
    let mut bundle = Bundle::new(script);
    for set in ["bounding", "effective", "permitted"] {
        bundle.config["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN"]);
    }
    bundle.config["linux"]["devices"] =
        json!([{ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229 }]);
    let rules = bundle.config["linux"]["resources"]["devices"].as_array_mut().expect("a list");
    rules.push(json!({ "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm" }));
    let life = Life::new(&bundle, Runtime::Ours);
    life.create(&[]).fine();
    life.verb("start").fine();
    wait_until(|| !(life.text("out") + &life.text("err")).is_empty(), || "it says nothing".into());
    assert_eq!(life.text("out"), "mounted\n", "{}", life.text("err"));
    let said = in_time(&life, &["exec", &life.id, "sh", "-c", "echo $HOME"]);
    assert!(said.err.contains("/etc/passwd"), "{said:?}");
    assert_eq!(said.fine(), "/\n");
}
