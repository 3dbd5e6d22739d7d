//! Limits of a container that runs.

use std::path::{Path, PathBuf};

use berth_engine::model::Resources;
use berth_testkit::require_root;

use crate::harness::{WAITS, World, sandbox, script, started};

/// A file of a container's CPU group: its name on cgroup v1, and on v2.
fn cpu_file(cgroup: &str, v1: &str, v2: &str) -> String {
    let root = Path::new("/sys/fs/cgroup");
    let below = cgroup.trim_start_matches('/');
    let places: [PathBuf; 3] = [
        root.join("cpu").join(below).join(v1),
        root.join("cpu,cpuacct").join(below).join(v1),
        root.join(below).join(v2),
    ];
    let found = places.iter().find_map(|place| std::fs::read_to_string(place).ok());
    found.unwrap_or_else(|| panic!("none of {places:?}")).trim().to_owned()
}

#[test]
fn a_change_of_score_reaches_every_process_and_those_to_come() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("scored")).await.unwrap();
        let mut config = script("c", "sleep 1000 & wait");
        config.resources.oom_score_adj = Some(100);
        let id = started(&engine, &pod, config).await;
        let score = async || {
            let all = ["sh", "-c", "cat /proc/[0-9]*/oom_score_adj"].map(str::to_owned);
            let out = engine.exec_sync(&id, all.to_vec(), None).await.unwrap().stdout;
            let mut scores: Vec<_> = String::from_utf8(out).unwrap().lines().map(str::to_owned).collect();
            scores.sort();
            scores.dedup();
            scores
        };
        assert_eq!(score().await, ["100"]);
        let change = Resources { oom_score_adj: Some(500), ..Resources::default() };
        engine.update_resources(&id, change).await.unwrap();
        assert_eq!(score().await, ["500"], "of what ran and of the exec itself");
        let view = engine.container(id.as_str()).unwrap();
        assert_eq!(view.resources.oom_score_adj, Some(500));
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

#[test]
fn a_period_keeps_the_quota_and_a_change_refused_half_way_is_taken_back() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("resized")).await.unwrap();
        let mut config = script("c", WAITS);
        config.resources.cpu_quota = Some(50_000);
        config.resources.cpu_period = Some(100_000);
        let id = started(&engine, &pod, config).await;
        let cgroup = engine.container(id.as_str()).unwrap().cgroup.clone();
        let quota = || cpu_file(&cgroup, "cpu.cfs_quota_us", "cpu.max");
        let weight = || cpu_file(&cgroup, "cpu.shares", "cpu.weight");
        let period = Resources { cpu_period: Some(200_000), ..Resources::default() };
        engine.update_resources(&id, period).await.unwrap();
        assert!(["50000", "50000 200000"].contains(&quota().as_str()), "{}", quota());

        let (before, usual) = (engine.container(id.as_str()).unwrap().resources.clone(), weight());
        // The weight is written first, and no kernel takes such a period.
        let refused = Resources { cpu_shares: Some(2048), cpu_period: Some(1), ..Resources::default() };
        engine.update_resources(&id, refused).await.unwrap_err();
        assert_eq!(engine.container(id.as_str()).unwrap().resources, before);
        assert_eq!(weight(), usual);
        assert!(["50000", "50000 200000"].contains(&quota().as_str()), "{}", quota());
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}
