//! A container that may trace looks into every process that comes to its PID namespace: those that are executed in it, and those
//! of a container that shares the namespace. See `watched/watcher.c` and docs/adr/0070.

use std::io::{BufRead as _, BufReader};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;

use berth_container::plan::{Capabilities, Plan, ProcessPlan, Space, capability};
use berth_container::run::{self, Given, Join, Running, Stdio};
use berth_container::seccomp;

mod support;
use support::{pipe, plan, process, root, rootfs, silent};

/// How many processes come by: half are executed, half are created.
const ROUNDS: usize = 1000;
const USER: u32 = 1000;

fn mask(names: &[&str]) -> u64 {
    names.iter().map(|name| capability(name).expect("a capability")).sum()
}

/// So that the watcher does not find it in its own arguments.
fn encoded(text: &str) -> String {
    text.bytes().map(|b| char::from(b + 1)).collect()
}

/// Compiles the watcher into the root.
fn compile(rootfs: &Path) -> bool {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/watched/watcher.c");
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-static", "-o"]).arg(rootfs.join("bin/watcher")).arg(source);
    gcc.status().is_ok_and(|status| status.success())
}

/// What the host has that no process may show: a variable of this one, ASCII and no short one.
fn variable() -> String {
    std::env::vars()
        .map(|(name, value)| format!("{name}={value}"))
        .filter(|text| text.bytes().all(|b| (0x20..0x7e).contains(&b)))
        .max_by_key(String::len)
        .expect("an environment")
}

struct Watched {
    main: Running,
    stop: OwnedFd,
    /// Read all the time: a watcher that cannot write does not release what it has stopped.
    lines: JoinHandle<Vec<String>>,
}

fn watch(rootfs: &Path, file: &Path, variable: &str, needle: &str) -> Watched {
    let link = |kind: &str| {
        let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace");
        link.to_string_lossy().into_owned()
    };
    let spaces = ["mnt", "net", "ipc", "uts", "cgroup"].map(link);
    let (file, allowed) = (file.to_str().expect("text"), format!("{:x}", few()));
    let user = USER.to_string();
    let (variable, needle) = (encoded(variable), encoded(needle));
    let mut args = vec!["/bin/watcher", file, &variable, &needle, &user, &allowed];
    args.extend(spaces.iter().map(String::as_str));
    let mut plan = plan(rootfs, &args);
    let all = mask(&["SYS_PTRACE", "KILL", "DAC_OVERRIDE", "DAC_READ_SEARCH"]);
    plan.process.capabilities =
        Capabilities { bounding: all, effective: all, permitted: all, inheritable: 0, ambient: 0 };
    let (stdin, stop) = pipe();
    let (lines, stdout) = pipe();
    let stdio = Stdio::Fds { stdin: Some(stdin), stdout: Some(stdout), stderr: None };
    let prepared = run::create(&plan, &Given::default(), stdio, &Join::default()).expect("create");
    let main = prepared.start().expect("start");
    let mut lines = BufReader::new(std::fs::File::from(lines));
    let mut line = String::new();
    lines.read_line(&mut line).expect("read");
    assert_eq!(line, "ready\n");
    let lines = std::thread::spawn(move || lines.lines().map_while(Result::ok).collect());
    Watched { main, stop, lines }
}

impl Watched {
    /// Ends the watcher: what it saw, and how many processes it stopped, how many of them before their program.
    fn finish(self) -> (Vec<String>, u32, u32) {
        drop(self.stop);
        let mut all = self.lines.join().expect("the reader");
        berth_sys::process::reap(self.main.pidfd.as_fd());
        let last = all.pop().unwrap_or_default();
        let words: Vec<&str> = last.split(' ').collect();
        let ["caught", caught, "early", early] = words[..] else {
            panic!("the watcher was disturbed: {last}")
        };
        (all, caught.parse().expect("a number"), early.parse().expect("a number"))
    }
}

/// What the processes that come by may have.
fn few() -> u64 {
    mask(&["CHOWN", "NET_BIND_SERVICE"])
}

/// A process of a user with few rights; `full` is with a filter and the right to gain privileges, which takes a right to load.
fn visitor(full: bool) -> ProcessPlan {
    let mut process = process(&["true"]);
    process.identity.uid = USER;
    process.identity.gid = USER;
    process.capabilities =
        Capabilities { bounding: few(), effective: 0, permitted: 0, inheritable: 0, ambient: 0 };
    if full {
        let native = seccomp::Arch::native().expect("an architecture");
        let profile = seccomp::default_profile(0, native);
        process.seccomp = Some(seccomp::compile(&profile, native).expect("compiles").encode());
        process.no_new_privileges = false;
        process.rlimits = vec![berth_container::plan::Rlimit { resource: 7, soft: 64, hard: 64 }];
    }
    process
}

fn sharing(rootfs: &Path, full: bool) -> Plan {
    let mut plan = plan(rootfs, &["true"]);
    plan.namespaces.pid = Space::Given;
    plan.process = visitor(full);
    plan
}

#[test]
fn nothing_of_the_host_shows_in_processes_that_come_by() {
    let test = "nothing_of_the_host_shows_in_processes_that_come_by";
    if !root(test) {
        return;
    }
    let rootfs = rootfs();
    if !compile(rootfs.path()) {
        eprintln!("skipped: {test}: needs gcc and a static libc (packages gcc, libc6-dev)");
        return;
    }
    let host = tempfile::NamedTempFile::new().expect("a file of the host");
    let needle = format!("needle-{}-in-the-heap", std::process::id());
    let variable = variable();
    let watched = watch(rootfs.path(), host.path(), &variable, &needle);
    let space = std::fs::File::open(format!("/proc/{}/ns/pid", watched.main.pid)).expect("a namespace");
    for round in 0..ROUNDS / 2 {
        let full = round % 2 == 0;
        let other =
            run::exec(&visitor(full), watched.main.pidfd.as_fd(), silent(), &Join::default()).expect("exec");
        berth_sys::process::reap(other.pidfd.as_fd());
        let given = Given { pid: Some(space.as_fd()), ..Given::default() };
        let plan = sharing(rootfs.path(), full);
        let prepared = run::create(&plan, &given, silent(), &Join::default()).expect("create");
        let other = prepared.start().expect("start");
        berth_sys::process::reap(other.pidfd.as_fd());
    }
    let (seen, caught, early) = watched.finish();
    let mut kinds: Vec<&String> = seen.iter().collect();
    kinds.sort();
    kinds.dedup();
    kinds.truncate(20);
    assert!(seen.is_empty(), "{} sights in {caught} processes ({early} early): {kinds:#?}", seen.len());
    // A watcher that is always late shows nothing.
    assert!(early > 0, "none of {caught} processes was stopped before its program");
    drop((needle, variable));
}

/// A container that was created and not started has the user, the rights and the filter of its program, and nothing of its
/// maker's memory, in a PID namespace of its own or a shared one.
#[test]
fn a_created_container_has_given_up_its_makers_rights() {
    if !root("a_created_container_has_given_up_its_makers_rights") {
        return;
    }
    let rootfs = rootfs();
    let sleeper = plan(rootfs.path(), &["sleep", "1000"]);
    let main = run::create(&sleeper, &Given::default(), silent(), &Join::default()).expect("create");
    let space = std::fs::File::open(format!("/proc/{}/ns/pid", main.pid())).expect("a namespace");
    for (shared, full) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut plan = sharing(rootfs.path(), full);
        if !shared {
            plan.namespaces.pid = Space::New;
        }
        let given = Given { pid: Some(space.as_fd()), ..Given::default() };
        let prepared = run::create(&plan, &given, silent(), &Join::default()).expect("create");
        let read = |file: &str| std::fs::read(format!("/proc/{}/{file}", prepared.pid())).unwrap_or_default();
        let status = String::from_utf8(read("status")).expect("text");
        let lines = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.expect("a line").split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let few = format!("{:016x}", few());
        let none = "0000000000000000";
        let found = ["Uid:", "Gid:", "CapPrm:", "CapEff:", "CapBnd:", "Seccomp:", "NoNewPrivs:"].map(lines);
        let (filter, no_new) = if full { ("2", "0") } else { ("0", "1") };
        let ids = format!("{USER} {USER} {USER} {USER}");
        assert_eq!(found, [&ids, &ids, none, none, &few, filter, no_new], "shared {shared}, full {full}");
        assert!(read("environ").is_empty() && read("cmdline").is_empty());
        let maps = String::from_utf8(read("maps")).expect("text");
        assert!(maps.contains("r-xp") && !maps.contains("[heap]") && !maps.contains("[stack]"), "{maps}");
        let running = prepared.start().expect("start");
        let exit = berth_sys::process::reap(running.pidfd.as_fd()).map(|e| e.shell_code());
        assert_eq!(exit, Some(0), "shared {shared}, full {full}");
    }
}

/// A filter that forbids the very calls that a process makes before its program is loaded last, as it has to be.
#[test]
fn a_filter_that_forbids_waiting_is_loaded_last() {
    if !root("a_filter_that_forbids_waiting_is_loaded_last") {
        return;
    }
    let rootfs = rootfs();
    let main = plan(rootfs.path(), &["sleep", "1000"]);
    let main = run::create(&main, &Given::default(), silent(), &Join::default()).expect("create");
    let main = main.start().expect("start");
    let native = seccomp::Arch::native().expect("an architecture");
    let conditions = seccomp::Conditions::of_host(0).expect("a host");
    let json = br#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["clone", "sendmsg", "capset", "setsid"], "action": "SCMP_ACT_KILL_PROCESS" }] }"#;
    let profile = seccomp::parse(json, conditions).expect("a profile");
    for no_new_privileges in [true, false] {
        let mut process = visitor(true);
        process.seccomp = Some(seccomp::compile(&profile, native).expect("compiles").encode());
        process.no_new_privileges = no_new_privileges;
        let mut other = plan(rootfs.path(), &["true"]);
        other.process = process.clone();
        let prepared = run::create(&other, &Given::default(), silent(), &Join::default()).expect("create");
        let running = prepared.start().expect("start");
        let code =
            |running: &Running| berth_sys::process::reap(running.pidfd.as_fd()).map(|e| e.shell_code());
        assert_eq!(code(&running), Some(0), "created, no_new_privs {no_new_privileges}");
        let executed = run::exec(&process, main.pidfd.as_fd(), silent(), &Join::default()).expect("exec");
        assert_eq!(code(&executed), Some(0), "executed, no_new_privs {no_new_privileges}");
    }
    berth_sys::process::end(main.pidfd.as_fd(), std::time::Duration::from_secs(10));
}
