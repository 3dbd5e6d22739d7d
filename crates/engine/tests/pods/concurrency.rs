//! Many at once.

use berth_testkit::require_root;

use crate::harness::{World, ended, sandbox, script, started};

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
