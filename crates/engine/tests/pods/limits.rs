//! Limits of a container that runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use berth_engine::model::{HugepageLimit, Resources};
use berth_engine::seams::Driver;
use berth_testkit::require_root;
use berth_types::lifecycle::sandbox::State;

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
pub(crate) fn a_change_of_score_reaches_every_process_and_those_to_come() {
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
pub(crate) fn a_period_keeps_the_quota_and_a_change_refused_half_way_is_taken_back() {
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
        // The weight is written first, and no kernel has such pages.
        let pages = vec![HugepageLimit { page_size: "3MB".to_owned(), limit: 0 }];
        let refused = Resources { cpu_shares: Some(2048), hugepages: pages, ..Resources::default() };
        engine.update_resources(&id, refused).await.unwrap_err();
        assert_eq!(engine.container(id.as_str()).unwrap().resources, before);
        assert_eq!(weight(), usual);
        assert!(["50000", "50000 200000"].contains(&quota().as_str()), "{}", quota());
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

/// What cannot work is refused with the setting's name and why, and what was in force stays.
#[test]
pub(crate) fn limits_that_cannot_work_are_named() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("named")).await.unwrap();
        let id = started(&engine, &pod, script("c", WAITS)).await;
        let before = engine.container(id.as_str()).unwrap().resources.clone();
        let none = Resources::default;
        let page = |size: &str| HugepageLimit { page_size: size.to_owned(), limit: 0 };
        let file = |name: &str| BTreeMap::from([(name.to_owned(), "1".to_owned())]);
        for (change, named, why) in [
            (Resources { cpu_quota: Some(500), ..none() }, "cpu.quota \"500\"", "1000 microseconds"),
            (Resources { cpu_period: Some(2_000_000), ..none() }, "cpu.period", "between 1000 and 1000000"),
            (Resources { hugepages: vec![page("3MB")], ..none() }, "hugepageLimits", "huge pages"),
            (Resources { hugepages: vec![page("../x")], ..none() }, "hugepageLimits", "is not a page size"),
            (Resources { cpuset_cpus: "0;1".to_owned(), ..none() }, "cpu.cpus", "is not a list"),
            // On v1 the file is refused whatever its name is.
            (Resources { unified: file("../memory.max"), ..none() }, "unified", ""),
            (Resources { unified: file("cgroup.kill"), ..none() }, "unified", ""),
        ] {
            let refused = engine.update_resources(&id, change.clone()).await.unwrap_err();
            let text = berth_types::error::chain(&refused);
            assert!(text.contains(named) && text.contains(why), "{change:?}: {text}");
            assert_eq!(engine.container(id.as_str()).unwrap().resources, before);
        }
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

/// contract 28
#[test]
pub(crate) fn less_memory_than_is_used_is_refused_and_what_can_be_given_back_is() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("shrunk")).await.unwrap();
        // Some 12 MiB that cannot be given back, and 16 MiB of pages of a file that can.
        let text = "seq 1 2000000 > /file; cat /file > /file2; x=$(seq 1 1200000); touch /tmp/full; sleep 1000; echo $x";
        let mut config = script("c", text);
        config.resources.memory_limit = Some(256 << 20);
        let id = started(&engine, &pod, config).await;
        let there = ["sh", "-c", "until ls /tmp/full >/dev/null 2>&1; do sleep 0.05; done"].map(str::to_owned);
        engine.exec_sync(&id, there.to_vec(), None).await.unwrap();
        let limit = || engine.container(id.as_str()).unwrap().resources.memory_limit;
        let to = |limit: i64| Resources { memory_limit: Some(limit), ..Resources::default() };
        let refused = engine.update_resources(&id, to(1 << 20)).await.unwrap_err();
        let text = berth_types::error::chain(&refused);
        assert!(text.contains("memory.limit \"1048576\": is less than the group uses now"), "{text}");
        assert_eq!(limit(), Some(256 << 20), "what is in force is unchanged");
        engine.update_resources(&id, to(128 << 20)).await.unwrap();
        assert_eq!(limit(), Some(128 << 20));
        let stats = engine.stats_of(engine.container(id.as_str()).unwrap()).await.unwrap().unwrap();
        assert_eq!(stats.usage.memory.unwrap().limit, Some(128 << 20), "the kernel has it too");
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

/// The limits of a pod as a whole, where Berth makes its group; changes build on each other, also after a restart.
#[test]
pub(crate) fn a_pod_is_resized_and_stays_so_under_the_next_daemon() {
    require_root!();
    let mut world = World::new();
    let mut engine = world.with_image();
    let pod = world.run(async {
        let pod = engine.run_sandbox(sandbox("wide")).await.unwrap();
        let change = Resources { cpu_quota: Some(30_000), ..Resources::default() };
        engine.update_sandbox_resources(&pod, change).await.unwrap();
        pod
    });
    let group = engine.sandbox(pod.as_str()).unwrap().cgroup.clone();
    let quota = || cpu_file(&group, "cpu.cfs_quota_us", "cpu.max");
    assert!(quota().starts_with("30000"), "{}", quota());
    world.kill(engine);
    engine = world.open();
    world.run(async {
        let change = Resources { cpu_period: Some(50_000), ..Resources::default() };
        let view = engine.sandbox(pod.as_str()).unwrap();
        assert_eq!(view.state, State::Ready, "{}", view.message);
        engine.update_sandbox_resources(&pod, change).await.unwrap();
        assert!(["30000", "30000 50000"].contains(&quota().as_str()), "{}", quota());
        let refused = Resources { cpu_quota: Some(1), ..Resources::default() };
        assert!(engine.update_sandbox_resources(&pod, refused).await.is_err());
        assert!(quota().starts_with("30000"), "{}", quota());
        // The same request for the pod still finds it.
        assert_eq!(engine.run_sandbox(sandbox("wide")).await.unwrap(), pod);
        engine.stop_sandbox(&pod).await.unwrap();
        let late = engine.update_sandbox_resources(&pod, Resources::default()).await.unwrap_err();
        assert!(berth_types::error::chain(&late).contains("not ready"), "{late}");
        engine.remove_sandbox(&pod).await.unwrap();
        // A group of the caller's is the caller's.
        let mut config = sandbox("given");
        config.cgroup_parent = Some(match engine.cgroup_driver() {
            Driver::Cgroupfs => format!("{}/given", world.config.cgroup_root),
            Driver::Systemd => world.config.cgroup_slice.replace(".slice", "-given.slice"),
        });
        let given = engine.run_sandbox(config).await.unwrap();
        let change = Resources { cpu_quota: Some(30_000), ..Resources::default() };
        engine.update_sandbox_resources(&given, change).await.unwrap();
        engine.remove_sandbox(&given).await.unwrap();
    });
    world.finish(engine);
}
