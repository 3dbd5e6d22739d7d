use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::*;

const WAIT: Duration = Duration::from_secs(60);

/// A pipe as files.
fn pipe() -> (File, File) {
    let (from, to) = std::io::pipe().unwrap();
    (OwnedFd::from(from).into(), OwnedFd::from(to).into())
}

/// Carries, and tells whether the end was told.
fn begin(lanes: Vec<Lane>, process: Option<OwnedFd>, told: &Cancel) -> Receiver<bool> {
    let (send, ended) = channel();
    Relay { lanes, process, told: told.clone() }.begin(move |was_told| send.send(was_told).unwrap()).unwrap();
    ended
}

/// What is readable once the other end is dropped, as a process that ends.
fn process() -> (OwnedFd, File) {
    let (ended, lives) = pipe();
    (ended.into(), lives)
}

#[test]
fn all_is_carried_both_ways_and_the_end_of_the_input_is_told() {
    let (ours, theirs) = (pipe(), pipe());
    let (input_from, mut write) = pipe();
    let (mut read, input_to) = pipe();
    let (closed, is_closed) = channel();
    let then = Then::new(move || closed.send(()).unwrap());
    let told = Cancel::new().unwrap();
    let (process, lives) = process();
    let lanes = vec![
        Lane::input(input_from.into(), input_to.into(), then),
        Lane::output(theirs.0.into(), Some(ours.1.into())),
    ];
    let ended = begin(lanes, Some(process), &told);

    // More than pipes hold, which nobody reads at first.
    let all: Vec<u8> = (0..1_000_000u32).map(|at| at.to_le_bytes()[0]).collect();
    let (sent, mut from_process) = (all.clone(), theirs.1);
    let writer = std::thread::spawn(move || from_process.write_all(&sent).unwrap());
    write.write_all(b"typed").unwrap();
    let mut typed = [0; 5];
    read.read_exact(&mut typed).unwrap();
    assert_eq!(&typed, b"typed");
    assert!(is_closed.try_recv().is_err());
    drop(write);
    is_closed.recv_timeout(WAIT).unwrap();
    assert_eq!(read.read(&mut typed).unwrap(), 0);

    // Its end is told before its output is carried.
    drop(lives);
    told.set();
    let mut got = Vec::new();
    let mut ours = ours.0;
    ours.read_to_end(&mut got).unwrap();
    writer.join().unwrap();
    assert!(got == all, "{} bytes", got.len());
    assert!(ended.recv_timeout(WAIT).unwrap());
}

#[test]
fn output_that_nobody_reads_ends_alone() {
    let (ours, theirs, other) = (pipe(), pipe(), pipe());
    let told = Cancel::new().unwrap();
    let (process, _lives) = process();
    let lanes = vec![Lane::output(theirs.0.into(), Some(ours.1.into())), Lane::output(other.0.into(), None)];
    let ended = begin(lanes, Some(process), &told);
    drop(ours.0);
    let mut from_process = theirs.1;
    let failed = std::iter::repeat_with(|| from_process.write_all(&[0; 4096])).find_map(Result::err).unwrap();
    assert_eq!(failed.kind(), std::io::ErrorKind::BrokenPipe);
    // What goes nowhere is read all the same.
    let mut errors = other.1;
    errors.write_all(&[0; 300_000]).unwrap();
    drop(errors);
    assert!(ended.try_recv().is_err(), "the process has not ended");
    told.set();
    assert!(ended.recv_timeout(WAIT).unwrap());
}

#[test]
fn an_end_that_is_not_told_is_waited_for_only_so_long() {
    let (_from_process, theirs) = pipe();
    let told = Cancel::new().unwrap();
    let (process, lives) = process();
    let begun = Instant::now();
    drop(lives);
    let ended = begin(vec![Lane::output(theirs.into(), None)], Some(process), &told);
    assert!(!ended.recv_timeout(WAIT).unwrap());
    assert!(begun.elapsed() >= LIMIT);
}
