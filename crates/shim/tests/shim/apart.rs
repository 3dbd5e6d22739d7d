//! What hangs in one container stops nothing else: a frozen cgroup stands in for the mount, disk or neighbour that does not let
//! a new process continue.

use berth_types::ContainerId;
use berth_types::shim::{Answer, Event, Known, Phase, Reason, Request};

use crate::rig::freeze::{freeze, unfreeze_if_there};
use crate::rig::{Rig, Want, possible, sh, until};

fn phase(rig: &mut Rig, id: &ContainerId) -> Phase {
    let Answer::Welcome { containers, .. } = rig.client.hello() else { panic!() };
    let found = containers.into_iter().find(|Known { container, .. }| container == id);
    found.unwrap_or_else(|| panic!("{id} is not known")).phase
}

/// Waits until so many processes are in the container's group: a process that is born later than this may have copies of the
/// streams of others for as long as it hangs.
fn hang(rig: &Rig, id: &ContainerId, processes: usize) {
    let group = rig.group_of(id);
    until("they hang", || group.pids().is_ok_and(|pids| pids.len() == processes));
}

/// Another container of the pod is made, started, entered, signalled and logged, and ends.
fn another_goes_on(rig: &mut Rig) {
    let id = rig.run(sh("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done"));
    until("it is ready", || !rig.log(&id).is_empty());
    let (read, write) = std::io::pipe().unwrap();
    let (exec, _) = rig.exec(&id, &["/bin/sh", "-c", "echo in; exit 3"], 0, Some(write.into())).unwrap();
    assert_eq!(std::io::read_to_string(read).unwrap(), "in\n");
    assert_eq!(rig.client.event(), Event::ExecExited { exec, code: 3, timed_out: false });
    rig.signal(&id, 15);
    assert_eq!(rig.exit_of(&id).code, 7);
    assert_eq!(rig.log(&id), ["stdout F ready", "stdout F bye"]);
    rig.client.ask(Request::Forget { container: id }, vec![]).unwrap();
}

#[test]
fn an_exec_that_hangs_stops_nothing_else() {
    if !possible("an_exec_that_hangs_stops_nothing_else") {
        return;
    }
    let mut rig = Rig::new(false);
    let id = rig.run(sh("sleep 1000"));
    let group = rig.group_of(&id);
    freeze(&group, true);
    let (read, write) = std::io::pipe().unwrap();
    let (exec, asked) = rig.post_exec(&id, &["/bin/sh", "-c", "echo late; exit 4"], write.into());
    let (_, write) = std::io::pipe().unwrap();
    let (killed, asked_too) = rig.post_exec(&id, &["/bin/sleep", "1000"], write.into());
    hang(&rig, &id, 3);
    another_goes_on(&mut rig);
    // One that is not there yet can be killed as well.
    rig.client.ask(Request::KillExec { exec: killed.clone() }, vec![]).unwrap();
    freeze(&group, false);
    for asked in [asked, asked_too] {
        let (answer, _) = rig.client.answer_to(asked).unwrap();
        assert!(matches!(answer, Answer::ExecStarted { pid } if pid > 1), "{answer:?}");
    }
    assert_eq!(std::io::read_to_string(read).unwrap(), "late\n");
    let mut ends = [rig.client.event(), rig.client.event()];
    ends.sort_by_key(|end| matches!(end, Event::ExecExited { exec, .. } if *exec == killed));
    assert_eq!(ends[0], Event::ExecExited { exec, code: 4, timed_out: false });
    assert_eq!(ends[1], Event::ExecExited { exec: killed, code: 137, timed_out: false });
    rig.finish();
}

#[test]
fn execs_that_hang_are_bounded_and_leave_room_for_other_containers() {
    if !possible("execs_that_hang_are_bounded_and_leave_room_for_other_containers") {
        return;
    }
    let mut rig = Rig::new(false);
    let id = rig.run(sh("sleep 1000"));
    let group = rig.group_of(&id);
    freeze(&group, true);
    let (_read, write) = std::io::pipe().unwrap();
    let begun: Vec<u64> = (0..16)
        .map(|_| rig.post_exec(&id, &["/bin/sleep", "1000"], write.try_clone().unwrap().into()).1)
        .collect();
    let refused = rig.exec(&id, &["/bin/sleep", "1000"], 0, Some(write.into())).unwrap_err();
    assert_eq!(refused.reason, Reason::State, "{}", refused.message);
    hang(&rig, &id, 17);
    another_goes_on(&mut rig);
    freeze(&group, false);
    for asked in begun {
        rig.client.answer_to(asked).unwrap();
    }
    rig.finish();
}

#[test]
fn a_create_that_hangs_blocks_nothing_else_and_can_be_cancelled() {
    if !possible("a_create_that_hangs_blocks_nothing_else_and_can_be_cancelled") {
        return;
    }
    let mut rig = Rig::new(false);
    let (id, asked) = rig.post_create(Want { frozen: true, ..sh("true") });
    hang(&rig, &id, 1);
    another_goes_on(&mut rig);
    assert_eq!(phase(&mut rig, &id), Phase::Created);
    // As a daemon that cancels a creation.
    let kill = Request::Signal { container: id.clone(), signal: 9, all: true };
    rig.client.ask(kill, vec![]).unwrap();
    let forget = rig.client.post(Request::Forget { container: id.clone() }, vec![]);
    // A frozen process of cgroup v2 dies as it is, and its group may be gone by now.
    unfreeze_if_there(&rig.group_of(&id));
    let failure = rig.client.answer_to(asked).unwrap_err();
    assert_eq!(failure.reason, Reason::State, "{}", failure.message);
    rig.client.answer_to(forget).unwrap();
    assert_eq!(rig.exit_of(&id).code, 137);
    let Answer::Welcome { containers, .. } = rig.client.hello() else { panic!() };
    assert_eq!(containers, []);

    // One that is only slow is made in the end.
    let (id, asked) = rig.post_create(Want { frozen: true, ..sh("exit 6") });
    hang(&rig, &id, 1);
    another_goes_on(&mut rig);
    freeze(&rig.group_of(&id), false);
    let (answer, _) = rig.client.answer_to(asked).unwrap();
    assert!(matches!(answer, Answer::Created { pid } if pid > 1), "{answer:?}");
    rig.start(&id).unwrap();
    assert_eq!(rig.exit_of(&id).code, 6);
    rig.finish();
}

#[test]
fn a_start_that_hangs_blocks_nothing_else_and_is_reported_when_it_ends() {
    if !possible("a_start_that_hangs_blocks_nothing_else_and_is_reported_when_it_ends") {
        return;
    }
    let mut rig = Rig::new(false);
    let id = rig.create(sh("sleep 1000")).unwrap();
    let group = rig.group_of(&id);
    freeze(&group, true);
    // A daemon that asks and goes away: another gets the result.
    let mut gone = rig.connect();
    gone.hello();
    gone.post(Request::Start { container: id.clone() }, vec![]);
    let again = || Request::Start { container: id.clone() };
    until("it is being started", || {
        let refused = rig.client.ask(again(), vec![]);
        refused.is_err_and(|failure| failure.message.contains("being started"))
    });
    drop(gone);
    another_goes_on(&mut rig);
    assert_eq!(phase(&mut rig, &id), Phase::Created);
    freeze(&group, false);
    until("it runs", || phase(&mut rig, &id) != Phase::Created);
    let Phase::Running { started_at } = phase(&mut rig, &id) else { panic!() };
    let told: Vec<i64> =
        rig.client.started.iter().filter(|(container, _)| *container == id).map(|(_, at)| *at).collect();
    assert_eq!(told, [started_at]);
    rig.signal(&id, 9);
    assert_eq!(rig.exit_of(&id).code, 137);
    rig.finish();
}

#[test]
fn what_lives_is_not_called_exited() {
    let name = "what_lives_is_not_called_exited";
    if !possible(name) {
        return;
    }
    let mut rig = Rig::new(false);
    // In the group's own hierarchy of the first version a process of a frozen group below cannot be killed; it plays
    // the one that waits for a disk.
    let id = rig.run(Want { own_pid_namespace: false, ..sh("setsid sleep 1000 & echo $!; wait") });
    until("it is ready", || !rig.log(&id).is_empty());
    let pid: i32 = rig.log(&id)[0].replace("stdout F ", "").parse().unwrap();
    let Some(below) = rig.freeze_below(&id, pid) else {
        eprintln!("skipped: {name}: needs the freezer of cgroup v1");
        return rig.finish();
    };
    let mut old = rig.connect();
    old.ask(Request::Hello { version: 1 }, vec![]).unwrap();
    rig.signal(&id, 9);
    let Event::Lingers { container, text } = rig.client.event() else { panic!() };
    assert!(container == id && text.contains("1 process"), "{text}");
    assert!(matches!(old.event(), Event::Note { container, .. } if container == id));
    assert!(matches!(phase(&mut rig, &id), Phase::Running { .. }), "it lives");
    another_goes_on(&mut rig);
    assert!(matches!(phase(&mut rig, &id), Phase::Running { .. }), "it lives");
    std::fs::write(below.join("freezer.state"), "THAWED").unwrap();
    assert_eq!(rig.exit_of(&id).code, 137);
    assert!(matches!(phase(&mut rig, &id), Phase::Exited { started_at: 1.., .. }));
    rig.finish();
}
