//! OCI runtimes that fail: scripts in front of the real one. A call fails with the runtime's own last words, and nothing is left.

use std::sync::Arc;

use berth_engine::Engine;
use berth_engine::model::ExitReason;
use berth_engine::seams::{OciRuntime, Program, Seams};
use berth_testkit::{executable, require_root};
use berth_types::SandboxId;
use berth_types::error::chain;

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
