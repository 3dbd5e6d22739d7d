//! Running cargo's tests: output passed on as it comes, counted on the way, ended at a limit.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::count::{Counts, Reader};
use crate::run::{cargo, headline};
use crate::tools::FEATURES;
use crate::upgrade::Programs;

/// The longest that building and running every test may take.
const LIMIT: Duration = Duration::from_secs(45 * 60);

/// Runs the tests of these packages, or of all, and adds them up.
pub(super) fn run(packages: &[String], programs: &Programs, counts: &mut Counts) {
    headline("test: cargo's tests");
    let mut command = cargo(&["test", "--no-fail-fast", "--all-targets"]);
    command.envs(programs.iter().cloned());
    if packages.is_empty() {
        command.args(["--workspace", "--features", FEATURES]);
    }
    for package in packages {
        command.args(["--package", package]);
    }
    run_one(command.args(["--", "--show-output"]), "cargo test", counts);
    // --all-targets leaves out the doc tests.
    let mut command = cargo(&["test", "--no-fail-fast", "--doc"]);
    if packages.is_empty() {
        command.args(["--workspace", "--features", FEATURES]);
        run_one(command.args(["--", "--show-output"]), "cargo test --doc", counts);
    }
}

/// Runs a command that prints as test programs do, and adds up what it says. Returns how many programs gave a result.
pub(crate) fn run_one(command: &mut Command, what: &str, counts: &mut Counts) -> usize {
    let started = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            counts.fail(format!("{what}: {error}"));
            return 0;
        }
    };
    let (sender, lines) = channel();
    forward(child.stdout.take(), sender.clone());
    forward(child.stderr.take(), sender);
    let mut reader = Reader::default();
    let deadline = Instant::now() + LIMIT;
    let in_time = loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                println!("{line}");
                reader.line(&line);
            }
            Err(RecvTimeoutError::Disconnected) => break true,
            Err(RecvTimeoutError::Timeout) => break false,
        }
    };
    if !in_time {
        end(&child);
    }
    let status = child.wait();
    counts.passed += reader.counts.passed;
    counts.failed += reader.counts.failed;
    counts.skipped += reader.counts.skipped;
    counts.failures.append(&mut reader.counts.failures);
    if !in_time {
        counts.fail(format!("{what}: not done within {LIMIT:?}"));
    } else if !status.is_ok_and(|s| s.success()) && reader.counts.failed == 0 {
        // A crate that does not compile, or a test binary that died.
        counts.fail(format!("{what}: failed after {} summaries", reader.summaries));
    }
    reader.summaries
}

fn forward(stream: Option<impl Read + Send + 'static>, lines: Sender<String>) {
    let Some(stream) = stream else { return };
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if lines.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
}

/// Ends cargo with all that it started in its process group.
fn end(child: &Child) {
    let group = format!("-{}", child.id());
    Command::new("kill").args(["-KILL", "--", &group]).status().ok();
}
