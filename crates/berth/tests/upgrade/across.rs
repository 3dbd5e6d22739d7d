//! Pods of one version under the daemon of another.

use std::path::Path;

use berth_testkit::guard::wait_until;
use berth_testkit::{require, require_root};

use crate::cri::{self, Cri};
use crate::home::{LIMIT, program};
use crate::programs;
use crate::world::{Pod, World, complete, grows, lines, of_name};

#[test]
fn pods_of_landed_versions_under_todays_daemon() {
    require_root!();
    let landed = programs::landed();
    require!(!landed.is_empty(), "no landed version was built (cargo xtask upgrade builds them)");
    let _turn = programs::turn();
    for old in landed {
        goes_on(&old, program());
    }
}

#[test]
fn pods_of_today_under_a_daemon_of_the_next_version() {
    require_root!();
    let Some(raised) = programs::raised() else {
        return berth_testkit::guard::skipped("no raised version was built (cargo xtask upgrade does it)");
    };
    let _turn = programs::turn();
    goes_on(program(), &raised);
}

#[test]
fn pods_of_the_next_version_under_todays_daemon() {
    require_root!();
    let Some(raised) = programs::raised() else {
        return berth_testkit::guard::skipped("no raised version was built (cargo xtask upgrade does it)");
    };
    let _turn = programs::turn();
    goes_on(&raised, program());
}

/// The pods do not change, every operation works on them, and nothing is left behind.
fn goes_on(from: &Path, to: &Path) {
    let mut world = World::make(from);
    let before = world.facts();
    assert_eq!(before.len(), 20 + 18, "{before:#?}");
    world.replace(to);
    same(&before, &world);
    world.written_more();
    world.served();

    let cri = world.cri();
    let [first, second, third, fourth, ..] = &world.writers[..] else { panic!("too few writers") };
    executes(&cri, first);
    reopens_its_log(&cri, second);
    is_limited(&cri, third);
    has_a_new_container(&cri, fourth);
    has_a_new_container(&cri, &world.shared);
    attaches(&world);
    assert_eq!(cri.status(&world.exited.container).unwrap().exit_code, 5);
    cri.start(&world.created.container).unwrap();
    grows(&world.created.log("c"));
    for pod in world.writers.iter().chain([&world.shared, &world.created]) {
        stops(&cri, pod);
    }
    world.end();
}

#[track_caller]
fn same(before: &std::collections::BTreeMap<String, String>, world: &World) {
    let after = world.facts();
    for (id, was) in before {
        let is = after.get(id).map_or("not listed", String::as_str);
        assert_eq!(was, is, "{id}\n{}", world.home.daemon.log());
    }
    assert_eq!(before.len(), after.len(), "more is listed than before: {after:#?}");
}

fn executes(cri: &Cri, pod: &Pod) {
    assert_eq!(cri.exec(&pod.container, &["sh", "-c", "echo $((6 * 7))"]).unwrap(), "42\n");
}

fn reopens_its_log(cri: &Cri, pod: &Pod) {
    let (log, aside) = (pod.log("c"), pod.log("aside"));
    std::fs::rename(&log, &aside).unwrap();
    cri.reopen_log(&pod.container).unwrap();
    grows(&log);
    let both = [lines(&aside), lines(&log)].concat();
    complete(&both);
    // One log again, for the check at the end.
    let then = lines(&aside).len();
    grows(&log);
    assert_eq!(lines(&aside).len(), then, "the log that was moved aside grows");
}

fn is_limited(cri: &Cri, pod: &Pod) {
    let limit = 96 << 20;
    cri.limit_memory(&pod.container, limit).unwrap();
    let resources = cri.status(&pod.container).unwrap().resources.and_then(|r| r.linux).unwrap();
    assert_eq!(resources.memory_limit_in_bytes, limit);
}

fn has_a_new_container(cri: &Cri, pod: &Pod) {
    let config = cri::shell("new", &pod.config, "echo made later; exit 9");
    let id = cri.create(&pod.id, &pod.config, config).unwrap();
    cri.start(&id).unwrap();
    let ended = || cri.status(&id).unwrap().finished_at != 0;
    assert!(wait_until(LIMIT, ended), "{:?}", cri.status(&id));
    assert_eq!(cri.status(&id).unwrap().exit_code, 9);
    assert_eq!(lines(&pod.log("new")), ["made later"]);
    cri.remove(&id).unwrap();
}

/// An attached client sees what comes, and its end does not end the container.
fn attaches(world: &World) {
    let attached = world.home.spawn(&["attach", "local"]);
    attached.shows("0\n");
    attached.kill();
    let containers = world.home.containers();
    assert_eq!(of_name(&containers, "local")["state"], "running");
    let log = world.home.berth(&["logs", "local"]).fine();
    let numbers: Vec<_> = log.lines().map(str::to_owned).collect();
    complete(&numbers);
}

/// The grace is given, and every line is in the log.
fn stops(cri: &Cri, pod: &Pod) {
    cri.stop(&pod.container, 60).unwrap();
    assert_eq!(cri.status(&pod.container).unwrap().exit_code, 7, "{pod:?}");
    let all = [lines(&pod.log("aside")), lines(&pod.log("c"))].concat();
    assert_eq!(all.last().map(String::as_str), Some("bye"), "{pod:?}");
    complete(&all);
    cri.remove(&pod.container).unwrap();
}
