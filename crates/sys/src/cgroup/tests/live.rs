//! On this machine's hierarchies, in groups of our own below `berth-test-<pid>`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::super::*;
use rustix::fs::OFlags;

/// The groups of one test, removed with all they hold.
struct Ground {
    host: Host,
    root: CgroupPath,
}

impl Ground {
    fn new(test: &str) -> Option<Ground> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: {test}: needs root");
            return None;
        }
        let host = Host::detect().unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = CgroupPath::new(&format!("berth-test-{}-{number}", std::process::id())).unwrap();
        Some(Ground { host, root })
    }

    fn path(&self, name: &str) -> CgroupPath {
        self.root.child(name).unwrap()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let root = self.host.open(&self.root);
        root.kill_all(soon()).unwrap();
        root.remove().unwrap();
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn pid(child: &Child) -> rustix::process::Pid {
    rustix::process::Pid::from_child(child)
}

/// A shell that has moved into the group and now runs `script`.
fn inside(group: &Cgroup, script: &str) -> Child {
    let mut child = Command::new("/bin/sh")
        .args(["-c", &format!("read go; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for dir in group.dirs() {
        fs::write(dir.join("cgroup.procs"), pid(&child).as_raw_nonzero().to_string()).unwrap();
    }
    child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    child
}

fn reap(mut child: Child) {
    child.wait().unwrap();
}

#[test]
fn limits_reach_the_kernel_and_go_with_the_group() {
    let Some(ground) = Ground::new("limits_reach_the_kernel_and_go_with_the_group") else { return };
    let rule = |allow, kind, major, minor| DeviceRule { allow, kind, major, minor, access: Access::ALL };
    let resources = Resources {
        cpu: Cpu {
            shares: Some(512),
            quota: Some(50_000),
            period: Some(100_000),
            cpus: Some("0".into()),
            ..Cpu::default()
        },
        memory: Memory { limit: Some(64 << 20), ..Memory::default() },
        pids: Some(33),
        devices: vec![
            rule(false, DeviceKind::All, None, None),
            rule(true, DeviceKind::Char, Some(1), Some(3)),
            rule(true, DeviceKind::Char, Some(1), Some(5)),
        ],
        ..Resources::default()
    };
    let group = ground.host.create(&ground.path("a"), &resources).unwrap();
    // What the shim makes of the directories is the same group.
    let again = Cgroup::from_dirs(group.dirs());
    assert_eq!(again.shape().v1, group.shape().v1);
    let mut reader = Reader::default();
    assert_eq!(again.process_count(&mut reader).unwrap(), Pids { current: Some(0), limit: Some(33) });
    assert_eq!(again.stats(&mut reader).unwrap().unwrap().memory.unwrap().limit, Some(64 << 20));
    assert_eq!(again.memory_limit().unwrap(), Some(64 << 20));
    let read = |controller, file: &str| {
        let dir = group.member(controller).unwrap().dir.clone();
        fs::read_to_string(dir.join(file)).unwrap().trim().to_owned()
    };
    if ground.host.mode() != Mode::V2 {
        assert_eq!(read(Controller::Cpu, "cpu.shares"), "512");
        assert_eq!(read(Controller::Cpu, "cpu.cfs_quota_us"), "50000");
        assert_eq!(read(Controller::Devices, "devices.list"), "c 1:3 rwm\nc 1:5 rwm");
    }
    assert_eq!(read(Controller::Cpuset, "cpuset.cpus"), "0");
    let nodes = if ground.host.mode() == Mode::V2 { "cpuset.mems.effective" } else { "cpuset.mems" };
    assert_ne!(read(Controller::Cpuset, nodes), "");
    let memory = |limit, swap| Resources {
        memory: Memory { limit, swap, ..Memory::default() },
        ..Resources::default()
    };
    group.update(&memory(Some(128 << 20), None)).unwrap();
    assert_eq!(group.memory_limit().unwrap(), Some(128 << 20));
    let mut checked = memory(Some(1), None);
    checked.memory.check_before_update = true;
    let mut child = inside(&group, "sleep 1000 & echo x; wait");
    // Something is charged to the group by now.
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 2]).unwrap();
    let used = group.stats(&mut reader).unwrap().unwrap();
    assert!(used.cpu_usage_ns.unwrap() > 0 && used.memory.unwrap().usage > 0, "{used:?}");
    let mut details = group.details(&mut reader).unwrap();
    assert_eq!(details.pids, Pids { current: Some(2), limit: Some(33) });
    assert!(details.throttling.is_some(), "{details:?}");
    // The kernel adds up what the processors counted every two seconds.
    let deadline = soon();
    while details.memory.unwrap().own_page_faults == 0 {
        assert!(std::time::Instant::now() < deadline, "{details:?}");
        std::thread::yield_now();
        details = group.details(&mut reader).unwrap();
    }
    assert!(matches!(group.update(&checked).unwrap_err(), CgroupError::Invalid { .. }));
    group.kill_all(soon()).unwrap();
    reap(child);
    group.remove().unwrap();
    group.remove().unwrap();
    assert!(group.dirs().iter().all(|dir| !dir.exists()));
    assert_eq!(group.pids().unwrap(), []);
    assert_eq!(group.stats(&mut reader).unwrap(), None);
}

#[test]
fn a_group_in_use_is_not_replaced() {
    let Some(ground) = Ground::new("a_group_in_use_is_not_replaced") else { return };
    let path = ground.path("a");
    let group = ground.host.create(&path, &Resources::default()).unwrap();
    // Left over and empty: taken again. Shared: kept.
    ground.host.create(&path, &Resources::default()).unwrap();
    ground.host.ensure(&path, &Resources::default()).unwrap();
    let child = inside(&group, "exec sleep 1000");
    ground.host.create(&path, &Resources::default()).unwrap_err();
    assert!(group.dirs().iter().all(|dir| dir.exists()), "the directories of the other stay");
    assert_eq!(group.pids().unwrap(), [pid(&child)]);
    group.kill_all(soon()).unwrap();
    reap(child);
}

#[test]
fn a_member_joins_by_tasks() {
    let Some(ground) = Ground::new("a_member_joins_by_tasks") else { return };
    let group = ground.host.create(&ground.path("a"), &Resources::default()).unwrap();
    let join = group.join().unwrap();
    assert_eq!(join.tasks.len() + usize::from(join.v2_dir.is_some()), group.dirs().len());
    // Only this thread moves, which is what a child with one thread does for itself.
    let files = join.tasks.iter().map(|fd| fd.as_fd().try_clone_to_owned().unwrap()).collect::<Vec<_>>();
    let listed = std::thread::scope(|scope| {
        let work = || {
            files.iter().for_each(|fd| assert_eq!(rustix::io::write(fd, b"0"), Ok(1)));
            fs::read_to_string("/proc/thread-self/cgroup").unwrap()
        };
        scope.spawn(work).join().unwrap()
    });
    assert_eq!(listed.matches(ground.path("a").as_str()).count(), join.tasks.len(), "{listed}");
}

#[test]
fn everything_is_killed_also_what_forks_and_what_is_below() {
    let Some(ground) = Ground::new("everything_is_killed_also_what_forks_and_what_is_below") else { return };
    let group = ground
        .host
        .create(&ground.path("a"), &Resources { pids: Some(200), ..Resources::default() })
        .unwrap();
    // As a container makes one that may write to its cgroups: without controllers of its own.
    group.dirs().iter().for_each(|dir| fs::create_dir(dir.join("made-inside")).unwrap());
    let below = ground.host.open(&ground.path("a").child("made-inside").unwrap());
    let nested = inside(&below, "sleep 1000");
    let mut forking = inside(&group, "while :; do (sleep 0.01 &) ; (sleep 1000 &); echo x; done");
    // It forks by now.
    forking.stdout.as_mut().unwrap().read_exact(&mut [0; 8]).unwrap();
    assert!(group.pids().unwrap().contains(&pid(&nested)));
    group.kill_all(soon()).unwrap();
    assert_eq!(group.pids().unwrap(), []);
    reap(nested);
    reap(forking);
    group.remove().unwrap();
    assert!(below.dirs().iter().all(|dir| !dir.exists()));
}

/// The shim and a daemon that was just started may end the same container: neither waits for the notification of a
/// group that the other has removed.
#[test]
fn two_may_end_the_same_group() {
    let Some(ground) = Ground::new("two_may_end_the_same_group") else { return };
    for round in 0..30 {
        let path = ground.path(&format!("twice{round}"));
        let group = ground.host.create(&path, &Resources::default()).unwrap();
        let child = inside(&group, "sleep 1000");
        let deadline = Instant::now() + Duration::from_secs(60);
        let end = || {
            let group = ground.host.open(&path);
            group.kill_all(deadline).unwrap();
            // The other one may be at the same directory.
            drop(group.remove());
        };
        std::thread::scope(|scope| {
            scope.spawn(end);
            scope.spawn(end);
            scope.spawn(|| reap(child));
        });
        assert!(Instant::now() < deadline, "one waited for a removed group");
        assert!(group.dirs().iter().all(|dir| !dir.exists()), "round {round}");
    }
}

#[test]
fn without_v2_the_freezer_helps_to_kill() {
    let Some(ground) = Ground::new("without_v2_the_freezer_helps_to_kill") else { return };
    let found = parse_mounts(&fs::read("/proc/self/mountinfo").unwrap(), None);
    let v1: Vec<_> = found.into_iter().filter(|h| h.version == Version::V1).collect();
    let Ok(host) = Host::from_hierarchies(v1, false) else {
        eprintln!("skipped: without_v2_the_freezer_helps_to_kill: this host has no cgroup v1");
        return;
    };
    let ground = Ground { host, root: ground.root.clone() };
    let group = ground
        .host
        .create(&ground.path("f"), &Resources { pids: Some(100), ..Resources::default() })
        .unwrap();
    assert!(group.v2().is_none() && group.member(Controller::Freezer).is_some());
    let mut forking = inside(&group, "while :; do (sleep 1000 &); echo x; done");
    forking.stdout.as_mut().unwrap().read_exact(&mut [0; 8]).unwrap();
    group.kill_all(soon()).unwrap();
    reap(forking);
    group.remove().unwrap();
}

#[test]
fn a_frozen_group_dies() {
    let Some(ground) = Ground::new("a_frozen_group_dies") else { return };
    let group = ground.host.create(&ground.path("a"), &Resources::default()).unwrap();
    let child = inside(&group, "sleep 1000");
    let freezer = |dir: &std::path::Path| {
        let files = [("cgroup.freeze", "1"), ("freezer.state", "FROZEN")];
        files.into_iter().map(|(name, word)| (dir.join(name), word)).find(|(file, _)| file.exists())
    };
    let (file, word) = group.dirs().iter().find_map(|dir| freezer(dir)).unwrap();
    fs::write(file, word).unwrap();
    group.kill_all(soon()).unwrap();
    reap(child);
}

/// A shell that itself takes what it may not have.
const GREEDY: &str = "x=0123456789abcdef; while :; do x=$x$x; done";

#[test]
fn an_out_of_memory_kill_is_counted() {
    let Some(ground) = Ground::new("an_out_of_memory_kill_is_counted") else { return };
    let resources =
        Resources { memory: Memory { limit: Some(8 << 20), ..Memory::default() }, ..Resources::default() };
    let group = ground.host.create(&ground.path("a"), &resources).unwrap();
    let watch = group.oom_watch().unwrap().unwrap();
    assert_eq!(watch.kills().unwrap(), 0);
    assert!(!inside(&group, GREEDY).wait().unwrap().success());
    assert_eq!((watch.kills().unwrap(), group.oom_kills().unwrap()), (1, 1));
    assert_eq!(watch.level(), OomLevel::Own(Some(8 << 20)));
}

/// contract 22: the limit of the pod is not taken for that of a container in it.
#[test]
fn the_limit_that_was_met_is_told_from_those_that_were_not() {
    let Some(ground) = Ground::new("the_limit_that_was_met_is_told_from_those_that_were_not") else { return };
    let limit = |bytes| Resources {
        memory: Memory { limit: Some(bytes), ..Memory::default() },
        ..Resources::default()
    };
    let pod = ground.path("pod");
    ground.host.ensure(&pod, &limit(8 << 20)).unwrap();
    let made = |name, bytes| ground.host.create(&pod.child(name).unwrap(), &limit(bytes)).unwrap();
    let (wide, below) = (made("wide", 64 << 20), made("below", 64 << 20));
    let watch = wide.oom_watch().unwrap().unwrap();
    inside(&wide, GREEDY).wait().unwrap();
    assert_eq!((watch.kills().unwrap(), watch.level()), (1, OomLevel::Parent(Some(8 << 20))));
    // v2 knows that in the time of a group that is made later the pod has not run out yet.
    if ground.host.mode() == Mode::V2 {
        assert_eq!(below.oom_watch().unwrap().unwrap().level(), OomLevel::Machine);
    }
    let deep = ground.host.create(&pod.child("wide").unwrap().child("deep").unwrap(), &limit(64 << 20));
    let deep = deep.unwrap();
    let watch = deep.oom_watch().unwrap().unwrap();
    inside(&deep, GREEDY).wait().unwrap();
    let OomLevel::Above(dir, limit) = watch.level() else { panic!("{:?}", watch.level()) };
    assert!(dir.ends_with(pod.as_str()) && limit == Some(8 << 20), "{dir:?}");
}

#[test]
fn device_programs_load_and_replace_each_other() {
    let Some(ground) = Ground::new("device_programs_load_and_replace_each_other") else { return };
    let group = ground.host.ensure(&ground.path("a"), &Resources::default()).unwrap();
    let Some(v2) = group.v2() else {
        eprintln!("skipped: device_programs_load_and_replace_each_other: this host has no cgroup v2");
        return;
    };
    let rule = |allow, minor| DeviceRule {
        allow,
        kind: DeviceKind::Char,
        major: Some(1),
        minor,
        access: Access::ALL,
    };
    let all =
        DeviceRule { allow: false, kind: DeviceKind::All, major: None, minor: None, access: Access::ALL };
    for (rules, allowed) in [(vec![all, rule(true, Some(3))], true), (vec![all, rule(true, Some(5))], false)]
    {
        let policy = devices::Policy::from_rules(&rules).unwrap();
        devices::attach(&v2.dir, &policy).unwrap();
        let dir = group::open(&v2.dir, rustix::fs::OFlags::RDONLY).unwrap();
        assert_eq!(crate::bpf::attached_devices(&dir).unwrap().len(), 1);
        let mut child = inside(&group, "(exec </dev/null) && echo yes || echo no");
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        reap(child);
        assert_eq!(said.trim(), if allowed { "yes" } else { "no" });
    }
    // A program as large as the rules may be.
    let many: Vec<_> = (0..1000).map(|minor| rule(false, Some(minor))).collect();
    devices::attach(&v2.dir, &devices::Policy::from_rules(&many).unwrap()).unwrap();
}

/// What a container that may make groups hides in: deeper than a path is long, by names that are not UTF-8, and many beside.
#[test]
fn nothing_survives_in_groups_however_deep_or_many() {
    use std::os::unix::ffi::OsStrExt as _;
    let Some(ground) = Ground::new("nothing_survives_in_groups_however_deep_or_many") else { return };
    let group = ground.host.create(&ground.path("a"), &Resources::default()).unwrap();
    let member = group.member(Controller::Pids).unwrap().clone();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mode = rustix::fs::Mode::from_raw_mode(0o755);
    let mut at = rustix::fs::open(&member.dir, flags, rustix::fs::Mode::empty()).unwrap();
    for number in 0..10_100 {
        rustix::fs::mkdirat(&at, format!("wide{number}"), mode).unwrap();
    }
    let name = std::ffi::OsStr::from_bytes(&[0xff; 60]);
    for _ in 0..80 {
        rustix::fs::mkdirat(&at, name, mode).unwrap();
        at = rustix::fs::openat(&at, name, flags, rustix::fs::Mode::empty()).unwrap();
    }
    let mut child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
    let procs = rustix::fs::openat(&at, "cgroup.procs", OFlags::WRONLY, rustix::fs::Mode::empty()).unwrap();
    rustix::io::write(&procs, pid(&child).as_raw_nonzero().to_string().as_bytes()).unwrap();
    drop((procs, at));
    assert_eq!(group.pids().unwrap(), [pid(&child)]);
    // The test reaps it meanwhile, as its parent.
    let reaper = std::thread::spawn(move || child.wait().unwrap());
    group.kill_all(soon()).unwrap();
    assert!(std::os::unix::process::ExitStatusExt::signal(&reaper.join().unwrap()) == Some(9));
    group.remove().unwrap();
    assert!(!member.dir.exists());
}

/// A group is known by more than its path: what was made anew there is another one.
#[test]
fn a_held_group_is_not_another_of_its_name() {
    let Some(ground) = Ground::new("a_held_group_is_not_another_of_its_name") else { return };
    let path = ground.path("held");
    let first = ground.host.create(&path, &Resources::default()).unwrap();
    let held = first.hold().unwrap();
    let known: Vec<_> = first.dirs().into_iter().zip(held.numbers()).map(|(dir, n)| (dir, Some(n))).collect();
    assert_eq!(held.numbers().len(), first.dirs().len());
    let mut child = inside(&first, "exec sleep 1000");
    assert_eq!(held.with(Cgroup::pids).unwrap(), [pid(&child)]);
    assert_eq!(Held::find(known.clone()).unwrap().with(Cgroup::pids).unwrap(), [pid(&child)]);
    held.with(|group| group.freeze(soon())).unwrap();
    assert!(held.with(Cgroup::is_frozen).unwrap() && held.with(Cgroup::is_to_freeze).unwrap());
    held.with(Cgroup::thaw).unwrap();
    assert!(!held.with(Cgroup::is_to_freeze).unwrap());
    held.with(|group| group.kill_all(soon())).unwrap();
    child.wait().unwrap();
    first.remove().unwrap();
    // Nothing is there.
    held.with(|group| group.kill_all(soon())).unwrap();
    assert!(held.with(Cgroup::pids).unwrap().is_empty());
    held.remove().unwrap();
    // Another is there.
    let second = ground.host.create(&path, &Resources::default()).unwrap();
    let mut child = inside(&second, "exec sleep 1000");
    for held in [held, Held::find(known).unwrap()] {
        assert!(held.with(Cgroup::pids).unwrap().is_empty());
        held.with(|group| group.kill_all(soon())).unwrap();
        held.remove().unwrap();
        assert!(second.dirs().iter().all(|dir| dir.exists()));
    }
    assert_eq!(second.pids().unwrap(), [pid(&child)]);
    let held = Held::find(second.dirs().into_iter().map(|dir| (dir, None))).unwrap();
    let error = held.with(|group| group::write(&group.members[0].dir.join("none"), "1")).unwrap_err();
    let name = second.dirs()[0].join("none").display().to_string();
    assert!(error.to_string().contains(&name), "{error}");
    // With what is below it, as a container makes it.
    for dir in second.dirs() {
        fs::create_dir(dir.join("below")).unwrap();
    }
    held.with(|group| group.kill_all(soon())).unwrap();
    child.wait().unwrap();
    held.remove().unwrap();
    assert!(second.dirs().iter().all(|dir| !dir.exists()));
}
