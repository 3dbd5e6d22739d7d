use std::io::Read as _;

use super::*;
use berth_container::said::KEPT;
use rustix::event::{EventfdFlags, eventfd};

fn sh(script: &str) -> Command {
    Command::new(Path::new("/bin/sh")).arg("-c").arg(script)
}

fn run(script: &str) -> Result<(), Failed> {
    sh(script).run(Duration::from_secs(60), &Given::default())
}

#[test]
fn how_it_ended_and_its_last_words_are_kept() {
    run("exit 0").unwrap();
    let failed = run("echo first >&2; echo last >&2; exit 3").unwrap_err();
    assert_eq!(
        (failed.how.as_str(), failed.said.as_deref()),
        ("it ended with status 3", Some("first\nlast"))
    );
    let failed = run("kill -SEGV $$").unwrap_err();
    assert_eq!((failed.how.as_str(), failed.said), ("signal 11 ended it", None));
    // A child that goes on has the pipe still: it is not waited for.
    let failed = run("echo words >&2; sleep 100 & exit 1").unwrap_err();
    assert_eq!(failed.said.as_deref(), Some("words"));
    let failed = run("head -c 10000000 /dev/zero | tr '\\0' x >&2; echo end >&2; exit 1").unwrap_err();
    let said = failed.said.unwrap();
    assert!(said.len() <= KEPT && said.ends_with("xend"), "{}", said.len());
}

#[test]
fn one_that_hangs_is_killed_with_what_it_started() {
    let (alive, mut held) = std::io::pipe().map(|(reader, writer)| (writer, reader)).unwrap();
    let stdio = [None, Some(alive.as_fd()), None];
    let given = Given { stdio, ..Given::default() };
    let failed = sh("sleep 1000 & sleep 1000").run(Duration::from_millis(300), &given).unwrap_err();
    assert!(failed.how.contains("did not end within 0 s"), "{}", failed.how);
    drop(alive);
    // The end of all that had the pipe.
    assert_eq!(held.read(&mut [0]).unwrap(), 0);

    let cancelled: OwnedFd = eventfd(1, EventfdFlags::CLOEXEC).unwrap();
    let never: OwnedFd = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    for cancels in [[cancelled.as_fd(), never.as_fd()], [never.as_fd(), cancelled.as_fd()]] {
        let given = Given { cancels: &cancels, ..Given::default() };
        let failed = sh("sleep 1000").run(Duration::from_secs(1000), &given).unwrap_err();
        assert!(failed.how.contains("not waited for"), "{}", failed.how);
    }
}

#[test]
fn one_that_never_stops_talking_is_late_too() {
    let talk = sh("while :; do echo words; done >&2");
    let failed = talk.run(Duration::from_secs(3), &Given::default()).unwrap_err();
    assert!(failed.how.contains("did not end"), "{}", failed.how);
    assert!(failed.said.is_some_and(|said| said.len() <= KEPT && said.contains("words")));
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let program = Command::new(Path::new("/no/such/program"));
    let failed = program.run(Duration::from_secs(9), &Given::default());
    assert!(failed.unwrap_err().how.starts_with("it cannot be executed"));
}

/// crun gives its streams to the container's user: none may be a device of the host's.
#[test]
fn without_streams_of_a_container_it_gets_pipes_of_its_own() {
    run("for fd in 0 1 2; do [ -p /proc/self/fd/$fd ] || exit 1; done; read line && exit 2; exit 0").unwrap();
    assert_eq!(run("echo out; exit 1").unwrap_err().said.as_deref(), Some("out"));
}

/// The container's output has no reader before the container is made.
#[test]
fn streams_that_nobody_reads_are_listened_to() {
    let (out, to_out) = std::io::pipe().unwrap();
    let (err, to_err) = std::io::pipe().unwrap();
    let unread = [OwnedFd::from(out), OwnedFd::from(err)];
    let stdio = [None, Some(to_out.as_fd()), Some(to_err.as_fd())];
    let given = Given { stdio, unread: &unread, ..Given::default() };
    let much = "head -c 10000000 /dev/zero | tr '\\0' x";
    let noisy = |end: &str| sh(&format!("{much}; {much} >&2; {end}"));
    noisy("exit 0").run(Duration::from_secs(60), &given).unwrap();
    let failed = noisy("echo end >&2; exit 1").run(Duration::from_secs(60), &given).unwrap_err();
    assert!(failed.said.is_some_and(|said| said.len() <= KEPT && said.ends_with("xend")));
}
