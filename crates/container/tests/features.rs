//! Features that the comparison does not reach: user namespaces and exec, idmapped mounts, clocks,
//! propagation, limits, signals, and that a failure leaves nothing.

use std::os::fd::AsFd as _;
use std::os::unix::fs::chown;

use berth_container::plan::{ClockOffsets, IdMap, Plan, Propagation, Rlimit, Space, Step};
use berth_container::run::{self, Given, Join, Note, RunError, Running, Stdio};

#[path = "features/idmap.rs"]
mod idmap;
mod support;
use support::{
    bind, capture, filesystem, in_user_namespace, plan, process, read_all, root, rootfs, run_plan, silent,
};

fn end(running: &Running) {
    rustix::process::pidfd_send_signal(&running.pidfd, rustix::process::Signal::KILL).expect("kill");
    berth_sys::process::reap(running.pidfd.as_fd());
}

fn start(plan: &Plan, stdio: Stdio) -> Running {
    let prepared = run::create(plan, &Given::default(), stdio, &Join::default()).expect("create");
    prepared.start().expect("start")
}

/// A plan with a user namespace of ids from 100000 on, and its root.
fn user_plan(args: &[&str]) -> (tempfile::TempDir, Plan) {
    let rootfs = rootfs();
    let plan = in_user_namespace(plan(rootfs.path(), args));
    (rootfs, plan)
}

#[test]
fn a_user_namespace_is_entered_by_exec() {
    if !root("a_user_namespace_is_entered_by_exec") {
        return;
    }
    let (_rootfs, plan) = user_plan(&["sleep", "1000"]);
    let main = start(&plan, silent());
    let (read, stdio) = capture();
    let mut other = process(&["sh", "-c", "id -u; cat /proc/self/uid_map; touch /tmp/x; stat -c %u /tmp/x"]);
    other.user_namespace = true;
    let other = run::exec(&other, main.pidfd.as_fd(), stdio, &Join::default()).expect("exec");
    let words: Vec<String> = read_all(read).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["0", "0", "100000", "1000", "0"]);
    berth_sys::process::reap(other.pidfd.as_fd());
    let mut tty = process(&["readlink", "/proc/self/fd/0"]);
    tty.user_namespace = true;
    let tty = run::exec(&tty, main.pidfd.as_fd(), Stdio::Terminal, &Join::default()).expect("exec");
    assert_eq!(read_all(tty.console.expect("a terminal")), "/dev/pts/0\r\n");
    berth_sys::process::reap(tty.pidfd.as_fd());
    end(&main);
}

#[test]
fn a_user_of_a_user_namespace_can_open_its_streams() {
    if !root("a_user_of_a_user_namespace_can_open_its_streams") {
        return;
    }
    let (_rootfs, mut plan) = user_plan(&["sh", "-c", "echo out > /dev/stdout; echo err > /proc/self/fd/2"]);
    plan.process.identity.uid = 7;
    assert_eq!(run_plan(&plan).expect("run"), (0, "out\nerr\n".to_owned()));
    // A further process' streams are made outside too.
    let (_rootfs, plan) = user_plan(&["sleep", "1000"]);
    let main = start(&plan, silent());
    let (read, stdio) = capture();
    let mut other = process(&["sh", "-c", "echo out > /dev/stdout; echo err > /proc/self/fd/2"]);
    other.user_namespace = true;
    other.identity.uid = 7;
    let other = run::exec(&other, main.pidfd.as_fd(), stdio, &Join::default()).expect("exec");
    assert_eq!(read_all(read), "out\nerr\n");
    berth_sys::process::reap(other.pidfd.as_fd());
    end(&main);
}

#[test]
fn a_second_container_joins_the_namespaces_of_the_first() {
    if !root("a_second_container_joins_the_namespaces_of_the_first") {
        return;
    }
    let (_one, first) = user_plan(&["sleep", "1000"]);
    let main = start(&first, silent());
    let (_two, mut second) = user_plan(&["sh", "-c", "hostname; id -u; cat /proc/1/comm"]);
    second.namespaces.user = Space::Given;
    second.namespaces.uts = Space::Given;
    second.namespaces.pid = Space::Given;
    second.namespaces.net = Space::Path(format!("/proc/{}/ns/net", main.pid).into_bytes());
    second.steps.retain(|s| !matches!(s, Step::Hostname(_)));
    let pidfd = Some(main.pidfd.as_fd());
    let given = Given { user: pidfd, uts: pidfd, pid: pidfd, ..Given::default() };
    let (read, stdio) = capture();
    let running =
        run::create(&second, &given, stdio, &Join::default()).expect("create").start().expect("start");
    assert_eq!(read_all(read), "box\n0\nsleep\n");
    berth_sys::process::reap(running.pidfd.as_fd());
    // The same with a PID namespace of its own, which belongs to the user namespace.
    second.namespaces.pid = Space::New;
    let given = Given { user: pidfd, uts: pidfd, ..Given::default() };
    second.process.args = ["sh", "-c", "hostname; echo $$"].map(|a| a.as_bytes().to_vec()).to_vec();
    let (read, stdio) = capture();
    let running =
        run::create(&second, &given, stdio, &Join::default()).expect("create").start().expect("start");
    assert_eq!(read_all(read), "box\n1\n");
    assert_eq!(berth_sys::process::reap(running.pidfd.as_fd()).map(|e| e.shell_code()), Some(0));
    second.steps.push(filesystem("tmpfs", "/x", 0, &[("no-such-option", "1")]));
    let failed = run::create(&second, &given, silent(), &Join::default());
    assert!(
        matches!(&failed, Err(RunError::Step { step, .. }) if step == "mount tmpfs on /x (no-such-option=1)"),
        "{failed:?}"
    );
    second.steps.pop();
    // What the plan refers to must be given.
    let missing = run::create(&second, &Given::default(), silent(), &Join::default());
    assert!(matches!(missing, Err(RunError::Plan { .. })), "{missing:?}");
    end(&main);
}

#[test]
fn an_idmapped_mount_shows_other_owners() {
    if !root("an_idmapped_mount_shows_other_owners") {
        return;
    }
    let source = tempfile::tempdir().expect("tempdir");
    std::fs::write(source.path().join("file"), "x").expect("write");
    let rootfs = rootfs();
    let mut plan = plan(rootfs.path(), &["stat", "-c", "%u:%g", "/in/file"]);
    let maps = [IdMap { inside: 0, outside: 4242, count: 10 }];
    plan.steps.push(bind(source.path(), "/in", &maps, Propagation::Private));
    assert_eq!(run_plan(&plan).expect("run"), (0, "4242:4242\n".to_owned()));
}

/// A home directory on a file server that lets its user in and not root. Here root is that of a user
/// namespace, whose rights end at groups that it does not have.
#[test]
fn a_working_directory_may_be_one_that_only_the_user_can_reach() {
    if !root("a_working_directory_may_be_one_that_only_the_user_can_reach") {
        return;
    }
    let home = tempfile::tempdir().expect("tempdir");
    std::fs::create_dir(home.path().join("sub")).expect("mkdir");
    for dir in [home.path().join("sub"), home.path().to_owned()] {
        chown(&dir, Some(100_007), Some(5)).expect("chown");
        std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
    }
    let (_rootfs, mut plan) = user_plan(&["pwd"]);
    plan.steps.push(bind(home.path(), "/home", &[], Propagation::Private));
    plan.steps.push(Step::Directory(b"/home/sub".to_vec()));
    plan.process.cwd = b"/home/sub".to_vec();
    plan.process.identity.uid = 7;
    plan.process.identity.gid = 7;
    assert_eq!(run_plan(&plan).expect("run"), (0, "/home/sub\n".to_owned()));
    // Who may not enter it is told so.
    plan.process.identity.uid = 8;
    let refused = run_plan(&plan).expect_err("another user entered");
    assert!(refused.to_string().contains("working directory /home/sub"), "{refused}");
}

#[test]
fn clocks_have_their_offset() {
    if !root("clocks_have_their_offset") {
        return;
    }
    let rootfs = rootfs();
    let mut plan = plan(rootfs.path(), &["cat", "/proc/uptime"]);
    plan.namespaces.time = Some(ClockOffsets { boottime: (1_000_000_000, 0), monotonic: (0, 0) });
    let (_, output) = run_plan(&plan).expect("run");
    let seconds: f64 = output.split('.').next().expect("number").parse().expect("number");
    assert!(seconds >= 1e9, "{output}");
}

#[test]
fn a_shared_mount_travels_back_to_the_host_and_the_plans_own_do_not() {
    if !root("a_shared_mount_travels_back_to_the_host_and_the_plans_own_do_not") {
        return;
    }
    // In a mount namespace of the test's own thread.
    let seen = std::thread::spawn(|| {
        berth_sys::namespace::unshare(berth_sys::namespace::MOUNT | 0x200).expect("unshare");
        let private = berth_sys::mount::Change {
            propagation: berth_sys::mount::PRIVATE,
            recursive: true,
            ..Default::default()
        };
        berth_sys::mount::change(rustix::fs::CWD, c"/", private).expect("private");
        let shared = tempfile::tempdir().expect("tempdir");
        let path = std::ffi::CString::new(shared.path().to_str().expect("text")).expect("text");
        rustix::mount::mount_bind(path.as_c_str(), path.as_c_str()).expect("bind");
        let change = berth_sys::mount::Change { propagation: berth_sys::mount::SHARED, ..Default::default() };
        berth_sys::mount::change(rustix::fs::CWD, &path, change).expect("shared");
        std::fs::create_dir(shared.path().join("at")).expect("mkdir");
        std::fs::create_dir(shared.path().join("own")).expect("mkdir");
        let rootfs = rootfs();
        let script = "touch /v/own/inside; mount -t tmpfs tmpfs /v/at; touch /v/at/here";
        let mut plan = plan(rootfs.path(), &["sh", "-c", script]);
        plan.process.capabilities.bounding = berth_sys::caps::SYS_ADMIN;
        plan.process.capabilities.permitted = berth_sys::caps::SYS_ADMIN;
        plan.process.capabilities.effective = berth_sys::caps::SYS_ADMIN;
        plan.steps.push(bind(shared.path(), "/v", &[], Propagation::RecursiveShared));
        // A mount of the plan's own is in the container alone.
        plan.steps.push(filesystem("tmpfs", "/v/own", 0, &[]));
        let outcome = run_plan(&plan).expect("run");
        let seen = shared.path().join("at/here").exists();
        let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").expect("read");
        let leaked = mounts.contains(&format!(" {}/own ", shared.path().display()));
        for _ in 0..2 {
            let _ = rustix::mount::unmount(path.as_c_str(), rustix::mount::UnmountFlags::DETACH);
        }
        (outcome, seen, leaked)
    });
    let (outcome, seen, leaked) = seen.join().expect("thread");
    assert_eq!(outcome, (0, String::new()));
    assert!(seen, "the mount was not propagated");
    assert!(!leaked, "the container's own mount is on the host");
}

#[test]
fn what_this_machine_cannot_give_is_clamped_and_noted() {
    if !root("what_this_machine_cannot_give_is_clamped_and_noted") {
        return;
    }
    let rootfs = rootfs();
    let mut plan = plan(
        rootfs.path(),
        &["sh", "-c", "cat /proc/self/oom_score_adj; grep 'open files' /proc/self/limits"],
    );
    plan.process.oom_score_adj = Some(-999);
    plan.process.rlimits = vec![Rlimit { resource: 7, soft: 64, hard: 1 << 19 }];
    let (read, stdio) = capture();
    let prepared = run::create(&plan, &Given::default(), stdio, &Join::default()).expect("create");
    let notes = prepared.notes().to_vec();
    let running = prepared.start().expect("start");
    let output = read_all(read);
    berth_sys::process::reap(running.pidfd.as_fd());
    let may = berth_sys::caps::effective().expect("caps") & berth_sys::caps::SYS_RESOURCE != 0;
    if may {
        assert!(notes.is_empty() && output.starts_with("-999\n"), "{notes:?} {output}");
    } else {
        assert!(notes.iter().any(|n| matches!(n, Note::OomScoreClamped { wanted: -999, .. })), "{notes:?}");
        assert!(output.contains("open files            64"), "{output}");
    }
}

#[test]
fn exec_applies_low_limits() {
    if !root("exec_applies_low_limits") {
        return;
    }
    let rootfs = rootfs();
    let main = start(&plan(rootfs.path(), &["sleep", "1000"]), silent());
    let (read, stdio) = capture();
    let mut other = process(&["sh", "-c", "grep 'open files' /proc/self/limits"]);
    other.rlimits = vec![Rlimit { resource: 7, soft: 5, hard: 6 }];
    let other = run::exec(&other, main.pidfd.as_fd(), stdio, &Join::default()).expect("exec");
    assert!(read_all(read).contains(" 5 "));
    berth_sys::process::reap(other.pidfd.as_fd());
    end(&main);
}

/// A daemon that systemd has bound to some CPUs must not bind containers: their cpuset does.
#[test]
fn a_container_runs_on_the_cpus_of_its_cpuset_and_not_on_its_makers() {
    if !root("a_container_runs_on_the_cpus_of_its_cpuset_and_not_on_its_makers") {
        return;
    }
    let cpus = |status: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.expect("status").trim().to_owned()
    };
    let (all, seen, further) = std::thread::spawn(move || {
        berth_sys::process::release_cpus().expect("release");
        let own = || cpus(&std::fs::read_to_string("/proc/thread-self/status").expect("status"));
        let all = own();
        let mut one = rustix::thread::CpuSet::new();
        one.set(all.split([',', '-']).next().expect("a list").parse().expect("a number"));
        rustix::thread::sched_setaffinity(None, &one).expect("bind");
        let rootfs = rootfs();
        let (_, seen) = run_plan(&plan(rootfs.path(), &["cat", "/proc/self/status"])).expect("run");
        let main = start(&plan(rootfs.path(), &["sleep", "1000"]), silent());
        let (read, stdio) = capture();
        let cat = process(&["cat", "/proc/self/status"]);
        let other = run::exec(&cat, main.pidfd.as_fd(), stdio, &Join::default()).expect("exec");
        let further = read_all(read);
        berth_sys::process::reap(other.pidfd.as_fd());
        end(&main);
        (all, cpus(&seen), cpus(&further))
    })
    .join()
    .expect("thread");
    assert_eq!((&seen, &further), (&all, &all));
}

#[test]
fn many_threads_make_containers_at_once() {
    if !root("many_threads_make_containers_at_once") {
        return;
    }
    let rootfs = rootfs();
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let plan = plan(rootfs.path(), &["sh", "-c", &format!("echo {number}; exit {number}")]);
            std::thread::spawn(move || {
                for _ in 0..10 {
                    assert_eq!(run_plan(&plan).expect("run"), (number, format!("{number}\n")));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("thread");
    }
}

#[test]
fn a_failure_leaves_nothing() {
    if !root("a_failure_leaves_nothing") {
        return;
    }
    let rootfs = rootfs();
    let open = || std::fs::read_dir("/proc/self/fd").expect("read_dir").count();
    let children = || std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let mut plan = plan(rootfs.path(), &["true"]);
    plan.steps.push(filesystem("tmpfs", "/x", 0, &[("no-such-option", "1")]));
    // Other tests of this process open descriptors too: so only children are compared exactly.
    let before = open();
    for _ in 0..300 {
        let error = run_plan(&plan).expect_err("the option is wrong");
        assert!(
            matches!(&error, RunError::Step { step, .. } if step == "mount tmpfs on /x (no-such-option=1)"),
            "{error}"
        );
    }
    assert!(open() < before + 250, "descriptors are left");
    assert_eq!(children(), "");
    // Dropped while prepared: killed and reaped.
    plan.steps.pop();
    drop(run::create(&plan, &Given::default(), silent(), &Join::default()).expect("create"));
    assert_eq!(children(), "");
}

#[test]
fn a_file_is_not_mounted_on_a_directory() {
    if !root("a_file_is_not_mounted_on_a_directory") {
        return;
    }
    let rootfs = rootfs();
    for (from, to, kind) in [
        ("/etc/hostname", "/tmp", std::io::ErrorKind::IsADirectory),
        ("/etc", "/bin/busybox", std::io::ErrorKind::NotADirectory),
    ] {
        let mut plan = plan(rootfs.path(), &["true"]);
        plan.steps.push(bind(from.as_ref(), to, &[], Propagation::Private));
        let Err(RunError::Step { step, source }) = run_plan(&plan) else { panic!("{from} is on {to}") };
        assert_eq!((step, source.kind()), (format!("bind {from} on {to}"), kind));
    }
}

#[test]
fn a_namespace_that_cannot_be_entered_is_named() {
    if !root("a_namespace_that_cannot_be_entered_is_named") {
        return;
    }
    let rootfs = rootfs();
    let mut plan = plan(rootfs.path(), &["true"]);
    for (path, reason) in [("/etc/hostname", "enter"), ("/no/such", "open"), ("/proc/self/ns/uts", "enter")] {
        plan.namespaces.net = Space::Path(path.into());
        let error = run_plan(&plan).expect_err("there is no such network namespace");
        assert_eq!(error.to_string(), format!("{reason} the network namespace {path}"));
    }
    plan.namespaces.net = Space::Given;
    let file = std::fs::File::open("/etc/hostname").expect("open");
    let given = Given { net: Some(file.as_fd()), ..Given::default() };
    let error = run::create(&plan, &given, silent(), &Join::default()).expect_err("no namespace");
    assert_eq!(error.to_string(), "enter the given network namespace");
}
