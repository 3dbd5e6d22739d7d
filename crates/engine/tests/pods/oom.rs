//! Containers for which memory runs out, by the real kernel.

use berth_engine::Engine;
use berth_engine::model::{ExitReason, ExitView};
use berth_testkit::require_root;
use berth_types::ContainerId;

use crate::harness::{World, ended, sandbox, script, started};

/// Takes more and more memory.
const GREEDY: &str = "x=0123456789abcdef; while :; do x=$x$x; done";

fn limited(name: &str, text: &str, limit: i64) -> berth_engine::model::ContainerConfig {
    let mut config = script(name, text);
    config.resources.memory_limit = Some(limit);
    config
}

async fn end_of(engine: &Engine, id: &ContainerId) -> ExitView {
    let exit = ended(engine, id).await;
    // contract 22: nothing of it changes after the first status that says EXITED.
    assert_eq!(engine.container(id.as_str()).unwrap().exit.as_ref(), Some(&exit));
    exit
}

/// contract 21, 22
#[test]
pub(crate) fn a_container_over_its_own_limit_is_oom_killed_and_the_limit_is_named() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("greedy")).await.unwrap();
        let id = started(&engine, &pod, limited("c", GREEDY, 16 << 20)).await;
        let exit = end_of(&engine, &id).await;
        assert_eq!((exit.reason, exit.code), (ExitReason::OomKilled, 137), "{exit:?}");
        assert_eq!(exit.message, "memory ran out: the container's limit of 16777216 bytes was met");
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

/// contract 22
#[test]
pub(crate) fn oom_in_the_pods_group_names_the_pod() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let mut config = sandbox("narrow");
        config.resources.memory_limit = Some(24 << 20);
        let pod = engine.run_sandbox(config).await.unwrap();
        let id = started(&engine, &pod, script("c", GREEDY)).await;
        let exit = end_of(&engine, &id).await;
        assert_eq!(exit.reason, ExitReason::OomKilled, "{exit:?}");
        assert_eq!(exit.message, "memory ran out: the limit of 25165824 bytes of the pod's cgroup was met");
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

/// contract 22: what ended by itself was not killed, whatever was killed before.
#[test]
pub(crate) fn oom_of_a_child_is_not_that_of_its_container() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("child")).await.unwrap();
        let fails = format!("({GREEDY}); exit 3");
        let id = started(&engine, &pod, limited("fails", &fails, 16 << 20)).await;
        let exit = end_of(&engine, &id).await;
        assert_eq!((exit.reason, exit.code), (ExitReason::Error, 3), "{exit:?}");
        let said =
            "a process of the container was killed before, since memory ran out: the container's limit";
        assert!(exit.message.starts_with(said), "{exit:?}");

        let works = format!("({GREEDY}); exit 0");
        let id = started(&engine, &pod, limited("works", &works, 16 << 20)).await;
        let exit = end_of(&engine, &id).await;
        assert_eq!((exit.reason, exit.code, exit.message.as_str()), (ExitReason::Completed, 0, ""));

        // A shell that passes on the status of its command, as scripts around a program do.
        let passes = format!("({GREEDY}); exit $?");
        let id = started(&engine, &pod, limited("passes", &passes, 16 << 20)).await;
        assert_eq!(end_of(&engine, &id).await.reason, ExitReason::OomKilled);
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

/// contract 22: status 137 is no proof.
#[test]
pub(crate) fn a_container_killed_on_request_after_oom_of_a_child_is_not_oom_killed() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("stopped")).await.unwrap();
        let text = format!("({GREEDY}); touch /tmp/after; sleep 1000; true");
        let id = started(&engine, &pod, limited("c", &text, 16 << 20)).await;
        let there =
            ["sh", "-c", "until ls /tmp/after >/dev/null 2>&1; do sleep 0.05; done"].map(str::to_owned);
        engine.exec_sync(&id, there.to_vec(), None).await.unwrap();
        engine.stop_container(&id, std::time::Duration::ZERO).await.unwrap();
        let exit = end_of(&engine, &id).await;
        assert_eq!((exit.reason, exit.code), (ExitReason::Error, 137), "{exit:?}");
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

#[test]
pub(crate) fn a_limit_too_small_to_start_is_named() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("tiny")).await.unwrap();
        for limit in [16 << 10, 64 << 10] {
            let config = limited(&format!("c{limit}"), "true", limit);
            let refused = engine.create_container(&pod, config).await.unwrap_err();
            let text = berth_types::error::chain(&refused);
            let named = format!("the memory limit of {limit} bytes is too small to start the container");
            assert!(text.contains(&named), "{text}");
        }
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}
