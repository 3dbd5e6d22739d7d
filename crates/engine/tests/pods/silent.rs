//! A shim that is alive and does not answer.

use std::path::Path;
use std::time::Duration;

use berth_engine::Engine;
use berth_engine::model::ExitReason;
use berth_testkit::{require_root, wait_until};
use berth_types::lifecycle::{container, sandbox as pod};
use berth_types::{ContainerId, SandboxId};

use crate::harness::{LIMIT, WAITS, World, ended, sandbox, script, started};

fn signal(name: &str, pid: i32) {
    assert!(std::process::Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

fn lives(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}/exe")).exists()
}

/// A pod with a running container whose shim is stopped while no daemon runs; the daemon that found it.
fn silenced(world: &mut World) -> (Engine, SandboxId, ContainerId, i32) {
    let engine = world.with_image();
    let (id, main, shim) = world.run(async {
        let id = engine.run_sandbox(sandbox("quiet")).await.unwrap();
        let main = started(&engine, &id, script("main", WAITS)).await;
        let shim = engine.sandbox(id.as_str()).unwrap().shim_pid.unwrap();
        (id, main, shim)
    });
    world.kill(engine);
    signal("-STOP", shim);
    let engine = world.open();
    let view = engine.sandbox(id.as_str()).unwrap();
    assert_eq!((view.state, view.containers[0].state), (pod::State::Ready, container::State::Unknown));
    assert!(!view.message.is_empty());
    (engine, id, main, shim)
}

#[test]
pub(crate) fn it_is_taken_back_when_it_answers() {
    require_root!();
    let mut world = World::new();
    let (engine, id, main, shim) = silenced(&mut world);
    world.run(async {
        let mut events = engine.events();
        signal("-CONT", shim);
        while engine.container(main.as_str()).unwrap().state != container::State::Running {
            events.next().await.unwrap();
        }
        assert!(engine.sandbox(id.as_str()).unwrap().message.is_empty());
        let out = engine.exec_sync(&main, vec!["echo".into(), "back".into()], None).await.unwrap();
        assert_eq!(out.stdout, b"back\n");
        let second = started(&engine, &id, script("second", "exit 4")).await;
        assert_eq!(ended(&engine, &second).await.code, 4);
        engine.stop_container(&main, Duration::ZERO).await.unwrap();
        assert_eq!(engine.container(main.as_str()).unwrap().exit.as_ref().unwrap().code, 137);
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}

#[test]
pub(crate) fn what_ended_in_between_is_reported_when_it_answers() {
    require_root!();
    let mut world = World::new();
    let (engine, id, main, shim) = silenced(&mut world);
    let pid = engine.container(main.as_str()).unwrap().pid;
    let pid = pid.unwrap_or_else(|| main_of(&engine, &main));
    signal("-KILL", pid);
    signal("-CONT", shim);
    world.run(async {
        let exit = ended(&engine, &main).await;
        assert_eq!((exit.code, exit.reason), (137, ExitReason::Error));
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}

/// The main process by the container's group.
fn main_of(engine: &Engine, main: &ContainerId) -> i32 {
    let group = engine.container(main.as_str()).unwrap().cgroup.clone();
    let dirs = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|e| e.path());
    let dirs = dirs.chain([Path::new("/sys/fs/cgroup").to_owned()]);
    let texts = dirs.filter_map(|dir| std::fs::read_to_string(dir.join(&group).join("cgroup.procs")).ok());
    texts.filter_map(|text| text.lines().next()?.parse().ok()).next().unwrap()
}

#[test]
pub(crate) fn its_containers_and_its_pod_can_be_ended_without_it() {
    require_root!();
    let mut world = World::new();
    let (engine, id, main, shim) = silenced(&mut world);
    let pid = main_of(&engine, &main);
    world.run(async {
        engine.stop_container(&main, Duration::from_secs(3600)).await.unwrap();
        let exit = engine.container(main.as_str()).unwrap().exit.clone().unwrap();
        assert_eq!((exit.code, exit.reason), (255, ExitReason::Unknown));
        assert!(!lives(pid));
        // Nothing lives in the pod and nothing can be made in it: it ends, and another can be asked for.
        engine.create_container(&id, script("next", WAITS)).await.unwrap_err();
        let mut events = engine.events();
        while engine.sandbox(id.as_str()).unwrap().state != pod::State::NotReady {
            events.next().await.unwrap();
        }
        engine.remove_container(&main).await.unwrap();
        engine.remove_sandbox(&id).await.unwrap();
    });
    assert!(wait_until(LIMIT, || !lives(shim)));
    world.finish(engine);
}

#[test]
pub(crate) fn a_pod_with_running_containers_is_removed_without_it() {
    require_root!();
    let mut world = World::new();
    let (engine, id, main, shim) = silenced(&mut world);
    let pid = main_of(&engine, &main);
    world.run(async {
        engine.stop_sandbox(&id).await.unwrap();
        assert_eq!(engine.container(main.as_str()).unwrap().state, container::State::Exited);
        engine.remove_sandbox(&id).await.unwrap();
    });
    assert!(wait_until(LIMIT, || !lives(shim) && !lives(pid)));
    world.finish(engine);
}
