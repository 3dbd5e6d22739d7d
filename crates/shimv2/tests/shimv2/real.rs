//! containerd's shim for runc with Debian's runc: Debian's shim (Task version 2), and that of a newer containerd (version 3) where it was built.

use std::path::{Path, PathBuf};

use berth_shimv2::launch::Bundle;
use berth_shimv2::log::Log;
use berth_shimv2::message::event::Event;
use berth_shimv2::message::stats::usage;
use berth_shimv2::message::task::{self, Status};
use berth_shimv2::message::{Any, Version, sandbox, type_url};
use berth_shimv2::shim::Shim;
use berth_shimv2::stdio::Streams;
use berth_testkit::guard::{WAIT_LIMIT, wait_until};
use berth_types::error::{Classify, Kind};
use rustix::process::Signal;

use crate::world::{LIMIT, World, call, read_all, read_until, write};

use crate::whole::{
    a_container_is_made_and_removed, a_container_without_its_shim_is_removed,
    a_creation_that_fails_leaves_nothing,
};

const PIPES: Streams = Streams { stdin: false, terminal: false };
const INPUT: Streams = Streams { stdin: true, terminal: false };
const TERMINAL: Streams = Streams { stdin: true, terminal: true };

/// The shims there are.
fn debian() -> PathBuf {
    "/usr/bin/containerd-shim-runc-v2".into()
}

/// That of `tests/shims/go.mod`, which `cargo xtask test` builds.
fn newer() -> PathBuf {
    let dir = std::env::var_os("BERTH_SHIMS").unwrap_or_default();
    Path::new(&dir).join("containerd-shim-runc-v2")
}

macro_rules! with_both {
    ($($test:ident)+) => {
        mod debian {
            $(#[test]
            fn $test() {
                berth_testkit::require_root!();
                berth_testkit::require!(super::debian().exists(), "needs the package containerd");
                berth_testkit::require!(berth_testkit::guard::has_program("runc"), "needs the package runc");
                crate::world::within(&super::debian(), super::$test);
            })+
        }
        mod newer {
            $(#[test]
            fn $test() {
                berth_testkit::require_root!();
                berth_testkit::require!(super::newer().exists(), "needs containerd's shim in BERTH_SHIMS");
                berth_testkit::require!(berth_testkit::guard::has_program("runc"), "needs the package runc");
                crate::world::within(&super::newer(), super::$test);
            })+
        }
    };
}

with_both! {
    a_container_goes_through_its_whole_life
    a_container_that_never_ran_is_deleted
    output_and_errors_are_apart_and_complete
    input_reaches_the_process_and_ends
    a_terminal_has_a_size_and_one_stream
    exit_codes_and_signals_are_told
    sessions_run_with_and_without_a_terminal
    a_session_is_killed_alone
    numbers_and_processes_are_told
    a_container_is_frozen_and_goes_on
    limits_are_changed
    every_event_is_heard_once
    memory_that_runs_out_is_told
    what_is_refused_has_a_kind
    a_service_that_a_shim_has_not_is_unsupported
    a_second_connection_serves_as_the_first
    containers_of_a_pod_share_a_shim
    a_killed_shim_fails_every_call_and_leaves_nothing
    twenty_at_once
    a_container_is_made_and_removed
    a_creation_that_fails_leaves_nothing
    a_container_without_its_shim_is_removed
}

fn a_container_goes_through_its_whole_life(world: &World) {
    let container = world.create("c1", "echo here; exit 3", PIPES);
    let version = if world.program.path == debian() { Version::V2 } else { Version::V3 };
    assert_eq!(container.shim.version(), version);
    let said = world.program.version().unwrap();
    assert!(said.contains(if version == Version::V2 { "1.6" } else { "2.4" }), "{said}");
    assert_eq!(container.state(), Status::Created);
    assert!(container.pid > 0);
    let connect = call(&container.shim, &task::Connect { id: "c1".into() });
    assert_eq!(connect.task_pid, container.pid);
    assert_eq!(container.start(), container.pid);
    assert_eq!(container.wait(), 3);
    assert_eq!(read_all(&container.io.stdout), "here\n");
    let state = call(&container.shim, &task::State { id: "c1".into(), exec_id: String::new() });
    assert_eq!((state.status(), state.exit_status), (Status::Stopped, 3));
    assert!(state.exited_at.unwrap().nanoseconds() > 0);
    let deleted = container.delete();
    assert_eq!((deleted.pid, deleted.exit_status), (container.pid, 3));
    container.shut_down();
    assert!(wait_until(WAIT_LIMIT, || world.left().is_empty()), "{:?}", world.left());
}

fn a_container_that_never_ran_is_deleted(world: &World) {
    let container = world.create("c1", "echo never", PIPES);
    container.kill(Signal::KILL);
    container.wait();
    container.delete();
    assert_eq!(read_all(&container.io.stdout), "");
    container.shut_down();
}

fn output_and_errors_are_apart_and_complete(world: &World) {
    let command = "echo to errors >&2; yes 0123456789abcdef | head -c 1000000; echo end >&2";
    let container = world.create("c1", command, PIPES);
    container.start();
    // Before it ends: a FIFO holds little of this.
    let out = read_all(&container.io.stdout);
    assert_eq!(out.len(), 1_000_000);
    assert_eq!(read_all(container.io.stderr.as_ref().unwrap()), "to errors\nend\n");
    assert_eq!(container.wait(), 0);
    container.delete();
    container.shut_down();
}

fn input_reaches_the_process_and_ends(world: &World) {
    let mut container = world.create("c1", "cat; echo done", INPUT);
    container.start();
    write(container.io.stdin.as_ref(), b"first\n");
    assert_eq!(read_until(&container.io.stdout, "\n"), "first\n");
    write(container.io.stdin.as_ref(), b"second\n");
    drop(container.io.stdin.take());
    call(&container.shim, &task::CloseIo { id: "c1".into(), exec_id: String::new(), stdin: true });
    assert_eq!(read_all(&container.io.stdout), "second\ndone\n");
    assert_eq!(container.wait(), 0);
    container.delete();
    container.shut_down();
}

fn a_terminal_has_a_size_and_one_stream(world: &World) {
    let command = "read -r line; stty size; echo \"error $line\" >&2; exit 4";
    let container = world.create("c1", command, TERMINAL);
    assert!(container.io.stderr.is_none());
    container.start();
    let resize = task::Resize { id: "c1".into(), exec_id: String::new(), width: 101, height: 33 };
    call(&container.shim, &resize);
    write(container.io.stdin.as_ref(), b"typed\n");
    let out = read_all(&container.io.stdout);
    // The terminal's own echo first.
    assert_eq!(out, "typed\r\n33 101\r\nerror typed\r\n");
    assert_eq!(container.wait(), 4);
    container.delete();
    container.shut_down();
}

fn exit_codes_and_signals_are_told(world: &World) {
    for (number, (command, signal, status)) in [
        ("exit 0", None, 0),
        ("exit 255", None, 255),
        ("sleep 1000", Some(Signal::KILL), 137),
        ("trap 'exit 7' TERM; echo on; while :; do sleep 0.1; done", Some(Signal::TERM), 7),
    ]
    .into_iter()
    .enumerate()
    {
        let container = world.create(&format!("c{number}"), command, PIPES);
        container.start();
        if signal == Some(Signal::TERM) {
            read_until(&container.io.stdout, "on\n");
        }
        signal.into_iter().for_each(|signal| container.kill(signal));
        assert_eq!(container.wait(), status, "{command}");
        assert_eq!(container.delete().exit_status, status);
        container.shut_down();
    }
}

fn sessions_run_with_and_without_a_terminal(world: &World) {
    let container = world.create("c1", "sleep 1000", PIPES);
    container.start();
    let io = container.exec(world, "e1", "echo out; echo err >&2; exit 9", PIPES);
    assert_eq!(read_all(&io.stdout), "out\n");
    assert_eq!(read_all(io.stderr.as_ref().unwrap()), "err\n");
    assert_eq!(container.end_exec("e1"), 9);
    let mut io = container.exec(world, "e2", "wc -c", INPUT);
    write(io.stdin.as_ref(), &[b'x'; 5000]);
    drop(io.stdin.take());
    call(&container.shim, &task::CloseIo { id: "c1".into(), exec_id: "e2".into(), stdin: true });
    assert_eq!(read_all(&io.stdout), "5000\n");
    assert_eq!(container.end_exec("e2"), 0);
    let io = container.exec(world, "e3", "read -r line; stty size; exit 5", TERMINAL);
    let resize = task::Resize { id: "c1".into(), exec_id: "e3".into(), width: 90, height: 20 };
    call(&container.shim, &resize);
    write(io.stdin.as_ref(), b"go\n");
    assert_eq!(read_all(&io.stdout), "go\r\n20 90\r\n");
    assert_eq!(container.end_exec("e3"), 5);
    container.kill(Signal::KILL);
    container.wait();
    container.delete();
    container.shut_down();
}

fn a_session_is_killed_alone(world: &World) {
    let container = world.create("c1", "sleep 1000", PIPES);
    container.start();
    let io = container.exec(world, "e1", "echo on; sleep 1000", PIPES);
    read_until(&io.stdout, "on\n");
    let signal = Signal::KILL.as_raw().cast_unsigned();
    call(&container.shim, &task::Kill { id: "c1".into(), exec_id: "e1".into(), signal, all: false });
    assert_eq!(container.end_exec("e1"), 137);
    assert_eq!(container.state(), Status::Running);
    let signal = Signal::KILL.as_raw().cast_unsigned();
    call(&container.shim, &task::Kill { id: "c1".into(), exec_id: String::new(), signal, all: true });
    assert_eq!(container.wait(), 137);
    container.delete();
    container.shut_down();
}

fn numbers_and_processes_are_told(world: &World) {
    let container = world.create("c1", "sleep 1000 & sleep 1000 & echo on; wait", PIPES);
    container.start();
    read_until(&container.io.stdout, "on\n");
    let answer = call(&container.shim, &task::Stats { id: "c1".into() });
    let usage = usage(&answer.stats.unwrap()).unwrap().unwrap();
    assert_eq!(usage.pids, Some(3));
    assert!(usage.cpu_nanos.unwrap() > 0 && usage.memory.unwrap() > 0);
    assert!(usage.working_set.unwrap() <= usage.memory.unwrap());
    let pids = call(&container.shim, &task::Pids { id: "c1".into() }).processes;
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().any(|process| process.pid == container.pid));
    container.kill(Signal::KILL);
    container.wait();
    container.delete();
    container.shut_down();
}

fn a_container_is_frozen_and_goes_on(world: &World) {
    let container = world.create("c1", "cat", INPUT);
    container.start();
    call(&container.shim, &task::Pause { id: "c1".into() });
    assert_eq!(container.state(), Status::Paused);
    write(container.io.stdin.as_ref(), b"thawed\n");
    call(&container.shim, &task::Resume { id: "c1".into() });
    assert_eq!(container.state(), Status::Running);
    assert_eq!(read_until(&container.io.stdout, "\n"), "thawed\n");
    container.kill(Signal::KILL);
    container.wait();
    container.delete();
    container.shut_down();
}

fn limits_are_changed(world: &World) {
    let container = world.create("c1", "sleep 1000", PIPES);
    container.start();
    let group = world.cgroup("c1");
    let limit = || {
        let v1 = format!("/sys/fs/cgroup/pids{group}/pids.max");
        let v2 = format!("/sys/fs/cgroup{group}/pids.max");
        std::fs::read_to_string(v1).or_else(|_| std::fs::read_to_string(v2)).unwrap()
    };
    assert_eq!(limit(), "100\n");
    let resources = Any::json(type_url::RESOURCES, br#"{"pids":{"limit":55}}"#.to_vec());
    let request = task::Update { id: "c1".into(), resources: Some(resources), ..task::Update::default() };
    call(&container.shim, &request);
    assert_eq!(limit(), "55\n");
    container.kill(Signal::KILL);
    container.wait();
    container.delete();
    container.shut_down();
}

fn every_event_is_heard_once(world: &World) {
    let container = world.create("c1", "exit 6", PIPES);
    container.start();
    container.wait();
    container.delete();
    // containerd 2.4's shim may tell of the exit only after the deletion: exits are heard from Wait for a reason.
    let mut missing = vec!["/tasks/delete", "/tasks/exit"];
    let events = world.events_until(|_, envelope| {
        missing.retain(|topic| *topic != envelope.topic);
        missing.is_empty()
    });
    let topics: Vec<&str> = events.iter().map(|event| event.topic.as_str()).collect();
    assert_eq!(topics[..2], ["/tasks/create", "/tasks/start"]);
    assert_eq!(topics.len(), 4, "{topics:?}");
    assert!(events.iter().all(|event| event.namespace == "berth-test"));
    let exits = events.iter().filter_map(|event| match event.decode_event().unwrap() {
        Event::Exit(exit) => Some((exit.container_id, exit.id, exit.pid, exit.exit_status)),
        Event::OutOfMemory(_) | Event::Other(_) => None,
    });
    assert_eq!(exits.collect::<Vec<_>>(), [("c1".into(), "c1".into(), container.pid, 6)]);
    container.shut_down();
}

fn memory_that_runs_out_is_told(world: &World) {
    let limited = |config: &mut serde_json::Value| {
        config["linux"]["resources"]["memory"] = serde_json::json!({"limit": 20 << 20});
    };
    // The shell itself grows without end.
    let container = world.create_edited("c1", "a=0123456789abcdef; while :; do a=$a$a; done", PIPES, limited);
    container.start();
    assert_eq!(container.wait(), 137);
    world.events_until(|event, _| *event == Event::OutOfMemory("c1".into()));
    container.delete();
    container.shut_down();
}

fn what_is_refused_has_a_kind(world: &World) {
    let container = world.create("c1", "sleep 1000", PIPES);
    let none = task::State { id: "other".into(), exec_id: String::new() };
    let error = container.shim.call(&none, Some(LIMIT)).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    container.start();
    let again = task::Start { id: "c1".into(), exec_id: String::new() };
    let error = container.shim.call(&again, Some(LIMIT)).unwrap_err();
    assert!(error.to_string().starts_with("Start of the shim: "), "{error}");
    let early = task::Delete { id: "c1".into(), exec_id: String::new() };
    container.shim.call(&early, Some(LIMIT)).unwrap_err();
    container.kill(Signal::KILL);
    container.wait();
    container.delete();
    container.shut_down();
}

fn a_service_that_a_shim_has_not_is_unsupported(world: &World) {
    let container = world.create("c1", "true", PIPES);
    let error = container.shim.call(&sandbox::Ping { sandbox_id: "c1".into() }, Some(LIMIT)).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported, "{error}");
    assert!(error.hint().is_some());
    container.start();
    container.wait();
    container.delete();
    container.shut_down();
}

fn a_second_connection_serves_as_the_first(world: &World) {
    let mut container = world.create("c1", "cat; exit 8", INPUT);
    container.start();
    // What a daemon that is started again does: where the shim is, is all that it needs.
    container.shim.end();
    let second = Shim::connect(&container.started, LIMIT).unwrap();
    let third = Shim::connect(&container.started, LIMIT).unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    let wait = task::Wait { id: "c1".into(), exec_id: String::new() };
    let _call = third.begin(&wait, None, move |outcome| send.send(outcome).unwrap());
    let state = call(&second, &task::State { id: "c1".into(), exec_id: String::new() });
    assert_eq!((state.status(), state.pid), (Status::Running, container.pid));
    drop(container.io.stdin.take());
    call(&second, &task::CloseIo { id: "c1".into(), exec_id: String::new(), stdin: true });
    assert_eq!(receive.recv_timeout(LIMIT).unwrap().unwrap().exit_status, 8);
    call(&second, &task::Delete { id: "c1".into(), exec_id: String::new() });
    drop(second.call(&task::Shutdown { id: "c1".into(), now: false }, Some(LIMIT)));
    assert!(wait_until(WAIT_LIMIT, || third.lost().is_some()));
}

fn containers_of_a_pod_share_a_shim(world: &World) {
    let pod = |config: &mut serde_json::Value| {
        config["annotations"] = serde_json::json!({"io.kubernetes.cri.sandbox-id": "pod"});
    };
    let first = world.create_edited("c1", "sleep 1000", PIPES, pod);
    let bundle = world.bundle("c2", "exit 2", pod);
    let log = Log::open(&bundle, |_| {}).unwrap();
    let bundle = Bundle { dir: &bundle, id: "c2" };
    let launched = world.program.start(bundle, Some(&world.options()), &log, &[]).unwrap();
    assert_eq!(launched.started, first.started);
    let second = world.create_in("c2", launched, log, PIPES);
    first.start();
    second.start();
    assert_eq!(second.wait(), 2);
    second.delete();
    assert_eq!(first.state(), Status::Running);
    first.kill(Signal::KILL);
    assert_eq!(first.wait(), 137);
    first.delete();
    first.shut_down();
}

fn a_killed_shim_fails_every_call_and_leaves_nothing(world: &World) {
    let container = world.create("c1", "sleep 1000", PIPES);
    container.start();
    let (send, receive) = std::sync::mpsc::channel();
    let wait = task::Wait { id: "c1".into(), exec_id: String::new() };
    let _call = container.shim.begin(&wait, None, move |outcome| send.send(outcome).unwrap());
    assert_eq!(world.kill_shims(), 1);
    let error = receive.recv_timeout(LIMIT).unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert_eq!(error.to_string(), "Wait of the shim: it closed the connection");
    let dir = world.path("c1");
    let deleted = world.program.delete(Bundle { dir: &dir, id: "c1" }, Some(&container.started)).unwrap();
    assert_eq!((deleted.pid, deleted.exit_status), (container.pid, 137));
    assert!(wait_until(WAIT_LIMIT, || world.left().is_empty()), "{:?}", world.left());
    let error = Shim::connect(&container.started, LIMIT).unwrap_err();
    assert!(error.to_string().starts_with("connect to the shim at unix:///"), "{error}");
}

fn twenty_at_once(world: &World) {
    // Bundles beforehand: each thread is inside of the world's mounts, being started from there.
    std::thread::scope(|scope| {
        for number in 0..20u32 {
            scope.spawn(move || {
                let container =
                    world.create(&format!("c{number}"), &format!("echo {number}; exit {number}"), PIPES);
                container.start();
                assert_eq!(container.wait(), number);
                assert_eq!(read_all(&container.io.stdout), format!("{number}\n"));
                container.delete();
                container.shut_down();
            });
        }
    });
    assert!(wait_until(WAIT_LIMIT, || world.left().is_empty()), "{:?}", world.left());
}
