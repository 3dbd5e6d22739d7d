//! How small and how fast the shim is, by itself: `cargo bench -p berth-shim`, with `BERTH_TEST_SHIM` naming
//! the static build to measure what ships:
//!
//! ```text
//! RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" \
//!   cargo build -p berth-shim --profile small --target x86_64-unknown-linux-gnu
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    dead_code,
    reason = "it prints what it measures"
)]

#[path = "../tests/shim/rig.rs"]
mod rig;

use std::time::{Duration, Instant};

use berth_types::shim::{Event, Request};
use rig::{Rig, possible, sh};

const ROUNDS: usize = 100;

fn main() {
    if !possible("shim bench") {
        return;
    }
    memory(1);
    memory(4);
    times();
    output();
}

/// What all shims cost together, shared pages counted once.
fn memory(containers: usize) {
    let rigs: Vec<Rig> = (0..20)
        .map(|_| {
            let mut rig = Rig::new(false);
            for _ in 0..containers {
                rig.run(sh("echo hello; sleep 1000"));
            }
            rig
        })
        .collect();
    let sum = |key: &str| -> u64 {
        let of = |rig: &Rig| field(&format!("/proc/{}/smaps_rollup", rig.shim.pid), key);
        rigs.iter().map(of).sum::<u64>() / rigs.len() as u64
    };
    println!("per shim of 20, {containers} containers: PSS {} KiB", sum("Pss:"));
    println!("  anonymous {} KiB, RSS {} KiB", sum("Anonymous:"), sum("Rss:"));
    for rig in rigs {
        rig.finish();
    }
}

fn field(path: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find(|l| l.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn times() {
    let mut rig = Rig::new(false);
    let (mut created, mut started, mut ended) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let id = rig.create(sh("exit 0")).unwrap();
        created.push(rig.creating);
        let begin = Instant::now();
        rig.start(&id).unwrap();
        started.push(begin.elapsed());
        let begin = Instant::now();
        rig.exit_of(&id);
        ended.push(begin.elapsed());
        rig.client.ask(Request::Forget { container: id }, vec![]).unwrap();
    }
    println!("create {:?}", median(created));
    println!("start {:?}, end of `sh -c 'exit 0'` {:?}", median(started), median(ended));

    let id = rig.run(sh("sleep 1000"));
    let mut execs = vec![];
    for _ in 0..ROUNDS {
        let (_read, write) = std::io::pipe().unwrap();
        let begin = Instant::now();
        rig.exec(&id, &["/bin/busybox", "true"], 0, Some(write.into())).unwrap();
        assert!(matches!(rig.client.event(), Event::ExecExited { code: 0, .. }));
        execs.push(begin.elapsed());
    }
    println!("exec of `true` to its end {:?}", median(execs));
    rig.finish();
}

/// A container that writes as fast as it can, to its log.
fn output() {
    let mut rig = Rig::new(false);
    let begin = Instant::now();
    let id = rig.run(sh(
        "dd if=/bin/busybox of=/dev/stdout bs=64k count=1000; yes 0123456789abcdef | head -n 4000000",
    ));
    rig.exit_of(&id);
    let bytes = std::fs::metadata(rig.log_path(&id)).unwrap().len();
    let seconds = begin.elapsed().as_secs_f64();
    println!("log: {} MiB in {seconds:.2} s", bytes >> 20);
    rig.finish();
}
