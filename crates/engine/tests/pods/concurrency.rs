//! Many at once.

use berth_testkit::require_root;

use berth_engine::model::Resources;

use crate::harness::{WAITS, World, ended, sandbox, script, started};

#[test]
fn sixteen_pods_at_once_come_and_go() {
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

#[test]
fn changes_of_limits_at_once_are_all_made() {
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
fn the_same_request_from_many_is_one() {
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
