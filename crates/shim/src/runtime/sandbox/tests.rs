use std::time::{Duration, Instant};

use super::*;

/// As long as a test waits for what has to happen.
const LONG: Duration = Duration::from_secs(60);

fn sandbox() -> (tempfile::TempDir, Sandbox) {
    let dir = tempfile::tempdir().unwrap();
    let (notes, _) = Notes::new().unwrap();
    let sandbox = Sandbox::new("pod".to_owned(), dir.path(), notes).unwrap();
    (dir, sandbox)
}

#[test]
fn one_makes_it_and_another_does_when_that_failed() {
    let (_dir, sandbox) = sandbox();
    let (until, cancel) = (Instant::now() + LONG, Cancel::new().unwrap());
    let first = sandbox.turn(until, &cancel).unwrap().expect("nobody makes it");
    std::thread::scope(|scope| {
        let second = scope.spawn(|| sandbox.turn(until, &cancel).unwrap().is_some());
        drop(first);
        assert!(second.join().unwrap(), "it is made by who waited");
    });
    assert!(sandbox.turn(until, &cancel).unwrap().is_some(), "the second has not made it either");
}

#[test]
fn a_wait_ends_with_its_deadline_and_when_it_is_cancelled() {
    let (_dir, sandbox) = sandbox();
    let (until, cancel) = (Instant::now() + LONG, Cancel::new().unwrap());
    let _first = sandbox.turn(until, &cancel).unwrap().expect("nobody makes it");
    let late = sandbox.turn(Instant::now() + Duration::from_millis(20), &cancel).unwrap_err();
    assert!(late.message.contains("not made in time"), "{}", late.message);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| sandbox.turn(until, &cancel).unwrap_err());
        cancel.set();
        let cancelled = waits.join().unwrap();
        assert!(cancelled.message.contains("not waited for any longer"), "{}", cancelled.message);
    });
    assert!(Instant::now() < until);
}

#[test]
fn one_that_has_ended_is_not_made_again() {
    let (_dir, sandbox) = sandbox();
    *sandbox.state() = State::Ended;
    let failed = sandbox.turn(Instant::now() + LONG, &Cancel::new().unwrap()).unwrap_err();
    assert_eq!(failed.reason, Reason::State);
}
