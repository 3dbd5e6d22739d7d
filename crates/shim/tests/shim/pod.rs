//! The pod as a whole: daemons that come and go, a shared PID namespace, the shim's own end.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};

use berth_sys::spawn::{Executable, Spawn};
use berth_types::shim::bundle;
use berth_types::shim::{Answer, Event, PidSpace, Reason, Request};

use crate::rig::{Client, Rig, Want, possible, sh, until};

#[test]
fn two_daemons_hear_the_same_and_a_rude_one_is_dropped() {
    if !possible("two_daemons_hear_the_same_and_a_rude_one_is_dropped") {
        return;
    }
    let mut rig = Rig::new(false);
    let mut second = rig.connect();
    second.hello();
    let mut silent = rig.connect();
    let mut rude = rig.connect();
    rude.raw().write_all(&[0xff; 64]).unwrap();
    assert!(rude.is_closed());
    let id = rig.run(sh("exit 1"));
    assert_eq!(rig.exit_of(&id).code, 1);
    assert_eq!(second.exit_of(&id).code, 1);
    let answer = silent.hello();
    assert!(matches!(answer, Answer::Welcome { containers, .. } if containers.len() == 1));
    rig.finish();
}

#[test]
fn a_daemon_of_the_first_version_is_answered_in_its_words() {
    if !possible("a_daemon_of_the_first_version_is_answered_in_its_words") {
        return;
    }
    let mut rig = Rig::new(false);
    let mut old = rig.connect();
    let (answer, _) = old.ask(Request::Hello { version: 1 }, vec![]).unwrap();
    let Answer::Hello { version, sandbox: Some(_), containers } = answer else { panic!("{answer:?}") };
    assert_eq!((version, containers.len()), (berth_types::shim::VERSION, 0));
    let answer = rig.client.hello();
    let Answer::Welcome { plans, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(plans, [&berth_container::plan::VERSIONS[..], &[bundle::VERSION, bundle::MEMBER]].concat());
    let newer = rig.connect().ask(Request::Hello { version: u16::MAX }, vec![]).unwrap().0;
    assert!(matches!(newer, Answer::Welcome { .. }), "a newer daemon is no stranger: {newer:?}");
    rig.finish();
}

#[test]
fn what_the_shim_does_not_understand_fails_alone() {
    if !possible("what_the_shim_does_not_understand_fails_alone") {
        return;
    }
    let mut rig = Rig::new(false);
    let mut second = rig.connect();
    // A request of a version to come, with a descriptor; and one that is known but has more to it.
    let null = std::fs::File::open("/dev/null").unwrap();
    let unknown = berth_types::shim::encode(&(1u64, 99u32, "what")).unwrap();
    let mut longer = berth_types::shim::encode(&(2u64, 11u32)).unwrap();
    longer.push(7);
    for (number, body, fds) in [(1, unknown, vec![null.into()]), (2, longer, vec![])] {
        let failure = second.ask_raw(number, body, fds).unwrap_err();
        assert_eq!(failure.reason, Reason::Protocol, "{}", failure.message);
    }
    second.hello();
    // So does a plan of another version.
    let id = rig.run(sh("sleep 1000"));
    let mut plan = crate::rig::process(&["/bin/sh"]).encode().unwrap();
    plan[0] = 0xff;
    let exec = berth_types::ExecId::from_random([9; 32]);
    let exec = berth_types::shim::Exec { exec, container: id.clone(), plan, tty: true, timeout_ms: 0 };
    let failure = rig.client.ask(Request::Exec(exec), vec![]).unwrap_err();
    assert!(failure.message.contains("version 255"), "{}", failure.message);
    let failure = rig.create(Want { plan_version: Some(0xff), ..sh("true") }).unwrap_err();
    assert_eq!(failure.reason, Reason::Protocol, "{}", failure.message);
    assert!(failure.message.contains("version 255"), "{}", failure.message);
    rig.signal(&id, 9);
    assert_eq!(rig.exit_of(&id).code, 137);
    rig.finish();
}

#[test]
fn a_daemon_that_does_not_read_blocks_no_other() {
    if !possible("a_daemon_that_does_not_read_blocks_no_other") {
        return;
    }
    let mut rig = Rig::new(false);
    let deaf = rig.connect();
    let id = rig.run(sh("sleep 1000"));
    deaf.raw().set_write_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    // Requests whose answers are not read: at last the shim closes that connection.
    let frame = {
        let body = berth_types::shim::encode(&berth_types::shim::ToShim {
            number: 1,
            request: Request::Hello { version: 1 },
        })
        .unwrap();
        [&berth_types::shim::header(body.len(), 0).unwrap()[..], &body].concat()
    };
    let many = frame.repeat(1000);
    until("it is dropped", || deaf.raw().write_all(&many).is_err());
    rig.signal(&id, 9);
    assert_eq!(rig.exit_of(&id).code, 137);
    rig.finish();
}

#[test]
fn containers_share_a_pid_namespace_and_its_end_ends_the_pod() {
    if !possible("containers_share_a_pid_namespace_and_its_end_ends_the_pod") {
        return;
    }
    let mut rig = Rig::new(true);
    let pod = || PidSpace::Pod;
    let one = rig.run(Want { pid_space: pod(), ..sh("sleep 1111 & sleep 2222") });
    let look = "ps; cat /proc/1/status; for at in root cwd; do \
        busybox ls -A /proc/1/$at/ && echo $at se''en; done; busybox ls -l /proc/1/fd";
    let two = rig.run(Want { pid_space: pod(), ..sh(look) });
    rig.exit_of(&two);
    let log = rig.log(&two).join("\n");
    assert!(log.contains("sleep 2222") && log.contains("berth-init"), "{log}");
    assert!(log.contains("CapPrm:\t0000000000000000"), "{log}");
    assert!(!log.contains("seen"), "{log}");
    // Who may trace it finds an empty root and no descriptor of the host's.
    let two = rig.run(Want { pid_space: pod(), capabilities: 1 << 19, ..sh(look) });
    rig.exit_of(&two);
    let log = rig.log(&two);
    let from = log.iter().position(|e| e.contains("root seen")).unwrap();
    assert!(!log[from - 1].starts_with("stdout F bin"), "{log:?}");
    assert_eq!(log[from + 1], "stdout F cwd seen", "{log:?}");
    let fds: Vec<&String> = log[from + 2..].iter().filter(|e| e.contains("->")).collect();
    // Not the host's null device either, whose mode could be changed there.
    let harmless = |e: &&String| e.contains("socket:") || e.contains("anon_inode:");
    assert!(fds.len() >= 4 && fds.iter().all(harmless), "{fds:?}");
    // What is orphaned by the end of one container does not outlive it, nor does it end the other.
    rig.signal(&one, 9);
    assert_eq!(rig.exit_of(&one).code, 137);
    assert_eq!(rig.processes(), 0);

    let target = rig.run(sh("sleep 3333"));
    let space = PidSpace::Container(target.clone());
    let debug = rig.run(Want { pid_space: space, ..sh("ps") });
    assert_eq!(rig.exit_of(&debug).code, 0);
    assert!(rig.log(&debug).join("\n").contains("    1 0        sleep 3333"), "{:?}", rig.log(&debug));

    let three = rig.run(Want { pid_space: pod(), ..sh("trap '' TERM; sleep 1000") });
    let init = children(rig.shim.pid).into_iter().find(|(_, name)| name == "berth-init").unwrap().0;
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(init).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    assert_eq!(rig.exit_of(&three).code, 137);
    rig.exit_of(&target);
    until("the pod's end is told", || rig.client.event() == Event::PodEnded);
    let late = rig.create(Want { pid_space: pod(), ..sh("true") }).unwrap_err();
    assert_eq!(late.reason, Reason::State);
    rig.finish();
}

/// Children of a process: id and first argument.
fn children(of: i32) -> Vec<(i32, String)> {
    let list = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap();
    let name = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    list.split_whitespace()
        .map(|pid| (pid.parse().unwrap(), name(pid).split('\0').next().unwrap_or_default().to_owned()))
        .collect()
}

#[test]
fn a_killed_shim_leaves_processes_only_where_its_daemon_finds_them() {
    if !possible("a_killed_shim_leaves_processes_only_where_its_daemon_finds_them") {
        return;
    }
    let mut rig = Rig::new(false);
    rig.run(sh("sleep 1000"));
    let prepared = rig.create(sh("echo never")).unwrap();
    rustix::process::pidfd_send_signal(&rig.shim.pidfd, rustix::process::Signal::KILL).unwrap();
    rig.wait_for_shim();
    assert!(rig.client.is_closed());
    // The prepared one ends by itself and does not go on; the running one is in the pod's cgroup.
    until("the prepared process is gone", || rig.processes() == 1);
    rig.group.kill_all(std::time::Instant::now() + std::time::Duration::from_secs(10)).unwrap();
    assert_eq!(rig.log(&prepared), Vec::<String>::new());
}

#[test]
fn the_shim_keeps_no_descriptor_of_what_has_ended() {
    if !possible("the_shim_keeps_no_descriptor_of_what_has_ended") {
        return;
    }
    let mut rig = Rig::new(false);
    let count = |rig: &Rig| std::fs::read_dir(format!("/proc/{}/fd", rig.shim.pid)).unwrap().count();
    let threads = |rig: &Rig| std::fs::read_dir(format!("/proc/{}/task", rig.shim.pid)).unwrap().count();
    let before = count(&rig);
    for tty in [false, true, false, true] {
        let id = rig.run(Want { tty, stdin: true, ..sh("sleep 1000") });
        let (_read, write) = std::io::pipe().unwrap();
        rig.exec(&id, &["/bin/sleep", "1000"], 0, Some(write.into())).unwrap();
        rig.exec(&id, &["/bin/sleep", "1000"], 0, None).unwrap();
        rig.signal(&id, 9);
        rig.exit_of(&id);
        rig.client.ask(Request::Forget { container: id }, vec![]).unwrap();
    }
    until("threads and descriptors are gone", || (count(&rig), threads(&rig)) == (before, 1));
    rig.finish();
}

#[test]
fn a_shim_without_a_pod_ends_with_its_daemon() {
    if !possible("a_shim_without_a_pod_ends_with_its_daemon") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("shim.sock")).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let program = std::fs::File::open(env!("CARGO_BIN_EXE_berth-shim")).unwrap();
    let base = berth_sys::mount::base_namespace().unwrap();
    let shim = Spawn {
        program: Executable::File(program.as_fd()),
        argv: &[c"berth-shim"],
        fds: &[listener.as_fd(), theirs.as_fd(), base.as_fd()],
        env: &[],
        stdio: [None; 3],
        cgroup: None,
        tasks: &[],
        new_pid_namespace: false,
    };
    let shim = shim.spawn().unwrap();
    drop(theirs);
    let mut client = Client::new(ours);
    let answer = client.hello();
    assert!(matches!(answer, Answer::Welcome { sandbox: None, .. }));
    drop(client);
    let id = rustix::process::WaitId::PidFd(shim.pidfd.as_fd());
    let status = rustix::process::waitid(id, rustix::process::WaitIdOptions::EXITED).unwrap().unwrap();
    assert_eq!(status.exit_status(), Some(0));
}
