//! How containers begin and end.

use berth_sys::cgroup::{Memory, Resources};
use berth_types::shim::{Answer, Event, Known, Phase, Reason, Request, record};

use crate::rig::{Rig, possible, sh, until};

#[test]
fn a_container_runs_and_its_end_is_reported_and_recorded() {
    if !possible("a_container_runs_and_its_end_is_reported_and_recorded") {
        return;
    }
    let mut rig = Rig::new(false);
    let id = rig.create(sh("echo out; echo err >&2; exit 3")).unwrap();
    assert!(rig.log_path(&id).exists(), "the log is there before the start");
    let dir = rig.file("containers").join(id.as_str());
    let started = std::fs::read(dir.join(record::PID)).unwrap();
    assert!(record::decode::<record::Started>(&started).unwrap().pid > 1);
    rig.start(&id).unwrap();
    let exit = rig.exit_of(&id);
    assert_eq!((exit.code, exit.signal, exit.oom_killed, exit.message.as_str()), (3, None, false, ""));
    let written = std::fs::read(dir.join(record::EXIT)).unwrap();
    let written = record::decode::<record::Exited>(&written).unwrap();
    assert_eq!(written.exit, exit);
    assert!(written.started_at > 0 && written.started_at <= exit.at);
    let mut log = rig.log(&id);
    log.sort();
    assert_eq!(log, ["stderr F err", "stdout F out"]);

    let Answer::Welcome { containers, sandbox, .. } = rig.client.hello() else { panic!() };
    assert!(sandbox.is_some());
    assert!(matches!(&containers[..], [Known { phase: Phase::Exited { .. }, .. }]), "{containers:?}");
    rig.client.ask(Request::Forget { container: id.clone() }, vec![]).unwrap();
    let again = rig.client.ask(Request::Forget { container: id }, vec![]).unwrap_err();
    assert_eq!(again.reason, Reason::NotFound);
    rig.finish();
}

#[test]
fn a_container_has_no_signal_blocked_or_ignored_and_no_descriptor_of_ours() {
    if !possible("a_container_has_no_signal_blocked_or_ignored_and_no_descriptor_of_ours") {
        return;
    }
    let mut rig = Rig::new(false);
    let id = rig.run(sh("busybox grep -E 'SigBlk|SigIgn' /proc/self/status; busybox ls /proc/self/fd; cat"));
    assert_eq!(rig.exit_of(&id).code, 0);
    let none = "0000000000000000";
    let expected = [&format!("SigBlk:\t{none}"), &format!("SigIgn:\t{none}"), "0", "1", "2", "3"];
    assert_eq!(rig.log(&id), expected.map(|line| format!("stdout F {line}")));
    rig.finish();
}

#[test]
fn what_the_system_does_not_allow_is_clamped_and_said() {
    if !possible("what_the_system_does_not_allow_is_clamped_and_said") {
        return;
    }
    let mut rig = Rig::new(false);
    let want = sh("cat /proc/self/oom_score_adj");
    let id = rig.run(crate::rig::Want { oom_score_adj: Some(-900), ..want });
    let mut noted = None;
    let exit = loop {
        match rig.client.event() {
            Event::Note { container, text } if container == id => noted = Some(text),
            Event::Exited { container, exit } if container == id => break exit,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(exit.code, 0);
    // Where it is allowed there is no note.
    let got = rig.log(&id)[0].replace("stdout F ", "");
    assert_eq!(noted.is_none(), got == "-900", "{noted:?} {got}");
    assert!(noted.is_none_or(|text| text.contains("-900") && text.contains(&got)));
    rig.finish();
}

#[test]
fn a_signal_ends_it() {
    if !possible("a_signal_ends_it") {
        return;
    }
    let mut rig = Rig::new(false);
    let id = rig.run(sh("trap 'exit 7' TERM; echo ready; while :; do sleep 1; done"));
    until("it is ready", || !rig.log(&id).is_empty());
    rig.signal(&id, 15);
    assert_eq!(rig.exit_of(&id).code, 7);
    rig.signal(&id, 15);

    let id = rig.run(sh("sleep 1000"));
    rig.signal(&id, 9);
    let exit = rig.exit_of(&id);
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    let bad = Request::Signal { container: id, signal: 99, all: false };
    assert_eq!(rig.client.ask(bad, vec![]).unwrap_err().reason, Reason::Protocol);
    rig.finish();
}

#[test]
fn a_prepared_container_can_be_ended() {
    if !possible("a_prepared_container_can_be_ended") {
        return;
    }
    let mut rig = Rig::new(false);
    let id = rig.create(sh("true")).unwrap();
    rig.signal(&id, 15);
    assert_eq!(rig.exit_of(&id).code, 137);
    assert_eq!(rig.start(&id).unwrap_err().reason, Reason::State);
    let id = rig.create(sh("true")).unwrap();
    assert_eq!(rig.start(&id), Ok(()));
    rig.exit_of(&id);

    // As a daemon does which undoes a creation: the second request does not wait for the first.
    let id = rig.create(sh("true")).unwrap();
    rig.signal(&id, 9);
    rig.client.ask(Request::Forget { container: id.clone() }, vec![]).unwrap();
    assert_eq!(rig.exit_of(&id).code, 137);
    let id = rig.create(sh("true")).unwrap();
    rig.client.ask(Request::Forget { container: id }, vec![]).unwrap();
    let running = rig.run(sh("sleep 1000"));
    let refused = rig.client.ask(Request::Forget { container: running }, vec![]).unwrap_err();
    assert_eq!(refused.reason, Reason::State);
    assert_eq!(rig.processes(), 1);
    rig.finish();
}

#[test]
fn a_command_that_cannot_run_ends_with_a_shells_status() {
    if !possible("a_command_that_cannot_run_ends_with_a_shells_status") {
        return;
    }
    let mut rig = Rig::new(false);
    for (command, code) in [("/bin/nothing", 127), ("nothing", 127), ("/bin/text", 126), ("/tmp", 126)] {
        let id = rig.create(crate::rig::Want { args: Some(&[command]), ..sh("") }).unwrap();
        let failure = rig.start(&id).unwrap_err();
        assert_eq!(failure.reason, Reason::Refused);
        assert!(failure.message.contains(command), "{}", failure.message);
        let exit = rig.exit_of(&id);
        assert_eq!((exit.code, &exit.message), (code, &failure.message), "{command}");
    }
    rig.finish();
}

#[test]
fn what_a_container_leaves_behind_in_the_hosts_pid_namespace_is_killed() {
    if !possible("what_a_container_leaves_behind_in_the_hosts_pid_namespace_is_killed") {
        return;
    }
    let mut rig = Rig::new(false);
    let want = sh("setsid sleep 1000 & setsid sh -c 'sleep 1000 & sleep 1000' & sleep 0.1; echo done");
    let id = rig.run(crate::rig::Want { own_pid_namespace: false, ..want });
    assert_eq!(rig.exit_of(&id).code, 0);
    assert_eq!(rig.processes(), 0);
    assert_eq!(rig.log(&id), ["stdout F done"]);
    rig.finish();
}

#[test]
fn want_of_memory_is_said() {
    if !possible("want_of_memory_is_said") {
        return;
    }
    let mut rig = Rig::new(false);
    let memory = Memory { limit: Some(16 << 20), ..Memory::default() };
    let want = sh("x=$(dd if=/dev/zero bs=1M count=200 | tail -c 200000000); echo lived");
    let id = rig.run(crate::rig::Want { resources: Resources { memory, ..Resources::default() }, ..want });
    let exit = rig.exit_of(&id);
    assert!(exit.oom_killed, "{exit:?}");
    rig.finish();
}

#[test]
fn a_container_that_cannot_be_made_leaves_nothing() {
    if !possible("a_container_that_cannot_be_made_leaves_nothing") {
        return;
    }
    let mut rig = Rig::new(false);
    let log = Some("/nonexistent/berth/0.log".into());
    let failure = rig.create(crate::rig::Want { log, ..sh("true") }).unwrap_err();
    assert!(failure.message.contains("/nonexistent/berth/0.log"), "{}", failure.message);
    assert_eq!(rig.processes(), 0);
    let Answer::Welcome { containers, .. } = rig.client.hello() else { panic!() };
    assert_eq!(containers, []);
    rig.finish();
}

#[test]
fn shutting_down_ends_everything_first() {
    if !possible("shutting_down_ends_everything_first") {
        return;
    }
    let mut rig = Rig::new(false);
    for _ in 0..3 {
        rig.run(sh("trap '' TERM; sleep 1000"));
    }
    rig.create(sh("true")).unwrap();
    rig.finish();
}
