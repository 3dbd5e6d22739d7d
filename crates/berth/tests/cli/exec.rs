//! `berth exec` and `berth attach`.

use berth_testkit::require_root;
use rustix::process::Signal;

use crate::home::{BUSYBOX, Home};
use crate::terminal::Terminal;

/// A daemon with a pod `box` that runs until it is removed.
fn with_box() -> Home {
    let home = Home::start();
    home.berth(&["run", "-d", "-q", "--name", "box", "-e", "OWN=1", BUSYBOX, "sleep", "1000"]).fine();
    home
}

#[test]
fn a_command_has_the_containers_settings_and_its_own() {
    require_root!();
    let home = with_box();
    let said = home.berth(&["exec", "box", "sh", "-c", "echo out; echo err >&2; exit 9"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (9, "out\n", "err\n"));
    let out = home.berth(&["exec", "-e", "MORE=2", "box", "env"]).fine();
    assert!(out.contains("OWN=1\n") && out.contains("MORE=2\n"), "{out}");
    let mut command = home.command(&["exec", "-e", "TAKEN", "-e", "NOT_SET_HERE", "box", "env"]);
    command.env("TAKEN", "from here").env_remove("NOT_SET_HERE");
    let out = crate::home::Call::spawn(command).end().fine();
    assert!(out.contains("TAKEN=from here\n") && !out.contains("NOT_SET_HERE"), "{out}");
    assert_eq!(
        home.berth(&["exec", "-u", "65534:12", "box", "sh", "-c", "id -u; id -g"]).fine(),
        "65534\n12\n"
    );
    assert_eq!(home.berth(&["exec", "-w", "/usr", "box", "pwd"]).fine(), "/usr\n");
    assert_eq!(home.berth(&["exec", "box/box", "hostname"]).fine(), "box\n");
    let said = home.berth(&["exec", "box", "nosuch"]);
    assert_eq!(said.code, 127, "{said:?}");
    assert!(said.err.contains("\"nosuch\": not found in the container"), "{said:?}");
    assert_eq!(home.berth(&["exec", "box", "/etc"]).code, 126);
    home.berth(&["rm", "-f", "box"]).fine();
    home.clean();
}

#[test]
fn standard_input_goes_through_to_its_end() {
    require_root!();
    let home = with_box();
    let text = "0123456789abcde\n".repeat(32 << 10);
    let copied = home.feed(&["exec", "-i", "box", "cat"], text.as_bytes()).fine();
    assert!(copied == text, "{} bytes came back of {}", copied.len(), text.len());
    assert_eq!(home.feed(&["exec", "box", "cat"], b"not for you").fine(), "");
    home.berth(&["rm", "-f", "box"]).fine();
    home.clean();
}

#[test]
fn a_terminal_for_a_command() {
    require_root!();
    let home = with_box();
    let mut terminal = Terminal::open(33, 77);
    let mut child = terminal.run(&home.command(&["exec", "-it", "box", "sh"]));
    terminal.expect("# ");
    terminal.keys("tty; stty size\n");
    terminal.expect("/dev/pts/0\r\n33 77\r\n");
    // End of file at the prompt.
    terminal.keys("false\n\x04");
    assert_eq!(terminal.end(&mut child), 1);
    assert!(!terminal.is_raw(), "the terminal is not as it was");
    home.berth(&["rm", "-f", "box"]).fine();
    home.clean();
}

#[test]
fn a_command_whose_client_goes_away_ends() {
    require_root!();
    let home = with_box();
    let call = home.spawn(&["exec", "box", "sh", "-c", "echo $$ > /pid; exec sleep 1000"]);
    let started = || home.berth(&["exec", "box", "cat", "/pid"]).code == 0;
    assert!(berth_testkit::wait_until(crate::home::LIMIT, started));
    call.signal(Signal::KILL);
    let gone = || home.berth(&["exec", "box", "sh", "-c", "test -d /proc/$(cat /pid)"]).code == 1;
    assert!(berth_testkit::wait_until(crate::home::LIMIT, gone), "it runs on");
    home.berth(&["rm", "-f", "box"]).fine();
    home.clean();
}

#[test]
fn what_cannot_run_a_command_is_said() {
    require_root!();
    let home = with_box();
    let err = home.berth(&["exec", "nosuch", "true"]).refused();
    assert!(err.contains("no pod or container \"nosuch\"") && err.contains("hint: berth ps -a"), "{err}");
    home.berth(&["stop", "-t", "0", "box"]).fine();
    let err = home.berth(&["exec", "box", "true"]).refused();
    assert!(err.contains("box") && err.contains("exited"), "{err}");
    let err = home.berth(&["attach", "box"]).refused();
    assert!(err.contains("box") && err.contains("exited"), "{err}");
    home.berth(&["rm", "box"]).fine();
    home.clean();
}

#[test]
fn attach_joins_input_and_output() {
    require_root!();
    let home = Home::start();
    home.write("pod.yaml", &format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: echo}}\nspec:\n  restartPolicy: Never\n  containers:\n  - name: cat\n    image: {BUSYBOX}\n    command: [cat]\n    stdin: true\n    stdinOnce: true\n",
    ));
    home.berth(&["play", "-q", "pod.yaml"]).fine();
    assert_eq!(home.feed(&["attach", "echo"], b"one\ntwo\n").fine(), "one\ntwo\n");
    home.wait_state("echo", "cat", "exited");
    home.berth(&["down", "echo"]).fine();
    home.clean();
}

#[test]
fn a_terminal_has_its_size_before_the_command_looks() {
    require_root!();
    let home = with_box();
    for _ in 0..10 {
        let mut terminal = Terminal::open(44, 111);
        let mut child = terminal.run(&home.command(&["exec", "-t", "box", "stty", "size"]));
        terminal.expect("44 111");
        assert_eq!(terminal.end(&mut child), 0);
    }
    home.berth(&["rm", "-f", "box"]).fine();
    home.clean();
}

#[test]
fn a_command_that_leaves_another_behind_ends_with_all_that_it_wrote() {
    require_root!();
    let home = with_box();
    let wrote =
        "sleep 1000 & i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo err >&2; exit 4";
    let said = home.berth(&["exec", "box", "sh", "-c", wrote]);
    assert_eq!((said.code, said.err.as_str()), (4, "err\n"));
    assert_eq!((said.out.lines().count(), said.out.lines().last()), (20_000, Some("line 19999")));
    assert_eq!(home.berth(&["exec", "box", "pidof", "sleep"]).fine().split_whitespace().count(), 2);
    home.berth(&["rm", "-f", "box"]).fine();
    home.clean();
}
