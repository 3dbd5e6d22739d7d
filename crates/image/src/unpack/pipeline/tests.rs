use std::io::Write as _;

use super::super::paths::Paths;
use super::super::{Device, Limits};
use super::*;

fn sum(bytes: &[u8]) -> Sum {
    Sum { digest: Digest::from_sha256(Sha256::digest(bytes).into()), bytes: bytes.len() as u64 }
}

/// Passes `bytes` through, with a reader that takes `take` of them.
fn pass(bytes: &[u8], take: usize, bounds: &Bounds) -> (Result<Sum, Stopped>, Vec<u8>) {
    let ((from, writer), (reader, to)) = (pipe().unwrap(), pipe().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // In some of these tests the reader has ended.
            let _closed = File::from(writer).write_all(bytes);
        });
        let read = scope.spawn(move || {
            let mut taken = Vec::new();
            File::from(reader).take(take as u64).read_to_end(&mut taken).unwrap();
            taken
        });
        let passed = relay(&mut File::from(from), &to, bounds);
        drop(to);
        (passed, read.join().unwrap())
    })
}

#[test]
fn everything_passes_and_is_summed_up() {
    let bounds = Limits::default().of_blob(0);
    for length in [0, 1, BLOCK - 1, 5 * BLOCK + 7] {
        let bytes: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let (passed, taken) = pass(&bytes, usize::MAX, &bounds);
        assert_eq!(passed.unwrap(), sum(&bytes));
        assert!(taken == bytes);
    }
}

#[test]
fn what_is_over_the_limit_or_not_taken_stops_it() {
    let bounds = Bounds { tar_bytes: 1000, ..Limits::default().of_blob(0) };
    assert!(matches!(pass(&[0; 1001], usize::MAX, &bounds).0, Err(Stopped::Limit(_))));
    assert!(pass(&[0; 1000], usize::MAX, &bounds).0.is_ok());
    let bounds = Limits::default().of_blob(0);
    assert!(matches!(pass(&vec![0; 32 << 20], 10, &bounds).0, Err(Stopped::Closed)));
}

#[test]
fn the_first_failure_is_the_one_that_is_reported() {
    let refuse = |cause, reason| Err::<(), _>(refusal(cause, reason));
    let done = || Ok::<_, Refusal>(Report::default());
    let reason = |outcome: Result<(Sum, Report), Refusal>| outcome.map_err(|refusal| refusal.reason);
    let closed = || refuse(Cause::Closed, "closed");
    let truncated = || Err(refusal(Cause::Malformed, "truncated"));
    assert_eq!(reason(outcome(Ok(sum(b"x")), Ok(()), done())).unwrap().0, sum(b"x"));
    let cases = [
        (outcome(Ok(sum(b"")), refuse(Cause::Malformed, "bad gzip"), truncated()), "bad gzip"),
        (outcome(Err(Stopped::Closed), closed(), Err(refusal(Cause::Full, "disk"))), "disk"),
        (outcome(Err(Stopped::Limit("too much".into())), closed(), truncated()), "the layer has too much"),
        (outcome(Ok(sum(b"")), Ok(()), truncated()), "truncated"),
        (outcome(Err(Stopped::Closed), closed(), done()), "data after the archive's end"),
        (outcome(Ok(sum(b"")), closed(), done()), "data after the archive's end"),
    ];
    for (outcome, wanted) in cases {
        assert_eq!(reason(outcome).unwrap_err(), wanted);
    }
}

#[test]
fn a_process_that_was_taken_over_cannot_say_what_it_likes() {
    let bounds = Limits::default().of_blob(100_000);
    let device = |path: &[u8]| Device {
        path: path.to_vec(),
        block: true,
        major: 8,
        minor: 0,
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime: (0, 0),
    };
    let paths = |path: &str, count: usize| -> Paths { std::iter::repeat_n(path, count).collect() };
    let good = Report {
        implied: paths("a", 10),
        links: paths("b", 2),
        devices: vec![device(b"dev/sda")],
        ..Report::default()
    };
    check(&good, &bounds).unwrap();
    let long = "d".repeat(4000);
    let bad = [
        ("a path that leads upwards", Report { opaque: paths("../x", 1), ..Report::default() }),
        ("an absolute device", Report { devices: vec![device(b"/dev/sda")], ..Report::default() }),
        ("a device too long", Report { devices: vec![device(&[b'd'; 9000])], ..Report::default() }),
        ("devices without end", Report { devices: vec![device(b"d"); 5000], ..Report::default() }),
        ("small on the way, large here", Report { implied: paths(&long, 10_000), ..Report::default() }),
        ("inodes", Report { inodes: u64::MAX, ..Report::default() }),
    ];
    for (what, report) in bad {
        assert!(check(&report, &bounds).is_err(), "{what}");
    }
}
