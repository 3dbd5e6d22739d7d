//! Commands with a terminal.

use berth_testkit::guard::has_program;
use berth_testkit::{require, require_root};

use crate::client::{SPDY, WEBSOCKET, Way};
use crate::world::World;

/// contract 50
#[test]
fn a_terminal_has_its_size_from_the_first_moment_and_is_resized() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    for way in [SPDY, WEBSOCKET, Way("spdy", "v3.channel.k8s.io")] {
        let said = world.shell(way, &["-tty", "-sizes", "77x33"], "stty size; tty; exit 2");
        assert_eq!(said.stdout, "33 77\r\n/dev/pts/0\r\n", "{way:?}");
        let line = "trap 'stty size; exit' WINCH; stty size; while :; do sleep 0.1; done";
        let said = world.shell(way, &["-tty", "-sizes", "77x33,100x40"], line);
        assert_eq!((said.code, said.stdout.as_str()), (0, "33 77\r\n40 100\r\n"), "{way:?}: {said:?}");
    }
    world.end();
}

/// contract 50
#[test]
fn a_terminal_echoes_and_tells_the_exit_code() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    for way in [SPDY, WEBSOCKET] {
        let said =
            world.shell(way, &["-tty", "-stdin", "word\nexit 12\n"], "stty -echo; echo ready; exec sh -s");
        assert_eq!(said.code, 12, "{way:?}: {said:?}");
        assert!(
            said.stdout.contains("ready\r\n") && said.stdout.contains("word: not found"),
            "{way:?}: {said:?}"
        );
        let said = world.shell(way, &["-tty"], "kill -INT $$");
        assert_eq!(said.code, 130, "{way:?}: {said:?}");
        let said =
            crate::client::Outcome::one(world.exec(way, &["-tty", "-echo", "exec", "no-such-command"]));
        assert_eq!(said.code, 127, "{way:?}: {said:?}");
        assert!(
            said.stdout.contains("not found in the container") && said.stdout.ends_with("\r\n"),
            "{way:?}: {said:?}"
        );
        // What is written at the very end, and by one that is left behind.
        let said = world.shell(way, &["-tty"], "sleep 1000 & seq 5000; exit 13");
        assert_eq!((said.code, said.stdout.ends_with("\r\n5000\r\n")), (13, true), "{way:?}: {}", said.error);
    }
    world.end();
}
