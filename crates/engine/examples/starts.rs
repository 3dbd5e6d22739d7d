//! How long the stages of a pod's start take: `cargo run --release --example starts [PODS [CLIENTS]]`.
//!
//! Needs root. The pods are hardened ones on the host's network, of the tests' own image.

#[path = "../tests/pods/harness.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "shared with the tests, which use more of it")]
mod harness;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use berth_engine::Engine;
use berth_engine::model::{ContainerConfig, Network, SandboxConfig, SeccompChoice};
use harness::{World, sandbox, script};

fn pod(number: u32) -> SandboxConfig {
    let mut config = sandbox(&format!("pod-{number}"));
    config.namespaces.network = Network::Host;
    config
}

fn hardened() -> ContainerConfig {
    let mut config = script("main", "");
    config.command = vec!["sleep".to_owned(), "1000".to_owned()];
    config.security.seccomp = SeccompChoice::Default;
    config.security.no_new_privs = true;
    config.security.drop_capabilities = vec!["ALL".to_owned()];
    config.security.masked_paths = ["/proc/kcore", "/proc/keys", "/proc/timer_list"].map(Into::into).into();
    config.security.readonly_paths = ["/proc/sys", "/proc/irq", "/proc/bus"].map(Into::into).into();
    config.resources.memory_limit = Some(128 << 20);
    config.resources.cpu_quota = Some(50_000);
    config.resources.cpu_period = Some(100_000);
    config
}

/// Up, an exec, and down: how long each took.
async fn cycle(engine: &Engine, number: u32) -> [Duration; 3] {
    let began = Instant::now();
    let id = engine.run_sandbox(pod(number)).await.expect("the sandbox runs");
    let container = engine.create_container(&id, hardened()).await.expect("the container is created");
    engine.start_container(&container).await.expect("the container starts");
    let up = began.elapsed();
    let began = Instant::now();
    engine.exec_sync(&container, vec!["true".to_owned()], None).await.expect("the command runs");
    let exec = began.elapsed();
    let began = Instant::now();
    engine.stop_sandbox(&id).await.expect("the sandbox stops");
    engine.remove_sandbox(&id).await.expect("the sandbox is removed");
    [up, exec, began.elapsed()]
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[allow(clippy::print_stdout, reason = "a program for people")]
fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<u32>().unwrap_or(50));
    let (pods, clients) = (args.next().unwrap_or(50), args.next().unwrap_or(16));
    let mut world = World::new();
    let engine = world.with_image();
    world.run(cycle(&engine, 0));
    let mut times: [Vec<Duration>; 3] = Default::default();
    for number in 0..pods {
        for (all, one) in times.iter_mut().zip(world.run(cycle(&engine, number))) {
            all.push(one);
        }
    }
    let mut stages: BTreeMap<(&str, &str), Vec<Duration>> = BTreeMap::new();
    for work in engine.stages() {
        stages.entry((work.verb, "total")).or_default().push(work.total);
        for (stage, took) in work.stages {
            stages.entry((work.verb, stage)).or_default().push(took);
        }
    }
    for ((verb, stage), times) in stages {
        println!("{verb:18} {stage:16} {:>8.2?}", median(times));
    }
    for (what, times) in ["pod up", "exec", "stop and remove"].into_iter().zip(times) {
        println!("{what:35} {:>8.2?}", median(times));
    }
    let began = Instant::now();
    world.run(async {
        let clients = (0..clients).map(|client| {
            let engine = engine.clone();
            tokio::spawn(async move {
                for number in 0..pods / clients {
                    cycle(&engine, client * 1000 + number).await;
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.expect("no client fails");
        }
    });
    let rate = f64::from(pods / clients * clients) / began.elapsed().as_secs_f64();
    println!("{clients} clients {rate:>35.1} pods/s");
    let ids: Vec<_> = (0..50)
        .map(|number| {
            world.run(async {
                let id = engine.run_sandbox(pod(number)).await.expect("the sandbox runs");
                let main = engine.create_container(&id, hardened()).await.expect("the container is created");
                engine.start_container(&main).await.expect("the container starts");
                id
            })
        })
        .collect();
    world.kill(engine);
    let began = Instant::now();
    let engine = world.open();
    println!("{:35} {:>8.2?}", "opened with 50 pods", began.elapsed());
    world.run(async {
        for id in ids {
            engine.remove_sandbox(&id).await.expect("the sandbox is removed");
        }
    });
    world.finish(engine);
}
