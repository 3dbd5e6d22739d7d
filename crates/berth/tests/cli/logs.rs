//! `berth logs`.

use std::io::Write;

use berth_testkit::guard::wait_until;
use berth_testkit::require_root;

use crate::home::{BUSYBOX, Home, LIMIT};

fn numbers(from: usize, to: usize) -> String {
    (from..=to).map(|n| format!("{n}\n")).collect()
}

#[test]
fn all_or_the_last_lines_with_or_without_the_time() {
    require_root!();
    let home = Home::start();
    let line = "seq 1 2000; echo err >&2; printf end";
    home.berth(&["run", "-q", "--name", "seq", BUSYBOX, "sh", "-c", line]).fine();
    let said = home.berth(&["logs", "seq"]);
    assert_eq!(
        (said.out.as_str(), said.err.as_str()),
        (format!("{}end", numbers(1, 2000)).as_str(), "err\n")
    );
    assert_eq!(home.berth(&["logs", "-n", "0", "seq"]).fine(), "");
    let said = home.berth(&["logs", "--tail", "4", "seq/seq"]);
    // Two pipes are read as they come, so the line on standard error may stand before others.
    assert_eq!(said.out.lines().count() + said.err.lines().count(), 4, "{said:?}");
    assert!(said.out.ends_with("1999\n2000\nend"), "{said:?}");
    let timed = home.berth(&["logs", "-t", "seq"]).fine();
    let first = timed.lines().next().unwrap();
    let (time, text) = first.split_once(' ').unwrap();
    assert_eq!(text, "1");
    assert!(time.len() >= 20 && time.starts_with("20") && time.contains('T'), "{first}");
    home.berth(&["rm", "seq"]).fine();
    home.clean();
}

#[test]
fn a_line_longer_than_the_log_takes_is_one_line_again() {
    require_root!();
    let home = Home::start();
    let line = "head -c 100000 /dev/zero | tr '\\0' x; echo; echo after";
    home.berth(&["run", "-q", "--name", "long", BUSYBOX, "sh", "-c", line]).fine();
    let out = home.berth(&["logs", "long"]).fine();
    let lines: Vec<_> = out.lines().collect();
    assert_eq!((lines.len(), lines[0].len(), lines[1]), (2, 100_000, "after"));
    home.berth(&["rm", "long"]).fine();
    home.clean();
}

#[test]
fn following_goes_through_a_crash_of_the_daemon_to_the_end() {
    require_root!();
    let mut home = Home::start();
    let fifo = home.dir.path().join("go");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let volume = format!("{}:/go", fifo.display());
    home.berth(&["run", "-d", "-q", "--name", "f", "-v", &volume, BUSYBOX, "cat", "/go"]).fine();
    let mut input = std::fs::File::options().write(true).open(&fifo).unwrap();
    input.write_all(numbers(1, 100).as_bytes()).unwrap();
    let call = home.spawn(&["logs", "-f", "f"]);
    call.shows("\n100\n");
    home.daemon.kill().unwrap();
    input.write_all(numbers(101, 200).as_bytes()).unwrap();
    home.daemon.start().unwrap();
    input.write_all(numbers(201, 300).as_bytes()).unwrap();
    drop(input);
    assert_eq!(call.end().fine(), numbers(1, 300));
    home.berth(&["rm", "f"]).fine();
    home.clean();
}

#[test]
fn one_of_several_containers_must_be_named() {
    require_root!();
    let home = Home::start();
    let container =
        |name: &str| format!("  - name: {name}\n    image: {BUSYBOX}\n    command: [echo, i am {name}]\n");
    home.write("pod.yaml", &format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: two}}\nspec:\n  restartPolicy: Never\n  containers:\n{}{}",
        container("a"),
        container("b"),
    ));
    home.berth(&["play", "-q", "pod.yaml"]).fine();
    let err = home.berth(&["logs", "two"]).refused();
    assert!(err.contains("pod two has several containers") && err.contains("two/a, two/b"), "{err}");
    for name in ["a", "b"] {
        home.wait_state("two", name, "exited");
        assert_eq!(home.berth(&["logs", &format!("two/{name}")]).fine(), format!("i am {name}\n"));
    }
    home.berth(&["down", "two"]).fine();
    home.clean();
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    require_root!();
    let home = Home::start();
    home.berth(&["run", "-q", "--name", "many", BUSYBOX, "seq", "1", "100000"]).fine();
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "\"$0\" logs many | head -n 1"]).arg(crate::home::program());
    shell.env_remove("BERTH_INSTANCE").env("BERTH_HOST", home.daemon.endpoint());
    let said = crate::home::Call::spawn(shell).end();
    assert_eq!((said.out.as_str(), said.err.as_str()), ("1\n", ""));
    home.berth(&["rm", "many"]).fine();
    assert!(wait_until(LIMIT, || home.containers().is_empty()));
}

#[test]
fn a_log_that_has_grown_is_moved_aside_and_followed() {
    require_root!();
    let home = Home::start();
    let fifo = home.dir.path().join("go");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let volume = format!("{}:/go", fifo.display());
    home.berth(&["run", "-d", "-q", "--name", "f", "-v", &volume, BUSYBOX, "cat", "/go"]).fine();
    let path = home.wait_state("f", "f", "running")["logPath"].as_str().unwrap().to_owned();
    let mut input = std::fs::File::options().write(true).open(&fifo).unwrap();
    let line = |n: usize| format!("{n:08} {}\n", "x".repeat(4000));
    input.write_all(line(0).as_bytes()).unwrap();
    let call = home.spawn(&["logs", "-f", "f"]);
    call.shows("00000000 x");
    for n in 1..3000 {
        input.write_all(line(n).as_bytes()).unwrap();
    }
    let moved = format!("{path}.1");
    assert!(wait_until(LIMIT, || std::fs::metadata(&path).is_ok_and(|now| now.len() < 10 << 20)
        && std::path::Path::new(&moved).exists()));
    input.write_all(line(3000).as_bytes()).unwrap();
    drop(input);
    let out = call.end().fine();
    let wanted: String = (0..=3000).map(line).collect();
    assert!(out == wanted, "{} lines of {}", out.lines().count(), 3001);
    home.berth(&["rm", "f"]).fine();
    home.clean();
}

#[test]
fn all_containers_of_a_pod_are_shown_with_their_names() {
    require_root!();
    let home = Home::start();
    let manifest = "{apiVersion: v1, kind: Pod, metadata: {name: many}, spec: {terminationGracePeriodSeconds: 0, restartPolicy: Never,
        initContainers: [{name: first, image: BUSYBOX, command: [echo, before]}],
        containers: [{name: a, image: BUSYBOX, command: [sh, -c, 'echo a1; echo a2; printf a3']},
                     {name: b, image: BUSYBOX, command: [sh, -c, 'echo b1; echo b2 >&2; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo b3']}]}}";
    let file = home.write("many.yaml", &manifest.replace("BUSYBOX", BUSYBOX));
    home.berth(&["play", "-q", &file]).fine();
    home.wait_state("many", "a", "exited");
    home.wait_state("many", "b", "running");
    assert!(wait_until(LIMIT, || home.berth(&["logs", "many/b"]).err == "b2\n"));
    let said = home.berth(&["logs", "--all-containers", "many"]);
    assert_eq!(
        (said.code, said.out.as_str(), said.err.as_str()),
        (0, "before\na1\na2\na3b1\n", "b2\n"),
        "{said:?}"
    );
    let said = home.berth(&["logs", "--all-containers", "--prefix", "--tail", "1", "many"]);
    let wanted = "[pod/many/first] before\n[pod/many/a] a3\n";
    assert_eq!((said.out.as_str(), said.err.as_str()), (wanted, "[pod/many/b] b2\n"), "{said:?}");
    assert_eq!(home.berth(&["logs", "--prefix", "many/a", "-n", "1"]).fine(), "[pod/many/a] a3\n");
    let err = home.berth(&["logs", "many"]).refused();
    assert!(err.contains("--all-containers"), "{err}");

    let call = home.spawn(&["logs", "-f", "--all-containers", "--prefix", "many"]);
    call.shows("[pod/many/b] b1\n");
    home.berth(&["exec", "many/b", "touch", "/tmp/go"]).fine();
    let said = call.end();
    assert!(said.code == 0 && said.out.ends_with("[pod/many/b] b3\n"), "{said:?}");
    home.berth(&["down", &file]).fine();
    home.clean();
}
