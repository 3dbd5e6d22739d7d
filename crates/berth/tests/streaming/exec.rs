//! Commands by URL.

use std::path::Path;
use std::process::Command;

use berth_testkit::guard::has_program;
use berth_testkit::{require, require_root, wait_until};

use crate::client::{Outcome, SPDY, WEBSOCKET, WITH_CODES, WITH_TEXT};
use crate::home::{Call, LIMIT};
use crate::world::World;

const MIB_100: usize = 100 << 20;

/// contract 50
#[test]
fn output_and_exit_codes_are_told_in_every_protocol() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    for way in WITH_CODES {
        let said = world.shell(way, &[], "echo out; echo err >&2; exit 42");
        assert_eq!(
            (said.code, said.stdout.as_str(), said.stderr.as_str()),
            (42, "out\n", "err\n"),
            "{way:?}"
        );
        let said = world.shell(way, &[], "true");
        assert_eq!((said.code, said.bytes, said.error.as_str()), (0, 0, ""), "{way:?}");
        // As a shell tells them: 128 and the signal.
        assert_eq!(world.shell(way, &[], "kill -9 $$").code, 137, "{way:?}");
        assert_eq!(world.shell(way, &[], "kill -TERM $$").code, 143, "{way:?}");
        let said = Outcome::one(world.exec(way, &["-echo", "exec", "no-such-command"]));
        assert_eq!(said.code, 127, "{way:?}: {said:?}");
        assert!(said.stderr.contains("\"no-such-command\": not found in the container"), "{way:?}: {said:?}");
        assert_eq!(Outcome::one(world.exec(way, &["exec", "/etc"])).code, 126, "{way:?}");
        // A client of WebSocket can end its input from v5 on.
        assert_eq!(world.shell(way, &["-stdin", "typed"], "head -c 5; exit 3").stdout, "typed", "{way:?}");
    }
    for way in WITH_TEXT {
        let said = world.shell(way, &[], "echo out; echo err >&2");
        assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (0, "out\n", "err\n"), "{way:?}");
        let said = world.shell(way, &[], "echo last; exit 42");
        assert_eq!(said.stdout, "last\n", "{way:?}");
        // The client of v1 does not wait for the reason when the output has ended.
        if !way.1.starts_with("channel") {
            assert_eq!(said.code, -1, "{way:?}");
            assert!(said.error.ends_with("exit status 42"), "{way:?}: {said:?}");
        }
    }
    world.end();
}

/// contract 50
#[test]
fn all_output_comes_before_the_exit_code_and_all_input_arrives() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    let (size, zeros) = (MIB_100.to_string(), format!("zeros:{MIB_100}"));
    let sum = "20492a4d0d84f8beb1767f6616229f85d44c2827b64bdbfb260ee12fa1109e0e";
    for way in [SPDY, WEBSOCKET] {
        let said = Outcome::one(world.exec(way, &["exec", "head", "-c", &size, "/dev/zero"]));
        assert_eq!((said.code, said.bytes, said.stdout.as_str()), (0, MIB_100 as u64, sum), "{way:?}");
        let said = Outcome::one(world.exec(way, &["-stdin", &zeros, "-echo", "exec", "sha256sum"]));
        assert_eq!((said.code, said.stdout), (0, format!("{sum}  -\n")), "{way:?}");
        let said = Outcome::one(world.exec(way, &["-stdin", &zeros, "exec", "cat"]));
        assert_eq!((said.code, said.bytes, said.stdout.as_str()), (0, MIB_100 as u64, sum), "{way:?}");
        // The last bytes of many short commands.
        let many =
            ["-repeat", "60", "-parallel", "4", "-echo", "exec", "sh", "-c", "seq 3000; seq 9 >&2; exit 7"];
        let all = Outcome::all(world.exec(way, &many));
        assert_eq!(all.len(), 60, "{way:?}");
        for said in &all {
            assert_eq!((said.code, said.bytes), (7, 13_893), "{way:?}: {said:?}");
            assert!(said.stdout.ends_with("\n3000\n") && said.stderr.ends_with("\n9\n"), "{way:?}: {said:?}");
        }
    }
    world.end();
}

/// contract 50
#[test]
fn input_that_ends_early_or_is_not_read_ends_nothing_else() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    let zeros = format!("zeros:{MIB_100}");
    for way in [SPDY, WEBSOCKET] {
        // The command goes on after the end of its input.
        let said = world.shell(way, &["-stdin", "x"], "cat; sleep 1; echo more; exit 4");
        assert_eq!((said.code, said.stdout.as_str()), (4, "xmore\n"), "{way:?}");
        // It takes a little of much input, and ends; its output is not lost for what nobody reads.
        let said = world.shell(way, &["-stdin", &zeros], "head -c 10 > /dev/null; seq 20000; exit 5");
        assert_eq!((said.code, said.bytes), (5, 108_894), "{way:?}: {}", said.error);
        // It closes its input and goes on.
        let said = world.shell(way, &["-stdin", &zeros], "exec <&-; sleep 1; echo done");
        assert_eq!((said.code, said.stdout.as_str()), (0, "done\n"), "{way:?}: {}", said.error);
        // Input is all that is wanted.
        let said = world.shell(way, &["-stdin", "file", "-no-output"], "cat > /tmp/it; exit 6");
        assert_eq!(said.code, 6, "{way:?}");
        assert_eq!(world.shell(way, &[], "cat /tmp/it; rm /tmp/it").stdout, "file", "{way:?}");
    }
    world.end();
}

/// contract 50
#[test]
fn a_process_in_the_background_does_not_hold_the_client() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    for way in [SPDY, WEBSOCKET] {
        let said = world.shell(way, &["-limit", "60s"], "sleep 1000 & seq 20000; exit 8");
        assert_eq!((said.code, said.bytes), (8, 108_894), "{way:?}: {}", said.error);
        let said = world.shell(
            way,
            &["-limit", "60s"],
            "(while :; do echo on; usleep 1000; done) & echo first; exit 9",
        );
        assert_eq!((said.code, said.stdout.contains("first\n")), (9, true), "{way:?}: {}", said.error);
    }
    world.end();
}

#[test]
fn a_command_whose_client_goes_is_ended() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    for (way, seconds) in [(SPDY, "5001"), (WEBSOCKET, "5002")] {
        // In the middle of nothing, and of output that is not read.
        for line in ["exec sleep $0", "yes $0"] {
            let arguments = ["-slow", "-container", &world.container, "exec", "sh", "-c", line, seconds];
            let mut command = world.client(way, &arguments);
            command.stdin(std::process::Stdio::piped());
            let call = Call::spawn(command);
            assert!(wait_until(LIMIT, || world.runs(seconds)), "{way:?}: {line} did not begin");
            call.kill();
            assert!(wait_until(LIMIT, || !world.runs(seconds)), "{way:?}: {line} runs on");
        }
    }
    world.end();
}

/// containerd and runc cannot: they look for the namespaces of the first thread.
#[test]
fn a_container_whose_first_thread_has_ended_can_be_entered() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    let dir = world.home.dir.path().join("leaderless");
    std::fs::create_dir(&dir).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../container/tests/leader.c");
    let mut gcc = Command::new("gcc");
    gcc.args(["-static", "-pthread", "-o"]).arg(dir.join("leaderless")).arg(source);
    require!(gcc.status().is_ok_and(|status| status.success()), "needs gcc and a static libc");
    let container = world.run("leaderless", "", |config| {
        config.command = vec!["/own/leaderless".to_owned()];
        config.mounts.push(berth_cri::api::Mount {
            container_path: "/own".to_owned(),
            host_path: dir.display().to_string(),
            readonly: true,
            ..Default::default()
        });
    });
    let log = world.log("leaderless");
    let alone = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("alone"));
    assert!(wait_until(LIMIT, alone), "its first thread has not ended");
    let pid = world.cri.pid(&container);
    assert!(wait_until(LIMIT, || std::fs::read_link(format!("/proc/{pid}/ns/mnt")).is_err()));
    for way in [SPDY, WEBSOCKET] {
        let line = ["-echo", "-container", &container, "exec", "sh", "-c", "ls /own; exit 11"];
        let said = Outcome::one(Call::spawn(world.client(way, &line)));
        assert_eq!((said.code, said.stdout.as_str()), (11, "leaderless\n"), "{way:?}: {said:?}");
    }
    world.end();
}
