//! Containers' stdio by URL.

use std::process::Stdio;

use berth_testkit::guard::has_program;
use berth_testkit::{require, require_root, wait_until};

use crate::client::{Outcome, SPDY, WEBSOCKET, Way};
use crate::home::{Call, LIMIT};
use crate::world::World;

fn attach(world: &World, way: Way, container: &str, flags: &[&str]) -> Call {
    Call::spawn(world.client(way, &[&["-echo", "-container", container], flags, &["attach"]].concat()))
}

fn with_stdin(once: bool) -> impl Fn(&mut berth_cri::api::ContainerConfig) {
    move |config| (config.stdin, config.stdin_once) = (true, once)
}

/// contract 50
#[test]
fn input_of_the_first_client_reaches_the_container_and_ends_it() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    for (n, way) in [SPDY, WEBSOCKET].into_iter().enumerate() {
        let container =
            world.run(&format!("once{n}"), "cat; echo closed; sleep 1; seq 9 >&2", with_stdin(true));
        let said = Outcome::one(attach(&world, way, &container, &["-stdin", "typed\n"]));
        let expected = (0, "typed\nclosed\n", "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
        assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), expected, "{way:?}: {said:?}");
    }
    world.end();
}

/// contract 50
#[test]
fn a_client_that_only_watches_does_not_end_stdin_when_it_goes() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    for (n, way) in [SPDY, WEBSOCKET].into_iter().enumerate() {
        let line = "while ! [ -e /go ]; do echo ready; sleep 0.1; done; cat; echo closed";
        let container = world.run(&format!("watched{n}"), line, with_stdin(true));
        let mut command = world.client(way, &["-slow", "-container", &container, "attach"]);
        command.stdin(Stdio::piped());
        let watching = Call::spawn(command);
        watching.complains("not reading");
        watching.kill();
        // By what is written after its end it is known to have gone.
        let lines = || std::fs::read_to_string(world.log(&format!("watched{n}"))).unwrap().lines().count();
        let gone = lines();
        assert!(wait_until(LIMIT, || lines() > gone + 3), "{way:?}: the container is silent");
        world.cri.exec(&container, &["touch", "/go"]).unwrap();
        let said = Outcome::one(attach(&world, way, &container, &["-stdin", "typed\n"]));
        assert!(said.code == 0 && said.stdout.ends_with("typed\nclosed\n"), "{way:?}: {said:?}");
    }
    world.end();
}

/// As `kubectl run -i --leave-stdin-open` expects.
#[test]
fn a_stdin_that_stays_open_lets_its_clients_go_one_after_the_other() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    let container = world.run("open", "cat; echo closed", with_stdin(false));
    for way in [SPDY, WEBSOCKET, SPDY] {
        let said = Outcome::one(attach(&world, way, &container, &["-stdin", "line\n"]));
        assert_eq!((said.code, said.stdout.as_str()), (0, "line\n"), "{way:?}: {said:?}");
    }
    world.end();
}

/// contract 50
#[test]
fn a_client_that_reads_nothing_stops_neither_the_container_nor_its_log() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    for (n, way) in [SPDY, WEBSOCKET].into_iter().enumerate() {
        let name = format!("writer{n}");
        // 64 MiB, far over what all buffers on the way hold.
        let line = "while ! [ -e /go ]; do echo ready; sleep 0.1; done; \
            yes 0123456789abcde | head -n 4194304; echo end; sleep 1000";
        let container = world.run(&name, line, |_| ());
        let mut command = world.client(way, &["-slow", "-container", &container, "attach"]);
        command.stdin(Stdio::piped());
        let call = Call::spawn(command);
        call.complains("not reading");
        world.cri.exec(&container, &["touch", "/go"]).unwrap();
        let log = world.log(&name);
        let ended = || {
            let end = std::process::Command::new("tail").args(["-n", "1"]).arg(&log).output().unwrap();
            end.stdout.ends_with(b" F end\n")
        };
        assert!(wait_until(LIMIT, ended), "{way:?}: the container waits for a client");
        call.kill();
    }
    world.end();
}

/// contract 50
#[test]
fn a_terminal_is_joined_with_its_size() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    let container =
        world.run("terminal", "stty -echo; while read -r line; do eval \"$line\"; done", |config| {
            (config.tty, config.stdin) = (true, true);
        });
    for way in [SPDY, WEBSOCKET] {
        let flags = ["-tty", "-sizes", "66x22", "-stdin", "usleep 200000; stty size\n"];
        let said = Outcome::one(attach(&world, way, &container, &flags));
        assert_eq!((said.code, said.stdout.contains("22 66\r\n")), (0, true), "{way:?}: {said:?}");
        // crictl takes it for pipes, unless it is told: no stream of sizes comes then.
        let said = Outcome::one(attach(&world, way, &container, &["-stdin", "echo as pipes\n"]));
        assert_eq!((said.code, said.stdout.contains("as pipes\r\n")), (0, true), "{way:?}: {said:?}");
    }
    world.end();
}

#[test]
fn what_cannot_be_attached_to_is_refused() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    let refused = |arguments: &[&str]| {
        let said = Call::spawn(world.client(SPDY, arguments)).end();
        assert_eq!(said.code, 1, "{said:?}");
        said.err
    };
    let unknown = refused(&["-container", "0123456789ab", "attach"]);
    assert!(unknown.contains("NotFound") && unknown.contains("not found"), "{unknown}");
    let tty = refused(&["-tty", "-container", &world.container, "attach"]);
    assert!(tty.contains("InvalidArgument") && tty.contains("tty"), "{tty}");
    let nothing = refused(&["-no-output", "-container", &world.container, "attach"]);
    assert!(nothing.contains("one of them must be set"), "{nothing}");
    let ended = world.run("ended", "true", |_| ());
    let over =
        || world.cri.status(&ended).unwrap().state == berth_cri::api::ContainerState::ContainerExited as i32;
    assert!(wait_until(LIMIT, over));
    for verb in [&["attach"][..], &["exec", "true"]] {
        let refused = refused(&[&["-container", &ended], verb].concat());
        assert!(refused.contains("FailedPrecondition") && refused.contains("is not running"), "{refused}");
    }
    world.end();
}
