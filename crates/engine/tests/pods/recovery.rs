//! A daemon that ends, and a shim that ends.

use std::time::Duration;

use berth_engine::Events;
use berth_engine::model::ExitReason;
use berth_testkit::{require_root, wait_until};
use berth_types::lifecycle::{container, sandbox as pod};

use crate::harness::{LIMIT, WAITS, World, ended, sandbox, script, started};

#[test]
pub(crate) fn pods_run_on_without_the_daemon_and_are_found_again() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let logs = world.path().join("logs");
    let (pod, counts, done, created) = world.run(async {
        let mut config = sandbox("survivor");
        config.log_directory = Some(logs.clone());
        let pod = engine.run_sandbox(config).await.unwrap();
        let mut counts = script("counts", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done");
        counts.log_path = Some("counts.log".into());
        let counts = started(&engine, &pod, counts).await;
        let done = started(&engine, &pod, script("done", "exit 5")).await;
        assert_eq!(ended(&engine, &done).await.code, 5);
        let created = engine.create_container(&pod, script("created", "exit 6")).await.unwrap();
        (pod, counts, done, created)
    });
    let before = engine.container(counts.as_str()).unwrap();
    world.kill(engine);
    let log = logs.join("counts.log");
    let lines = || std::fs::read_to_string(&log).unwrap().lines().count();
    let now = lines();
    assert!(wait_until(LIMIT, || lines() > now + 5), "output goes on without the daemon");
    let engine = world.open();
    let view = engine.sandbox(pod.as_str()).unwrap();
    assert_eq!((view.state, view.containers.len()), (pod::State::Ready, 3));
    let after = engine.container(counts.as_str()).unwrap();
    assert_eq!((after.state, after.pid), (container::State::Running, before.pid));
    assert_eq!((after.created_at, &after.config), (before.created_at, &before.config));
    assert_eq!(after.started_at, before.started_at, "not even by a microsecond");
    assert_eq!(engine.container(done.as_str()).unwrap().exit.as_ref().unwrap().code, 5);
    assert_eq!(engine.container(created.as_str()).unwrap().state, container::State::Created);
    world.run(async {
        engine.start_container(&created).await.unwrap();
        assert_eq!(ended(&engine, &created).await.code, 6);
        let out = engine.exec_sync(&counts, vec!["echo".into(), "hi".into()], None).await.unwrap();
        assert_eq!(out.stdout, b"hi\n");
        engine.stop_container(&counts, Duration::ZERO).await.unwrap();
    });
    let text = std::fs::read_to_string(&log).unwrap();
    for (index, line) in text.lines().enumerate() {
        assert!(line.ends_with(&format!(" stdout F {}", index + 1)), "line {index}: {line}");
    }
    world.run(async { engine.remove_sandbox(&pod).await.unwrap() });
    world.finish(engine);
}

#[test]
pub(crate) fn a_pod_whose_shim_is_killed_ends_in_the_defined_way() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let (id, main) = world.run(async {
        let id = engine.run_sandbox(sandbox("victim")).await.unwrap();
        let main = started(&engine, &id, script("main", WAITS)).await;
        let shim = engine.sandbox(id.as_str()).unwrap().shim_pid.unwrap();
        kill(shim);
        let exit = ended(&engine, &main).await;
        assert_eq!((exit.code, exit.reason), (255, ExitReason::Unknown));
        let mut events = engine.events();
        while engine.sandbox(id.as_str()).unwrap().state != pod::State::NotReady {
            events.next().await.unwrap();
        }
        (id, main)
    });
    assert!(!engine.sandbox(id.as_str()).unwrap().message.is_empty());
    // The next daemon reports the same.
    let before = engine.container(main.as_str()).unwrap();
    world.kill(engine);
    let engine = world.open();
    let after = engine.container(main.as_str()).unwrap();
    assert_eq!((after.state, &after.exit), (before.state, &before.exit));
    assert_eq!(after.started_at, before.started_at);
    world.run(async {
        engine.remove_container(&main).await.unwrap();
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}

#[test]
pub(crate) fn a_shim_that_died_with_the_daemon_is_found_so() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let (id, main, done) = world.run(async {
        let id = engine.run_sandbox(sandbox("both")).await.unwrap();
        let main = started(&engine, &id, script("main", WAITS)).await;
        let done = started(&engine, &id, script("done", "exit 5")).await;
        ended(&engine, &done).await;
        (id, main, done)
    });
    let view = engine.sandbox(id.as_str()).unwrap();
    let pid = engine.container(main.as_str()).unwrap().pid.unwrap();
    world.kill(engine);
    kill(view.shim_pid.unwrap());
    let engine = world.open();
    // Complete as soon as it is open.
    assert_eq!(engine.sandbox(id.as_str()).unwrap().state, pod::State::NotReady);
    let exit = engine.container(main.as_str()).unwrap().exit.clone().unwrap();
    assert_eq!((exit.code, exit.reason), (255, ExitReason::Unknown));
    assert_eq!(engine.container(done.as_str()).unwrap().exit.as_ref().unwrap().code, 5);
    // A dead process has no program any more, even before it is reaped.
    assert!(wait_until(LIMIT, || !std::path::Path::new(&format!("/proc/{pid}/exe")).exists()));
    world.run(async { engine.remove_sandbox(&id).await.unwrap() });
    world.finish(engine);
}

#[test]
pub(crate) fn a_stopped_pod_and_a_partly_created_one_are_distinguished() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let id = world.run(async {
        let id = engine.run_sandbox(sandbox("stopped")).await.unwrap();
        engine.stop_sandbox(&id).await.unwrap();
        id
    });
    world.kill(engine);
    // The record of a daemon that was killed in the middle.
    let pods = world.config.root.join("sandboxes");
    let half = pods.join("ab".repeat(32));
    std::fs::create_dir_all(half.join("containers")).unwrap();
    let text = std::fs::read_to_string(pods.join(id.as_str()).join("sandbox.json")).unwrap();
    let text = text.replace(id.as_str(), &"ab".repeat(32)).replace("\"stopped\"", "\"making\"");
    std::fs::write(half.join("sandbox.json"), text).unwrap();
    let engine = world.open();
    assert_eq!(engine.sandboxes(None).len(), 1);
    assert_eq!(engine.sandbox(id.as_str()).unwrap().state, pod::State::NotReady);
    assert!(!half.exists());
    world.run(async { engine.remove_sandbox(&id).await.unwrap() });
    world.finish(engine);
}

/// A daemon that was killed while it removed a pod leaves the record and no longer what it names.
#[test]
pub(crate) fn a_pod_whose_removal_was_cut_off_is_found_and_removed() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let id = world.run(async {
        let id = engine.run_sandbox(sandbox("cut")).await.unwrap();
        engine.stop_sandbox(&id).await.unwrap();
        id
    });
    world.kill(engine);
    std::fs::remove_dir_all(world.config.root.join("sandboxes").join(id.as_str()).join("containers"))
        .unwrap();
    let engine = world.open();
    assert_eq!(engine.sandbox(id.as_str()).unwrap().state, pod::State::NotReady);
    world.run(async { engine.remove_sandbox(&id).await.unwrap() });
    world.finish(engine);
}

fn kill(pid: i32) {
    let status = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Cuts the daemon's connection in the shim, which lives on.
fn cut(shim: i32) {
    use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
    let pidfd = pidfd_open(Pid::from_raw(shim).unwrap(), PidfdFlags::empty()).unwrap();
    // The connection that the shim was started with.
    let socket = pidfd_getfd(&pidfd, 4, PidfdGetfdFlags::empty()).unwrap();
    rustix::net::shutdown(&socket, rustix::net::Shutdown::Both).unwrap();
}

/// Whether the pod was in trouble when the next event happened.
async fn is_troubled(events: &mut Events) -> bool {
    let stamped = events.next().await.unwrap();
    !stamped.pod.expect("an event of a pod").message.is_empty()
}

#[test]
pub(crate) fn a_connection_that_is_lost_ends_nothing() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let id = engine.run_sandbox(sandbox("cut")).await.unwrap();
        let main = started(&engine, &id, script("main", WAITS)).await;
        let quick = engine.create_container(&id, script("quick", "exit 3")).await.unwrap();
        let before = engine.container(main.as_str()).unwrap();
        let mut events = engine.events();
        cut(engine.sandbox(id.as_str()).unwrap().shim_pid.unwrap());
        // The pod is reported as being reconnected, then as connected. It may be long before this looks: the events tell both.
        while !is_troubled(&mut events).await {}
        while is_troubled(&mut events).await {}
        let after = engine.container(main.as_str()).unwrap();
        assert_eq!((after.state, after.pid, after.started_at), (before.state, before.pid, before.started_at));
        let out = engine.exec_sync(&main, vec!["echo".into(), "still".into()], None).await.unwrap();
        assert_eq!(out.stdout, b"still\n");
        engine.start_container(&quick).await.unwrap();
        assert_eq!(ended(&engine, &quick).await.code, 3);
        engine.stop_container(&main, Duration::from_secs(20)).await.unwrap();
        assert_eq!(
            engine.container(main.as_str()).unwrap().exit.as_ref().unwrap().code,
            7,
            "it had its grace"
        );
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}
