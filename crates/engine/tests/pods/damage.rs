//! Records, mounts and cgroups that were damaged or removed from outside.

use std::path::{Path, PathBuf};
use std::process::Command;

use berth_engine::Engine;
use berth_sys::cgroup::Host;
use berth_testkit::{require_root, wait_until};
use berth_types::lifecycle::{container, sandbox as pod};
use berth_types::{ContainerId, SandboxId};

use crate::harness::{LIMIT, WAITS, World, sandbox, script, started};

/// A cgroup that another program made for pods, as a kubelet does; removed when it is dropped.
struct Parent(String);

impl Parent {
    fn of(world: &World) -> Self {
        Self(match Host::has_systemd() {
            true => format!("/{}", world.config.cgroup_slice.replace(".slice", "_parent.slice")),
            false => format!("{}-parent", world.config.cgroup_root),
        })
    }

    fn dirs(&self) -> Vec<PathBuf> {
        let name = self.0.trim_matches('/');
        let all = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|e| e.path().join(name));
        all.chain([Path::new("/sys/fs/cgroup").join(name)]).filter(|dir| dir.is_dir()).collect()
    }

    /// Groups that were left in it, the lowest first.
    fn left(&self) -> Vec<PathBuf> {
        let mut left = self.dirs();
        let mut at = 0;
        while at < left.len() {
            let below = std::fs::read_dir(&left[at]).into_iter().flatten().flatten().map(|e| e.path());
            left.extend(below.filter(|path| path.is_dir()).collect::<Vec<_>>());
            at += 1;
        }
        let own = self.dirs().len();
        left.drain(..own);
        left.reverse();
        left
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        for dir in self.left().into_iter().chain(self.dirs()) {
            let pids = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            drop(Command::new("kill").arg("-9").args(pids.lines()).output());
            wait_until(LIMIT, || std::fs::remove_dir(&dir).is_ok() || !dir.exists());
        }
        if Host::has_systemd() {
            drop(Command::new("systemctl").args(["stop", self.0.trim_matches('/')]).output());
        }
    }
}

/// A running pod in a parent cgroup that is not the daemon's; with the main process' pid.
fn running(world: &World, engine: &Engine, parent: &Parent) -> (SandboxId, ContainerId, i32) {
    world.run(async {
        let mut config = sandbox("victim");
        config.cgroup_parent = Some(parent.0.clone());
        let id = engine.run_sandbox(config).await.unwrap();
        let main = started(engine, &id, script("main", WAITS)).await;
        let pid = engine.container(main.as_str()).unwrap().pid.unwrap();
        (id, main, pid)
    })
}

/// A dead process has no program any more, even before it is reaped.
fn lives(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}/exe")).exists()
}

fn pod_dir(world: &World, id: &SandboxId) -> PathBuf {
    world.config.state.join("pods").join(id.as_str())
}

fn record(world: &World, id: &SandboxId) -> PathBuf {
    world.config.root.join("sandboxes").join(id.as_str()).join("sandbox.json")
}

fn container_record(world: &World, id: &SandboxId, container: &ContainerId) -> PathBuf {
    record(world, id).with_file_name("containers").join(container.as_str()).join("container.json")
}

/// Whether the pod is there as it was: the same process, and its container can be reached and stopped.
fn goes_on(world: &World, engine: &Engine, id: &SandboxId, main: &ContainerId, pid: i32) {
    let view = engine.sandbox(id.as_str()).unwrap();
    assert_eq!((view.state, view.config.metadata.name.as_str()), (pod::State::Ready, "victim"));
    let view = engine.container(main.as_str()).unwrap();
    assert_eq!((view.state, view.pid), (container::State::Running, Some(pid)));
    world.run(async {
        let out = engine.exec_sync(main, vec!["echo".into(), "hi".into()], None).await.unwrap();
        assert_eq!(out.stdout, b"hi\n");
        // The kubelet's retry finds it, and makes no second one.
        let mut config = sandbox("victim");
        config.cgroup_parent.clone_from(&view_parent(engine, id));
        assert_eq!(engine.run_sandbox(config).await.unwrap(), *id);
    });
}

fn view_parent(engine: &Engine, id: &SandboxId) -> Option<String> {
    engine.sandbox(id.as_str()).unwrap().config.cgroup_parent.clone()
}

#[test]
pub(crate) fn a_pod_whose_records_are_damaged_is_found_by_their_copies() {
    require_root!();
    for damage in ["", "{\"version\":1,", "\0\0\0\0", "[]"] {
        let mut world = World::new();
        let engine = world.with_image();
        let parent = Parent::of(&world);
        let (id, main, pid) = running(&world, &engine, &parent);
        world.kill(engine);
        std::fs::write(record(&world, &id), damage).unwrap();
        std::fs::write(container_record(&world, &id, &main), damage).unwrap();
        let engine = world.open();
        goes_on(&world, &engine, &id, &main, pid);
        world.run(async { engine.remove_sandbox(&id).await.unwrap() });
        assert_eq!(parent.left(), Vec::<PathBuf>::new(), "{damage:?}");
        world.finish(engine);
    }
}

#[test]
pub(crate) fn a_pod_without_any_readable_record_runs_on_until_its_shim_is_dead() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let parent = Parent::of(&world);
    let (id, _, pid) = running(&world, &engine, &parent);
    let shim = engine.sandbox(id.as_str()).unwrap().shim_pid.unwrap();
    world.kill(engine);
    std::fs::write(record(&world, &id), "{").unwrap();
    std::fs::write(pod_dir(&world, &id).join("sandbox.copy.json"), "{").unwrap();
    let engine = world.open();
    assert!(engine.sandboxes(None).is_empty());
    assert!(lives(pid) && lives(shim));
    let findings = world.run(engine.doctor());
    // It is reported once, and nothing that it has counts as an orphan.
    let [finding] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!((finding.thing, finding.name.as_str()), (berth_engine::Thing::Pod, id.as_str()));
    assert!(finding.remedy.contains(&shim.to_string()), "{finding:?}");
    world.kill(engine);
    assert!(Command::new("kill").args(["-9", &shim.to_string()]).status().unwrap().success());
    assert!(wait_until(LIMIT, || !lives(shim)));
    let engine = world.open();
    assert!(!pod_dir(&world, &id).exists() && !record(&world, &id).exists());
    // What it had in the group of another cannot be known; the maker of that group ends it.
    drop(parent);
    assert!(wait_until(LIMIT, || !lives(pid)));
    world.finish(engine);
}

#[test]
pub(crate) fn a_container_without_any_readable_record_runs_on_and_goes_with_its_pod() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let parent = Parent::of(&world);
    let (id, main, pid) = running(&world, &engine, &parent);
    let other = world.run(started(&engine, &id, script("other", WAITS)));
    world.kill(engine);
    std::fs::write(container_record(&world, &id, &main), "{").unwrap();
    std::fs::write(pod_dir(&world, &id).join(format!("{main}.copy.json")), "").unwrap();
    let engine = world.open();
    let view = engine.sandbox(id.as_str()).unwrap();
    assert_eq!((view.state, view.containers.len()), (pod::State::Ready, 1));
    assert_eq!(view.containers[0].id, other);
    assert!(lives(pid));
    world.run(async { engine.remove_sandbox(&id).await.unwrap() });
    assert!(wait_until(LIMIT, || !lives(pid)));
    assert_eq!(parent.left(), Vec::<PathBuf>::new());
    world.finish(engine);
}

#[test]
pub(crate) fn records_of_a_newer_version_are_read_as_far_as_they_are_understood() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let parent = Parent::of(&world);
    let (id, main, pid) = running(&world, &engine, &parent);
    world.kill(engine);
    for file in [record(&world, &id), container_record(&world, &id, &main)] {
        let mut value: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        value["version"] = 999.into();
        value["tomorrow"] = serde_json::json!({ "some": ["thing"] });
        value["config"]["tomorrow"] = "more".into();
        std::fs::write(&file, value.to_string()).unwrap();
    }
    let engine = world.open();
    goes_on(&world, &engine, &id, &main, pid);
    world.run(async { engine.remove_sandbox(&id).await.unwrap() });
    world.finish(engine);
}

/// What is reported of a pod after a restart of the machine, or without its state directory.
fn has_ended(world: &World, engine: &Engine, id: &SandboxId, main: &ContainerId) {
    assert_eq!(engine.sandbox(id.as_str()).unwrap().state, pod::State::NotReady);
    let exit = engine.container(main.as_str()).unwrap().exit.clone().unwrap();
    assert_eq!((exit.code, exit.reason), (255, berth_engine::model::ExitReason::Unknown));
    assert!(exit.finished_at > 0);
    world.run(async { engine.remove_sandbox(id).await.unwrap() });
}

#[test]
pub(crate) fn pods_whose_state_directory_is_lost_are_ended_and_reported() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let parent = Parent::of(&world);
    let (id, main, pid) = running(&world, &engine, &parent);
    let (own, of_own, own_pid) = world.run(async {
        let own = engine.run_sandbox(sandbox("own")).await.unwrap();
        let main = started(&engine, &own, script("main", WAITS)).await;
        let pid = engine.container(main.as_str()).unwrap().pid.unwrap();
        (own, main, pid)
    });
    world.kill(engine);
    for point in world.traces().iter().filter_map(|trace| trace.split(' ').nth(4)) {
        drop(Command::new("umount").args(["-l", point]).output());
    }
    std::fs::remove_dir_all(&world.config.state).unwrap();
    let engine = world.open();
    assert!(wait_until(LIMIT, || !lives(pid) && !lives(own_pid)));
    assert_eq!(parent.left(), Vec::<PathBuf>::new(), "{id}");
    has_ended(&world, &engine, &id, &main);
    has_ended(&world, &engine, &own, &of_own);
    world.finish(engine);
}

#[test]
pub(crate) fn after_a_restart_of_the_machine_pods_and_ends_are_listed() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let parent = Parent::of(&world);
    let (id, main, pid) = running(&world, &engine, &parent);
    let done = world.run(async {
        let done = started(&engine, &id, script("done", "exit 5")).await;
        crate::harness::ended(&engine, &done).await;
        done
    });
    let before = engine.container(done.as_str()).unwrap();
    world.kill(engine);
    // If it is the file that is wrong, what still runs is ended.
    std::fs::write(world.config.state.join("boot"), "not this boot\n").unwrap();
    let engine = world.open();
    assert!(wait_until(LIMIT, || !lives(pid)));
    assert_eq!(parent.left(), Vec::<PathBuf>::new());
    let after = engine.container(done.as_str()).unwrap();
    assert_eq!((&after.exit, after.started_at), (&before.exit, before.started_at));
    assert_eq!(after.exit.as_ref().unwrap().code, 5);
    has_ended(&world, &engine, &id, &main);
    world.finish(engine);
}

/// Moves a container's process to the root of every hierarchy and removes the container's group.
fn take_group(parent: &Parent, container: &ContainerId, pid: i32) {
    for path in parent.left().iter().filter(|path| path.ends_with(container.as_str())) {
        // The root of the only hierarchy, or of one among several.
        let only = Path::new("/sys/fs/cgroup/cgroup.procs");
        let one_of = Path::new("/sys/fs/cgroup").join(path.components().nth(4).unwrap()).join("cgroup.procs");
        let procs = if only.exists() { only } else { &one_of };
        std::fs::write(procs, pid.to_string()).unwrap();
        assert!(wait_until(LIMIT, || std::fs::remove_dir(path).is_ok() || !path.exists()));
    }
}

#[test]
pub(crate) fn a_container_that_cannot_be_counted_takes_no_numbers_from_others() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let parent = Parent::of(&world);
    let (id, main, pid) = running(&world, &engine, &parent);
    world.run(async {
        let other = started(&engine, &id, script("other", WAITS)).await;
        take_group(&parent, &main, pid);
        let stats = engine.stats(engine.containers(None)).await;
        let of = |id: &ContainerId| stats.iter().find(|stats| stats.container.id == *id);
        assert!(of(&other).is_some_and(|stats| stats.usage.memory.is_some()));
        assert!(of(&main).is_none_or(|stats| stats.usage.memory.is_none()));
        engine.remove_sandbox(&id).await.unwrap();
    });
    assert!(wait_until(LIMIT, || !lives(pid)));
    world.finish(engine);
}

#[test]
pub(crate) fn a_state_directory_that_is_a_mount_is_nobodys_left_over() {
    require_root!();
    let mut world = World::new();
    let state = world.config.state.clone();
    std::fs::create_dir_all(&state).unwrap();
    let made = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "state"]).arg(&state).status();
    assert!(made.unwrap().success());
    let engine = world.with_image();
    let (findings, failures) = world.run(async {
        let id = engine.run_sandbox(sandbox("mounted")).await.unwrap();
        // A full disk stops no stop.
        let fill = vec![0; 8 << 20];
        std::fs::write(state.join("fill"), fill).unwrap_err();
        engine.stop_sandbox(&id).await.unwrap();
        engine.remove_sandbox(&id).await.unwrap();
        (engine.doctor().await, engine.purge().await)
    });
    assert_eq!(findings, []);
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0);
    assert!(Command::new("umount").arg(&state).status().unwrap().success());
}

#[test]
pub(crate) fn a_pod_is_removed_even_if_its_parts_are_missing() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let parent = Parent::of(&world);
    let (id, main, pid) = running(&world, &engine, &parent);
    let dir = pod_dir(&world, &id);
    for name in ["netns", "shm"] {
        assert!(Command::new("umount").arg(dir.join(name)).status().unwrap().success());
    }
    std::fs::remove_file(dir.join("netns")).unwrap();
    // As a kubelet does with the group of a pod that it wants gone.
    drop(Command::new("kill").args(["-9", &pid.to_string()]).status());
    world.run(async {
        crate::harness::ended(&engine, &main).await;
        let second = started(&engine, &id, script("second", WAITS)).await;
        let pid = engine.container(second.as_str()).unwrap().pid.unwrap();
        take_group(&parent, &second, pid);
        // It is in no group of its own any more, and is found anyway.
        engine.stop_container(&second, std::time::Duration::ZERO).await.unwrap();
        let exit = engine.container(second.as_str()).unwrap().exit.clone().unwrap();
        assert_eq!((exit.code, lives(pid)), (137, false), "{exit:?}");
        engine.remove_container(&second).await.unwrap();
        engine.stop_sandbox(&id).await.unwrap();
        engine.remove_sandbox(&id).await.unwrap();
    });
    world.finish(engine);
}
