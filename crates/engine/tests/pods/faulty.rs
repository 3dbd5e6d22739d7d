//! OCI runtimes that fail: scripts in front of the real one. A call fails with the runtime's own last words, and nothing is left.

use std::sync::Arc;
use std::time::Duration;

use berth_engine::model::ExitReason;
use berth_engine::seams::{OciRuntime, Program, Seams};
use berth_engine::{Engine, EngineError};
use berth_testkit::{executable, require_root};
use berth_types::error::chain;
use berth_types::{ContainerId, SandboxId};

use crate::harness::{LIMIT, WAITS, World, ended, programs, sandbox, script, started};

/// A runtime that does `fault` at `verb` and is runc otherwise. In the fault, `$pid_file` is the file that was asked for.
fn faulty(world: &World, verb: &str, fault: &str) -> Seams {
    let path = world.path().join("faulty");
    let text = format!(
        "#!/bin/sh\nreal() {{ /usr/sbin/runc \"$@\"; }}\nverb=; pid_file=; last=\n\
         for word; do\n  [ \"$last\" = --pid-file ] && pid_file=$word\n  [ \"$last\" = --log ] && log=$word\n\
         \x20 case $word in create|start|exec|delete) [ -n \"$verb\" ] || verb=$word;; esac\n  last=$word\ndone\n\
         if [ $verb = {verb} ]; then\n{fault}\nfi\nexec /usr/sbin/runc \"$@\"\n"
    );
    executable::script(&path, text);
    let shim = Arc::new(Program::new(programs().shim));
    Seams { handlers: vec![Arc::new(OciRuntime::new("faulty".to_owned(), path, shim))], ..Seams::default() }
}

/// A pod under a faulty runtime, and what is there before its first container.
fn under(verb: &str, fault: &str, test: impl AsyncFnOnce(&Engine, SandboxId)) {
    let mut world = World::new();
    let seams = faulty(&world, verb, fault);
    let engine = world.open_with(seams);
    world.pull(&engine);
    let before = world.traces();
    world.run(async {
        let mut config = sandbox("faulty");
        config.handler = "faulty".to_owned();
        let pod = engine.run_sandbox(config).await.unwrap();
        let with_pod = world.traces();
        test(&engine, pod.clone()).await;
        for container in engine.containers(None) {
            engine.remove_container(&container.id).await.unwrap();
        }
        assert_eq!(world.traces(), with_pod, "nothing of a container is left");
        engine.remove_sandbox(&pod).await.unwrap();
    });
    assert_eq!(world.traces(), before);
    world.finish(engine);
}

/// Creating a container fails with these words.
fn create_fails(fault: &str, words: &[&str]) {
    under("create", fault, async |engine, pod| {
        let error = chain(&engine.create_container(&pod, script("c", WAITS)).await.unwrap_err());
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert!(engine.containers(None).is_empty());
    });
}

#[test]
fn one_that_fails_has_the_last_word() {
    require_root!();
    create_fails(
        "echo 'all is lost' >\"$log\"; echo '{\"level\":\"error\",\"msg\":\"the moon is full\"}' >>\"$log\"; exit 3",
        &["status 3", "the moon is full"],
    );
    create_fails("kill -SEGV $$", &["signal 11"]);
}

/// Its streams are the container's, which nobody reads before there is one.
#[test]
fn one_that_prints_much_is_listened_to() {
    require_root!();
    let much = "head -c 10000000 /dev/zero | tr '\\0' x; head -c 10000000 /dev/zero | tr '\\0' x >&2";
    create_fails(&format!("{much}; echo ' the end' >&2; exit 3"), &["status 3", "xx the end"]);
    let logs = tempfile::tempdir().unwrap();
    let mut world = World::new();
    let seams = faulty(&world, "create", much);
    let engine = world.open_with(seams);
    world.pull(&engine);
    world.run(async {
        let mut config = sandbox("faulty");
        config.handler = "faulty".to_owned();
        config.log_directory = Some(logs.path().to_owned());
        let pod = engine.run_sandbox(config).await.unwrap();
        let mut config = script("c", "echo its own");
        config.log_path = Some("c.log".into());
        let id = started(&engine, &pod, config).await;
        assert_eq!(ended(&engine, &id).await.code, 0);
        let log = std::fs::read_to_string(logs.path().join("c.log")).unwrap();
        assert!(log.ends_with(" stdout F its own\n") && log.lines().count() == 1, "{log}");
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

#[test]
fn what_was_made_half_way_is_deleted() {
    require_root!();
    create_fails(
        "real \"$@\"; echo '{\"level\":\"error\",\"msg\":\"so close\"}' >>\"$log\"; exit 1",
        &["so close"],
    );
    create_fails("real \"$@\"; rm -f \"$pid_file\"; exit 0", &["it left no number"]);
}

#[test]
fn a_number_that_is_not_its_processs_is_refused() {
    require_root!();
    create_fails("real \"$@\"; echo 1 >\"$pid_file\"; exit 0", &["no number of a process"]);
    create_fails("real \"$@\"; echo nonsense >\"$pid_file\"; exit 0", &["no number of a process"]);
    // Another process of this machine's: that of the test.
    let other = format!("real \"$@\"; echo {} >\"$pid_file\"; exit 0", std::process::id());
    create_fails(&other, &["is not one that it made"]);
}

#[test]
fn one_that_does_not_end_is_ended_with_its_pod() {
    require_root!();
    let mut world = World::new();
    let hangs = world.path().join("hangs");
    let seams = faulty(&world, "create", &format!("touch {}; exec sleep 1000", hangs.display()));
    let engine = world.open_with(seams);
    world.pull(&engine);
    world.run(async {
        let mut config = sandbox("faulty");
        config.handler = "faulty".to_owned();
        let pod = engine.run_sandbox(config).await.unwrap();
        let create = engine.create_container(&pod, script("c", WAITS));
        let remove = async {
            let there = move || assert!(berth_testkit::wait_until(LIMIT, || hangs.exists()));
            tokio::task::spawn_blocking(there).await.unwrap();
            engine.remove_sandbox(&pod).await.unwrap();
        };
        let (created, ()) = tokio::join!(create, remove);
        created.unwrap_err();
    });
    world.finish(engine);
}

#[test]
fn a_container_that_is_not_started_has_ended_and_says_why() {
    require_root!();
    let noisy = "head -c 100000000 /dev/zero | tr '\\0' x >&2; echo ' the end' >&2; exit 5";
    under("start", noisy, async |engine, pod| {
        let id = engine.create_container(&pod, script("c", WAITS)).await.unwrap();
        let error = chain(&engine.start_container(&id).await.unwrap_err());
        assert!(error.contains("status 5") && error.contains("xx the end"), "{error}");
        assert!(error.len() < 8 << 10, "{} bytes", error.len());
        let exit = ended(engine, &id).await;
        assert_eq!((exit.code, exit.reason), (128, ExitReason::StartError));
        assert!(exit.message.contains("the end"), "{}", exit.message);
    });
    // It was started all the same.
    under("start", "real \"$@\"; exit 6", async |engine, pod| {
        let id = engine.create_container(&pod, script("c", WAITS)).await.unwrap();
        let error = chain(&engine.start_container(&id).await.unwrap_err());
        assert!(error.contains("status 6"), "{error}");
        assert_eq!(ended(engine, &id).await.code, 128);
    });
}

#[test]
fn further_processes_that_fail_leave_the_container_alone() {
    require_root!();
    let fault = "echo '{\"level\":\"error\",\"msg\":\"not today\"}' >>\"$log\"; exit 2";
    under("exec", fault, async |engine, pod| {
        let id = started(engine, &pod, script("c", WAITS)).await;
        let error = chain(&engine.exec_sync(&id, vec!["true".into()], None).await.unwrap_err());
        assert!(error.contains("not today"), "{error}");
        assert!(engine.container(id.as_str()).unwrap().exit.is_none());
    });
}

#[test]
fn further_processes_are_ended_with_a_runtime_that_prints_much_or_fails_late() {
    require_root!();
    let much = "head -c 10000000 /dev/zero | tr '\\0' x >&2; real \"$@\"; exit 2";
    under("exec", much, async |engine, pod| {
        let id = started(engine, &pod, script("c", WAITS)).await;
        let error = chain(&engine.exec_sync(&id, sleeper(), None).await.unwrap_err());
        assert!(error.contains("status 2"), "{error}");
        nothing_sleeps(engine, &id);
    });
}

#[test]
fn further_processes_whose_runtime_hangs_are_ended_in_time() {
    require_root!();
    for fault in ["real \"$@\"; exec sleep 1000", "exec sleep 1000"] {
        under("exec", fault, async |engine, pod| {
            let id = started(engine, &pod, script("c", WAITS)).await;
            let limit = Some(Duration::from_millis(500));
            let error = engine.exec_sync(&id, sleeper(), limit).await.unwrap_err();
            assert!(matches!(error, EngineError::Timeout { .. }), "{error:?}");
            nothing_sleeps(engine, &id);
            assert!(engine.container(id.as_str()).unwrap().exit.is_none());
        });
    }
}

/// A caller that goes away ends its session, however far that is.
#[test]
fn further_processes_whose_caller_goes_away_are_ended_with_a_runtime_that_hangs() {
    require_root!();
    let dir = tempfile::tempdir().unwrap();
    let (hangs, gone) = (dir.path().join("hangs"), dir.path().join("gone"));
    let made = std::process::Command::new("mkfifo").arg(&gone).status().unwrap();
    assert!(made.success());
    // The end of the runtime and of what it started is that of the pipe, which both have.
    let (hangs_at, gone_at) = (hangs.display(), gone.display());
    let fault =
        format!("exec 9<>{gone_at}; real \"$@\"; exec 8>{gone_at} 9<&-; touch {hangs_at}; exec sleep 1000");
    under("exec", &fault, async |engine, pod| {
        let id = started(engine, &pod, script("c", WAITS)).await;
        let reader = gone.clone();
        let end = tokio::task::spawn_blocking(move || std::fs::read(reader).unwrap());
        let there = hangs.clone();
        let there = async move {
            let there = move || assert!(berth_testkit::wait_until(LIMIT, || there.exists()));
            tokio::task::spawn_blocking(there).await.unwrap();
        };
        tokio::select! {
            outcome = engine.exec_sync(&id, sleeper(), None) => panic!("it hangs: {outcome:?}"),
            () = there => {}
        }
        assert_eq!(tokio::time::timeout(LIMIT, end).await.unwrap().unwrap(), b"");
        nothing_sleeps(engine, &id);
    });
}

fn sleeper() -> Vec<String> {
    ["sleep", "54321"].map(str::to_owned).to_vec()
}

/// Only the container's main process is left.
fn nothing_sleeps(engine: &Engine, id: &ContainerId) {
    let main = engine.container(id.as_str()).unwrap().pid.unwrap();
    let space = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = space(&main.to_string()).unwrap();
    let alone = berth_testkit::wait_until(LIMIT, || {
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let sleeps = |pid: &str| {
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"sleep\x0054321\0")
        };
        !pids
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .any(|pid| space(&pid).as_ref() == Some(&own) && sleeps(&pid))
    });
    assert!(alone, "what was run in it still sleeps");
}

#[test]
fn what_is_not_deleted_is_told_and_goes_with_the_pod() {
    require_root!();
    let fault = "echo '{\"level\":\"error\",\"msg\":\"it is mine\"}' >>\"$log\"; exit 1";
    under("delete", fault, async |engine, pod| {
        let id = started(engine, &pod, script("c", "exit 4")).await;
        let exit = ended(engine, &id).await;
        assert_eq!(exit.code, 4);
        assert!(exit.message.contains("it is mine"), "{}", exit.message);
    });
}

#[test]
fn a_program_that_is_not_there_is_named() {
    require_root!();
    let mut world = World::new();
    let shim = Arc::new(Program::new(programs().shim));
    let gone = OciRuntime::new("gone".to_owned(), "/no/such/runtime".into(), shim);
    let engine = world.open_with(Seams { handlers: vec![Arc::new(gone)], ..Seams::default() });
    world.pull(&engine);
    world.run(async {
        let mut config = sandbox("gone");
        config.handler = "gone".to_owned();
        let pod = engine.run_sandbox(config).await.unwrap();
        let error = chain(&engine.create_container(&pod, script("c", WAITS)).await.unwrap_err());
        assert!(error.contains("/no/such/runtime") && error.contains("cannot be executed"), "{error}");
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}
