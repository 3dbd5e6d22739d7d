//! Many at once.

use berth_testkit::Rng;
use berth_testkit::require_root;

use std::time::Duration;

use berth_engine::Engine;
use berth_engine::model::Resources;

use crate::harness::{WAITS, World, ended, sandbox, script, started};

#[test]
pub(crate) fn sixteen_pods_at_once_come_and_go() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    let before = world.traces();
    world.run(async {
        let mut pods = tokio::task::JoinSet::new();
        for number in 0..16 {
            let engine = engine.clone();
            pods.spawn(async move {
                let pod = engine.run_sandbox(sandbox(&format!("pod-{number}"))).await.unwrap();
                let id = started(&engine, &pod, script("main", &format!("exit {number}"))).await;
                assert_eq!(ended(&engine, &id).await.code, number);
                engine.remove_sandbox(&pod).await.unwrap();
            });
        }
        while let Some(done) = pods.join_next().await {
            done.unwrap();
        }
        assert!(engine.sandboxes(None).is_empty());
    });
    assert_eq!(world.traces(), before);
    world.finish(engine);
}

/// One of many callers who know nothing of each other, as a kubelet's workers that repeat what took too long.
async fn meddle(engine: Engine, seed: u64, shims: bool) {
    let mut rng = Rng::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for _ in 0..40 {
        let pods = engine.sandboxes(None);
        let containers = engine.containers(None);
        let pod = (!pods.is_empty()).then(|| pods[rng.below(pods.len())].clone());
        let container = (!containers.is_empty()).then(|| containers[rng.below(containers.len())].clone());
        let attempt = u32::try_from(rng.below(3)).unwrap();
        // A refusal is as valid as a success: only panics, hangs and leaks are wrong.
        match (rng.below(10), pod, container) {
            (0 | 1, _, _) | (_, None, _) => {
                let mut config = sandbox("meddled");
                config.metadata.attempt = attempt;
                drop(engine.run_sandbox(config).await);
            }
            (2 | 3, Some(pod), _) | (_, Some(pod), None) => {
                let mut config = script("c", "trap 'exit 7' TERM; for i in 1 2 3; do sleep 0.05; done");
                config.metadata.attempt = attempt;
                if let Ok(id) = engine.create_container(&pod.id, config).await {
                    drop(engine.start_container(&id).await);
                }
            }
            (4, _, Some(container)) => drop(engine.start_container(&container.id).await),
            (5, _, Some(container)) => {
                let argv = vec!["sleep".to_owned(), "0.1".to_owned()];
                drop(engine.exec_sync(&container.id, argv, Some(Duration::from_millis(50))).await);
            }
            (6, _, Some(container)) => {
                let grace = Duration::from_millis(rng.below(200) as u64);
                drop(engine.stop_container(&container.id, grace).await);
            }
            (7, _, Some(container)) => drop(engine.remove_container(&container.id).await),
            (8, Some(pod), _) => match pod.shim_pid.filter(|_| shims) {
                Some(pid) => {
                    drop(std::process::Command::new("kill").args(["-9", &pid.to_string()]).output());
                }
                None => drop(engine.stop_sandbox(&pod.id).await),
            },
            (_, Some(pod), _) => drop(engine.remove_sandbox(&pod.id).await),
        }
    }
}

#[test]
pub(crate) fn callers_who_know_nothing_of_each_other_leave_nothing_behind() {
    require_root!();
    for shims in [false, true] {
        let mut world = World::new();
        let engine = world.with_image();
        let before = world.traces();
        world.run(async {
            let meddling: Vec<_> =
                (1..=8).map(|seed| tokio::spawn(meddle(engine.clone(), seed, shims))).collect();
            for one in meddling {
                one.await.unwrap();
            }
            for pod in engine.sandboxes(None) {
                engine.remove_sandbox(&pod.id).await.unwrap();
            }
            assert!(engine.sandboxes(None).is_empty() && engine.containers(None).is_empty());
            // The owners are alive: every name can be used again.
            for attempt in 0..3 {
                let mut config = sandbox("meddled");
                config.metadata.attempt = attempt;
                let id = engine.run_sandbox(config).await.unwrap();
                engine.remove_sandbox(&id).await.unwrap();
            }
        });
        assert_eq!(world.traces(), before);
        world.finish(engine);
    }
}

#[test]
pub(crate) fn changes_of_limits_at_once_are_all_made() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("resized")).await.unwrap();
        let id = started(&engine, &pod, script("c", WAITS)).await;
        let changes = [
            Resources { cpu_shares: Some(512), ..Resources::default() },
            Resources { memory_limit: Some(64 << 20), ..Resources::default() },
            Resources { cpu_period: Some(50_000), cpu_quota: Some(25_000), ..Resources::default() },
            Resources { memory_limit: Some(128 << 20), ..Resources::default() },
        ];
        let asked = changes.into_iter().map(|change| engine.update_resources(&id, change));
        for result in futures_util::future::join_all(asked).await {
            result.unwrap();
        }
        let now = engine.container(id.as_str()).unwrap().resources.clone();
        assert_eq!((now.cpu_shares, now.cpu_period, now.cpu_quota), (Some(512), Some(50_000), Some(25_000)));
        assert_eq!(now.memory_limit, Some(128 << 20), "in the order that they were asked for");
        // A limit below what is used is refused, and nothing is changed.
        let small = Resources { memory_limit: Some(4096), ..Resources::default() };
        engine.update_resources(&id, small).await.unwrap_err();
        assert_eq!(engine.container(id.as_str()).unwrap().resources, now);
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

#[test]
pub(crate) fn the_same_request_from_many_is_one() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let asked = (0..8).map(|_| engine.run_sandbox(sandbox("one")));
        let ids = futures_util::future::try_join_all(asked).await.unwrap();
        assert!(ids.iter().all(|id| *id == ids[0]));
        let asked = (0..8).map(|_| engine.create_container(&ids[0], script("c", "exit 0")));
        let containers = futures_util::future::try_join_all(asked).await.unwrap();
        assert!(containers.iter().all(|id| *id == containers[0]));
        let starts = (0..8).map(|_| engine.start_container(&containers[0]));
        // Those that come after the start are refused, in whatever order they come.
        let started = futures_util::future::join_all(starts).await;
        assert!(started.iter().any(Result::is_ok));
        ended(&engine, &containers[0]).await;
        let removed = (0..4).map(|_| engine.remove_sandbox(&ids[0]));
        for result in futures_util::future::join_all(removed).await {
            result.unwrap();
        }
    });
    world.finish(engine);
}
