//! What pods and containers use, by the real kernel's numbers.

use std::sync::Arc;

use berth_engine::model::{ContainerView, Network};
use berth_engine::stats::{ContainerStats, PodStats};
use berth_engine::{Engine, EngineEvent, NetworkChoice};
use berth_testkit::require_root;
use berth_types::{ContainerId, SandboxId};

use crate::harness::{WAITS, World, ended, sandbox, script, started};

/// Has a few MiB of anonymous memory and keeps a processor busy.
const BUSY: &str = "x=$(seq 1 200000); while :; do :; done";

async fn of(engine: &Engine, id: &ContainerId) -> Option<ContainerStats> {
    engine.stats_of(engine.container(id.as_str()).unwrap()).await.unwrap()
}

async fn of_pod(engine: &Engine, id: &SandboxId) -> Option<PodStats> {
    engine.pod_stats(vec![engine.sandbox(id.as_str()).unwrap()]).await.unwrap().pop()
}

/// Asks until the sample is another one: samples are given again for a second.
async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let mut again = tokio::time::interval(std::time::Duration::from_millis(20));
    loop {
        again.tick().await;
        if let Some(found) = ask().await {
            return found;
        }
    }
}

/// contract 43, 44: only what runs has numbers, they are those of the kernel, and one that has ended is left out.
#[test]
pub(crate) fn only_what_runs_has_numbers_and_a_rate_comes_with_the_second_sample() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("used")).await.unwrap();
        let mut config = script("busy", BUSY);
        config.resources.memory_limit = Some(256 << 20);
        let busy = started(&engine, &pod, config).await;
        let waits = engine.create_container(&pod, script("created", WAITS)).await.unwrap();
        let done = started(&engine, &pod, script("done", "true")).await;
        ended(&engine, &done).await;
        let listed = engine.stats(engine.containers(None)).await;
        assert_eq!(listed.iter().map(|s| &s.container.id).collect::<Vec<_>>(), [&busy]);
        assert!(of(&engine, &waits).await.is_none() && of(&engine, &done).await.is_none());

        let first = &listed[0].usage;
        assert_eq!(first.cpu_nano_cores, None, "there is one sample only");
        let second =
            until(async || of(&engine, &busy).await.filter(|now| now.usage.at > first.at)).await.usage;
        assert!(second.cpu_usage_ns > first.cpu_usage_ns, "{first:?} {second:?}");
        let rate = second.cpu_nano_cores.unwrap();
        assert!(rate > 0 && rate < 16_000_000_000, "{rate}");
        let memory = second.memory.unwrap();
        assert_eq!(memory.limit, Some(256 << 20));
        assert!(memory.working_set <= memory.usage && memory.rss > 0 && memory.page_faults > 0, "{memory:?}");
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

#[test]
pub(crate) fn a_pod_has_the_numbers_of_its_group_its_network_and_its_containers() {
    require_root!();
    let mut world = World::with_network(NetworkChoice::Builtin);
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("whole")).await.unwrap();
        let empty = of_pod(&engine, &pod).await.unwrap();
        assert!(empty.containers.is_empty());
        let interfaces = |stats: &PodStats| stats.network.clone().unwrap().interfaces;
        assert_eq!(interfaces(&empty).iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["eth0"]);

        let first = started(&engine, &pod, script("a", WAITS)).await;
        let second = started(&engine, &pod, script("b", "sleep 1000 & sleep 1000 & wait")).await;
        let all = until(async || of_pod(&engine, &pod).await.filter(|now| now.pids >= Some(4))).await;
        let mut ids: Vec<_> = all.containers.iter().map(|c| c.container.id.clone()).collect();
        ids.sort();
        let mut both = vec![first.clone(), second];
        both.sort();
        assert_eq!(ids, both);
        let parts: u64 = all.containers.iter().map(|c| c.usage.cpu_usage_ns.unwrap()).sum();
        assert!(parts > 0 && all.usage.unwrap().cpu_usage_ns.unwrap() > 0);

        // A packet that the pod sends is counted.
        let sent = |stats: &PodStats| interfaces(stats)[0].tx_packets;
        let before = sent(&all);
        // Refused by the gateway, which is this machine.
        let ask = "wget -q -O - http://$(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p'):1/ || true";
        let out = ["sh", "-c", ask].map(str::to_owned);
        engine.exec_sync(&first, out.to_vec(), None).await.unwrap();
        until(async || of_pod(&engine, &pod).await.filter(|now| sent(now) > before)).await;
        engine.stop_sandbox(&pod).await.unwrap();
        assert!(of_pod(&engine, &pod).await.is_none(), "one that is stopped has none");
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

#[test]
pub(crate) fn a_pod_of_the_hosts_network_has_no_network_of_its_own() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let mut config = sandbox("host");
        config.namespaces.network = Network::Host;
        config.hostname = String::new();
        let pod = engine.run_sandbox(config).await.unwrap();
        started(&engine, &pod, script("a", WAITS)).await;
        let stats = of_pod(&engine, &pod).await.unwrap();
        assert_eq!((stats.network, stats.containers.len()), (None, 1));
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

/// A writable layer is measured in the background, and its time is that of the measurement.
#[test]
pub(crate) fn the_writable_layer_is_never_walked_in_a_call() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("writes")).await.unwrap();
        let begun = berth_engine::now();
        let script_ = "seq 1 30000 > /written; echo done; sleep 1000";
        let id = started(&engine, &pod, script("c", script_)).await;
        let written = until(async || {
            let layer = of(&engine, &id).await?.writable_layer?;
            Some(layer).filter(|layer| layer.bytes > 100_000 && layer.inodes >= 1)
        });
        let layer = written.await;
        assert!(layer.at > begun && layer.at <= berth_engine::now());
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

#[test]
pub(crate) fn metrics_tell_processes_open_files_and_sockets() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("measured")).await.unwrap();
        let id = started(&engine, &pod, script("c", "sleep 1000 & sleep 1000 & wait")).await;
        let all = until(async || {
            let all = engine.metrics(engine.sandboxes(None)).await.unwrap();
            Some(all).filter(|all| all.pods[0].containers.get(&id).is_some_and(|c| c.processes == 3))
        });
        let all = all.await;
        let more = &all.pods[0].containers[&id];
        assert_eq!((more.details.pids.current, more.details.oom_kills), (Some(3), 0));
        assert!(more.open.unwrap().files >= 6 && more.open_files_limit.unwrap() > 0, "{more:?}");
        assert!(more.details.memory.is_some() && more.details.cpu_user_ns.is_some(), "{more:?}");
        assert!(all.filesystem.size > 0 && !all.filesystem.device.is_empty(), "{:?}", all.filesystem);
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

/// contract 49: each event has the pod as it was then, also the last one.
#[test]
pub(crate) fn events_carry_the_pod_of_their_moment() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let mut events = engine.events();
        let begun = berth_engine::now();
        let pod = engine.run_sandbox(sandbox("told")).await.unwrap();
        let id = started(&engine, &pod, script("c", "exit 3")).await;
        ended(&engine, &id).await;
        engine.remove_sandbox(&pod).await.unwrap();
        let (mut states, mut last) = (Vec::new(), begun);
        loop {
            let stamped = events.next().await.unwrap();
            assert!(stamped.at >= last, "events are in the order of their times");
            last = stamped.at;
            let view = stamped.pod.expect("a view");
            assert_eq!(view.id, pod);
            let inside: Option<&Arc<ContainerView>> = view.containers.first();
            match stamped.event {
                EngineEvent::Container { now, .. } => {
                    assert_eq!(inside.map(|c| c.state), Some(now.state), "the pod is that of the event");
                    states.push(format!("{:?}", now.state));
                }
                EngineEvent::ContainerRemoved { container, .. } => {
                    assert_eq!(container, id);
                    states.push("gone".to_owned());
                }
                EngineEvent::SandboxRemoved(_) => break,
                EngineEvent::Sandbox { .. } => {}
                EngineEvent::Resync => panic!("nothing was missed"),
            }
        }
        assert_eq!(states.first().map(String::as_str), Some("Created"), "{states:?}");
        assert!(states.contains(&"Exited".to_owned()) && states.last().unwrap() == "gone", "{states:?}");
    });
    world.finish(engine);
}
