//! FIFOs, with the test as the shim.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use berth_shimv2::stdio::{Stdio, Streams};
use berth_testkit::guard::{WAIT_LIMIT, wait_until};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::world::LIMIT;

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

fn make(streams: Streams) -> (tempfile::TempDir, Stdio) {
    let dir = tempfile::tempdir().unwrap();
    let stdio = Stdio::make(dir.path(), streams).unwrap();
    (dir, stdio)
}

#[test]
fn only_the_streams_that_there_are_have_fifos() {
    for (stdin, terminal) in [(false, false), (true, false), (false, true), (true, true)] {
        let (dir, stdio) = make(Streams { stdin, terminal });
        let made = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(made, 1 + usize::from(stdin) + usize::from(!terminal));
        assert_eq!(!stdio.paths.stdin.is_empty(), stdin);
        assert_eq!(stdio.paths.stderr.is_empty(), terminal);
        assert_eq!((stdio.stdin.is_some(), stdio.stderr.is_some()), (stdin, !terminal));
    }
}

#[test]
fn an_output_that_nobody_has_opened_is_no_end() {
    let (_dir, stdio) = make(Streams { stdin: false, terminal: false });
    let mut fds = [PollFd::new(&stdio.stdout, PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&NOW)).unwrap(), 0);
    let mut writer = std::fs::File::options().write(true).open(&stdio.paths.stdout).unwrap();
    assert_eq!(rustix::io::read(&stdio.stdout, &mut [0u8; 8]), Err(Errno::AGAIN));
    writer.write_all(b"out").unwrap();
    drop(writer);
    assert_eq!(rustix::io::read(&stdio.stdout, &mut [0u8; 8]), Ok(3));
    let mut fds = [PollFd::new(&stdio.stdout, PollFlags::IN)];
    let limit = Timespec::try_from(LIMIT).unwrap();
    assert_eq!(poll(&mut fds, Some(&limit)).unwrap(), 1);
    assert_eq!(rustix::io::read(&stdio.stdout, &mut [0u8; 8]), Ok(0));
}

#[test]
fn input_is_kept_until_the_shim_comes_and_ends_after_it() {
    let (_dir, mut stdio) = make(Streams { stdin: true, terminal: false });
    let error = stdio.settle(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(rustix::io::write(stdio.stdin.as_ref().unwrap(), b"early"), Ok(5));
    let mut reader = std::fs::File::open(&stdio.paths.stdin).unwrap();
    stdio.settle(LIMIT).unwrap();
    drop(stdio.stdin.take());
    let mut all = String::new();
    reader.read_to_string(&mut all).unwrap();
    assert_eq!(all, "early");
}

#[test]
fn input_that_is_read_no_more_fails() {
    let (_dir, mut stdio) = make(Streams { stdin: true, terminal: true });
    let reader = std::fs::File::open(&stdio.paths.stdin).unwrap();
    stdio.settle(LIMIT).unwrap();
    // Again it is nothing.
    stdio.settle(Duration::ZERO).unwrap();
    drop(reader);
    // A child that another test makes has a copy of the reader's end until its program runs.
    let gone = || rustix::io::write(stdio.stdin.as_ref().unwrap(), b"late") == Err(Errno::PIPE);
    assert!(wait_until(WAIT_LIMIT, gone));
}

#[test]
fn what_is_in_the_place_of_a_fifo_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("stdout"), "").unwrap();
    Stdio::make(dir.path(), Streams { stdin: false, terminal: false }).unwrap_err();
}
