//! Pods where systemd manages cgroups: the machine of `cargo xtask vm --systemd`.

use std::path::{Path, PathBuf};
use std::process::Command;

use berth_engine::model::{ExitReason, Resources};
use berth_engine::seams::Driver;
use berth_engine::{CgroupDriver, Engine};
use berth_sys::cgroup::{Host, Mode};
use berth_testkit::{require, require_root, wait_until};
use berth_types::lifecycle::{container, sandbox as pod};
use berth_types::{ContainerId, SandboxId};

use crate::harness::{LIMIT, WAITS, World, ended, sandbox, script, started};

macro_rules! require_systemd {
    () => {
        require_root!();
        let alone = Host::detect().is_ok_and(|host| host.mode() == Mode::V2);
        require!(
            Host::has_systemd() && alone,
            "systemd with cgroup v2 alone is not this host's first process"
        );
    };
}

/// Asks until it is done: another test may be restarting systemd.
fn systemctl(arguments: &[&str]) {
    let asked = || Command::new("systemctl").args(arguments).output().unwrap().status.success();
    assert!(wait_until(LIMIT, asked), "{arguments:?}");
}

/// A slice like those that a kubelet makes for pods, below one for all of this test.
struct Kubelet {
    root: String,
    pod: String,
}

impl Kubelet {
    fn of(world: &World) -> Self {
        let stem = world.config.cgroup_slice.replace(".slice", "_kube");
        let (root, pod) = (format!("{stem}.slice"), format!("{stem}-burstable-pod1.slice"));
        systemctl(&["start", &pod]);
        Self { root, pod }
    }

    fn path(&self) -> String {
        let stem = self.root.trim_end_matches(".slice");
        format!("/{}/{stem}-burstable.slice/{}", self.root, self.pod)
    }

    /// What is in the pod's slice.
    fn left(&self) -> Vec<PathBuf> {
        let dir = format!("/sys/fs/cgroup{}", self.path());
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        drop(Command::new("systemctl").args(["stop", &self.root]).output());
    }
}

fn group_of(pid: i32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    text.trim().strip_prefix("0::").unwrap().to_owned()
}

fn read(group: &str, file: &str) -> String {
    let path = Path::new("/sys/fs/cgroup").join(group.trim_matches('/')).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned()
}

fn pid_of(engine: &Engine, container: &ContainerId) -> i32 {
    engine.container(container.as_str()).unwrap().pid.unwrap()
}

/// The process that keeps a pod's scope.
fn pause_of(container: i32) -> i32 {
    let group = group_of(container);
    let (scope, _) = group.split_once(".scope/").unwrap();
    read(&format!("{scope}.scope/pause"), "cgroup.procs").parse().unwrap()
}

fn kill(pid: i32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

async fn run_in(engine: &Engine, name: &str, parent: Option<&str>) -> (SandboxId, ContainerId) {
    let mut config = sandbox(name);
    config.cgroup_parent = parent.map(str::to_owned);
    let id = engine.run_sandbox(config).await.unwrap();
    let main = started(engine, &id, script("main", WAITS)).await;
    (id, main)
}

/// contract 16: both forms of a kubelet's parent, a scope right below it and nothing beside it; the driver is known before
/// anything is asked.
#[test]
fn a_pod_is_one_scope_in_the_slice_that_the_kubelet_names() {
    require_systemd!();
    let mut world = World::new();
    let engine = world.with_image();
    assert_eq!(engine.cgroup_driver(), Driver::Systemd);
    let kubelet = Kubelet::of(&world);
    let stem = world.config.cgroup_slice.replace(".slice", "");
    world.run(async {
        for parent in [kubelet.pod.clone(), kubelet.path()] {
            let (id, main) = run_in(&engine, "given", Some(&parent)).await;
            let unit = format!("{stem}-pod{id}.scope");
            let group = group_of(pid_of(&engine, &main));
            assert_eq!(group, format!("{}/{unit}/{main}", kubelet.path()), "{parent}");
            assert_eq!(kubelet.left().len(), 1);
            let units = world.units();
            let active =
                |unit: &str| units.iter().any(|line| line.starts_with(unit) && line.contains("running"));
            assert!(active(&unit) && active(&format!("{stem}-shim{id}.scope")), "{units:?}");
            engine.remove_sandbox(&id).await.unwrap();
            assert!(kubelet.left().is_empty(), "{:?}", kubelet.left());
            assert!(!world.units().iter().any(|line| line.contains(id.as_str())), "{:?}", world.units());
        }
        // Without a parent it has limits of its own.
        let mut config = sandbox("own");
        config.resources = Resources { memory_limit: Some(64 << 20), ..Resources::default() };
        let id = engine.run_sandbox(config).await.unwrap();
        let main = started(&engine, &id, script("main", WAITS)).await;
        let group = group_of(pid_of(&engine, &main));
        let own = format!("/{}/{stem}-pod{id}.scope/pod", world.config.cgroup_slice);
        assert_eq!(group, format!("{own}/{main}"));
        assert_eq!(read(&own, "memory.max"), (64 << 20).to_string());
        engine.remove_sandbox(&id).await.unwrap();

        for (parent, why) in
            [("/kubepods/burstable/pod1", "cgroup driver"), ("/x.slice/a-b.slice", "lies at")]
        {
            let mut config = sandbox("refused");
            config.cgroup_parent = Some(parent.to_owned());
            let error = engine.run_sandbox(config).await.unwrap_err().to_string();
            assert!(error.contains("cgroup_parent") && error.contains(why), "{error}");
        }
    });
    world.finish(engine);
}

/// Reads a device that no container may, through a node of its own.
async fn reads_a_forbidden_device(engine: &Engine, main: &ContainerId) -> bool {
    let line = "busybox mknod /tmp/n c 1 1 2>/dev/null; busybox dd if=/tmp/n of=/dev/null bs=1 count=1";
    let command = ["sh", "-c", line].map(str::to_owned).to_vec();
    let out = engine.exec_sync(main, command, None).await.unwrap();
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.code == 0 || error.contains("Operation not permitted"), "{error}");
    out.code == 0
}

#[test]
fn limits_and_device_rules_survive_a_reload_and_a_restart_of_systemd() {
    require_systemd!();
    let mut world = World::new();
    let engine = world.with_image();
    let kubelet = Kubelet::of(&world);
    let (id, main) = world.run(async {
        let mut config = sandbox("limited");
        config.cgroup_parent = Some(kubelet.pod.clone());
        let id = engine.run_sandbox(config).await.unwrap();
        let mut config = script("main", WAITS);
        config.resources = Resources {
            memory_limit: Some(64 << 20),
            memory_swap_limit: Some(64 << 20),
            cpu_quota: Some(12_345),
            cpu_period: Some(100_000),
            cpu_shares: Some(512),
            cpuset_cpus: "0".to_owned(),
            pids_limit: Some(50),
            ..Resources::default()
        };
        config.resources.unified.insert("memory.high".to_owned(), (48 << 20).to_string());
        config.resources.unified.insert("memory.oom.group".to_owned(), "1".to_owned());
        let main = started(&engine, &id, config).await;
        (id, main)
    });
    let group = group_of(pid_of(&engine, &main));
    let files = [
        "memory.max",
        "memory.swap.max",
        "memory.high",
        "memory.oom.group",
        "cpu.max",
        "cpu.weight",
        "cpuset.cpus",
        "pids.max",
        "cgroup.controllers",
    ];
    let all = || files.map(|file| (file, read(&group, file)));
    let before = all();
    assert_eq!(before[4], ("cpu.max", "12345 100000".to_owned()));
    assert!(!world.run(reads_a_forbidden_device(&engine, &main)));
    for verb in ["daemon-reload", "daemon-reexec"] {
        systemctl(&[verb]);
        // A unit that is made afterwards makes systemd look at what its slices need.
        let (other, _) = world.run(run_in(&engine, verb, Some(&kubelet.pod)));
        assert_eq!(all(), before, "{verb}");
        assert!(!world.run(reads_a_forbidden_device(&engine, &main)), "{verb}");
        world.run(async { engine.remove_sandbox(&other).await.unwrap() });
    }
    let change = Resources { memory_limit: Some(96 << 20), cpu_quota: Some(23_456), ..Resources::default() };
    world.run(async { engine.update_resources(&main, change).await.unwrap() });
    let updated = all();
    assert_eq!(updated[0], ("memory.max", (96 << 20).to_string()));
    assert_eq!(updated[4], ("cpu.max", "23456 100000".to_owned()));
    systemctl(&["daemon-reload"]);
    assert_eq!(all(), updated);
    world.run(async { engine.remove_sandbox(&id).await.unwrap() });
    world.finish(engine);
}

/// contract 22: the first status that says exited says why, although systemd removes groups that are empty.
#[test]
fn running_out_of_memory_is_told_with_the_end() {
    require_systemd!();
    let mut world = World::new();
    let engine = world.with_image();
    let kubelet = Kubelet::of(&world);
    let mut config = sandbox("hungry");
    config.cgroup_parent = Some(kubelet.pod.clone());
    let id = world.run(async { engine.run_sandbox(config).await.unwrap() });
    for attempt in 0..5 {
        world.run(async {
            let mut config = script("main", "exec busybox tail /dev/zero");
            config.metadata.attempt = attempt;
            config.resources.memory_limit = Some(16 << 20);
            config.resources.memory_swap_limit = Some(16 << 20);
            let main = started(&engine, &id, config).await;
            let exit = ended(&engine, &main).await;
            assert_eq!((exit.code, exit.reason), (137, ExitReason::OomKilled), "{attempt}");
        });
    }
    world.run(async { engine.remove_sandbox(&id).await.unwrap() });
    world.finish(engine);
}

#[test]
fn nothing_is_left_whatever_was_killed() {
    require_systemd!();
    let mut world = World::new();
    let mut engine = world.with_image();
    let kubelet = Kubelet::of(&world);
    // The process that keeps the scope, then the scope with everything in it: the pod goes on.
    world.run(async {
        let (id, main) = run_in(&engine, "kept", Some(&kubelet.pod)).await;
        let pid = pid_of(&engine, &main);
        kill(pause_of(pid));
        let out = engine.exec_sync(&main, vec!["echo".into(), "hi".into()], None).await.unwrap();
        assert_eq!(out.stdout, b"hi\n");
        engine.stop_container(&main, LIMIT).await.unwrap();
        assert!(wait_until(LIMIT, || kubelet.left().is_empty()), "{:?}", kubelet.left());
        let next = started(&engine, &id, script("next", WAITS)).await;
        assert_ne!(pause_of(pid_of(&engine, &next)), pid);
        engine.remove_sandbox(&id).await.unwrap();
    });
    assert!(kubelet.left().is_empty(), "{:?}", kubelet.left());
    // Daemon, shim and the process that keeps the scope.
    let (id, main) = world.run(run_in(&engine, "killed", Some(&kubelet.pod)));
    let (pid, shim) = (pid_of(&engine, &main), engine.sandbox(id.as_str()).unwrap().shim_pid.unwrap());
    let pause = pause_of(pid);
    world.kill(engine);
    kill(pause);
    kill(shim);
    engine = world.open();
    assert_ne!(engine.sandbox(id.as_str()).unwrap().state, pod::State::Ready);
    world.run(async { engine.remove_sandbox(&id).await.unwrap() });
    assert!(kubelet.left().is_empty(), "{:?}", kubelet.left());
    // The records: what systemd still knows is enough.
    let (id, _) = world.run(run_in(&engine, "forgotten", Some(&kubelet.pod)));
    world.kill(engine);
    std::fs::remove_dir_all(world.config.root.join("sandboxes").join(id.as_str())).unwrap();
    for mount in ["shm", "netns"] {
        let mount = world.config.state.join("pods").join(id.as_str()).join(mount);
        drop(Command::new("umount").arg("-l").arg(mount).output());
    }
    std::fs::remove_dir_all(world.config.state.join("pods").join(id.as_str())).unwrap();
    engine = world.open();
    assert!(engine.sandboxes(None).is_empty());
    assert!(kubelet.left().is_empty(), "{:?}", kubelet.left());
    assert!(!world.units().iter().any(|line| line.contains(id.as_str())), "{:?}", world.units());
    world.finish(engine);
}

#[test]
fn a_scope_that_cannot_be_made_whole_leaves_nothing() {
    require_systemd!();
    let mut world = World::new();
    let engine = world.with_image();
    let kubelet = Kubelet::of(&world);
    let scopes = || world.units().into_iter().filter(|line| line.contains(".scope")).collect::<Vec<_>>();
    // Without a process in it, which is before systemd hears of it; and without the group of that process, which is when it has.
    for (file, value) in [("pids.max", "0"), ("cgroup.max.descendants", "1")] {
        let file = format!("/sys/fs/cgroup{}/{file}", kubelet.path());
        std::fs::write(&file, value).unwrap();
        let mut config = sandbox("half");
        config.cgroup_parent = Some(kubelet.pod.clone());
        let error = world.run(async { engine.run_sandbox(config).await.unwrap_err() });
        assert!(berth_types::error::chain(&error).contains("scope"), "{file}: {error:?}");
        assert!(kubelet.left().is_empty(), "{file}: {:?}", kubelet.left());
        assert!(wait_until(LIMIT, || scopes().is_empty()), "{file}: {:?}", scopes());
        std::fs::write(&file, "max").unwrap();
        let (id, _) = world.run(run_in(&engine, "whole", Some(&kubelet.pod)));
        world.run(async { engine.remove_sandbox(&id).await.unwrap() });
        assert!(wait_until(LIMIT, || scopes().is_empty()), "{file}: {:?}", scopes());
    }
    world.finish(engine);
}

#[test]
fn a_pod_whose_own_group_is_gone_takes_no_more_containers() {
    require_systemd!();
    let mut world = World::new();
    let engine = world.with_image();
    let stem = world.config.cgroup_slice.replace(".slice", "");
    world.run(async {
        let (id, main) = run_in(&engine, "own", None).await;
        systemctl(&["stop", &format!("{stem}-pod{id}.scope")]);
        ended(&engine, &main).await;
        // It would be without the pod's limits.
        let refused = engine.create_container(&id, script("next", WAITS)).await.unwrap_err();
        let text = berth_types::error::chain(&refused);
        assert!(text.contains("without its own cgroup"), "{text}");
        engine.remove_sandbox(&id).await.unwrap();
        assert!(!world.units().iter().any(|line| line.contains(id.as_str())), "{:?}", world.units());
    });
    world.finish(engine);
}

#[test]
fn a_pod_that_was_made_under_another_driver_goes_on_and_ends() {
    require_systemd!();
    for (before, after) in
        [(CgroupDriver::Cgroupfs, CgroupDriver::Systemd), (CgroupDriver::Systemd, CgroupDriver::Cgroupfs)]
    {
        let mut world = World::new();
        world.config.cgroup_driver = before;
        let engine = world.with_image();
        let (id, main) = world.run(run_in(&engine, "moved", None));
        let pid = pid_of(&engine, &main);
        world.kill(engine);
        world.config.cgroup_driver = after;
        let engine = world.open();
        world.run(async {
            let view = engine.container(main.as_str()).unwrap();
            assert_eq!((view.state, view.pid), (container::State::Running, Some(pid)));
            let next = started(&engine, &id, script("next", WAITS)).await;
            let change = Resources { pids_limit: Some(40), ..Resources::default() };
            engine.update_resources(&next, change).await.unwrap();
            assert_eq!(read(&group_of(pid_of(&engine, &next)), "pids.max"), "40");
            engine.remove_sandbox(&id).await.unwrap();
        });
        assert!(!Path::new(&format!("/proc/{pid}/exe")).exists());
        assert!(wait_until(LIMIT, || !world.units().iter().any(|line| line.contains(id.as_str()))));
        let slice = world.config.cgroup_slice.clone();
        world.finish_with(engine, || drop(Command::new("systemctl").args(["stop", &slice]).output()));
    }
}
