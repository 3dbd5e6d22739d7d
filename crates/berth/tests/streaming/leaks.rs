//! Nothing is left of sessions that have ended.

use std::path::Path;

use berth_testkit::guard::has_program;
use berth_testkit::{require, require_root, wait_until};

use crate::client::{Outcome, SPDY, WEBSOCKET};
use crate::home::LIMIT;
use crate::world::World;

/// Descriptors and threads of a process.
fn counts(pid: u32) -> (usize, usize) {
    let of =
        |what: &str| std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join(what)).unwrap().count();
    (of("fd"), of("task"))
}

/// The processes whose parent is this one.
fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lists =
        tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default());
    lists
        .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

#[test]
fn a_thousand_commands_one_by_one_and_a_hundred_at_once_leave_nothing() {
    require_root!();
    require!(has_program("go"), "needs Go 1.26");
    let world = World::start();
    let daemon = world.home.daemon.pid().unwrap();
    let shim = world.cri.shim_pid(&world.pod);
    for way in [SPDY, WEBSOCKET] {
        let run = |repeat: &str, parallel: &str| {
            let arguments = ["-limit", "10m", "-repeat", repeat, "-parallel", parallel, "-echo"];
            let line = ["-stdin", "in", "exec", "sh", "-c", "cat; echo err >&2; exit 1"];
            let all = Outcome::all(world.exec(way, &[&arguments[..], &line].concat()));
            let good = |said: &&Outcome| (said.code, &*said.stdout, &*said.stderr) == (1, "in", "err\n");
            let bad = all.iter().find(|said| !good(said));
            assert_eq!((all.len().to_string().as_str(), bad), (repeat, None), "{way:?}");
        };
        // What is there after the first is what there may be.
        run("1", "1");
        let settled = || (counts(daemon), counts(shim), children(shim).len());
        let mut before = settled();
        wait_until(std::time::Duration::from_secs(5), || {
            let now = settled();
            std::mem::replace(&mut before, now) == now
        });
        run("500", "1");
        run("100", "100");
        let mut now = settled();
        let back = wait_until(LIMIT, || {
            now = settled();
            // Threads of the runtime come and go; the daemon's connection to this test's client is its own.
            now.0.0 <= before.0.0 && now.1 <= before.1 && now.2 <= before.2
        });
        assert!(back, "{way:?}: {before:?} before, {now:?} now");
    }
    world.end();
}
