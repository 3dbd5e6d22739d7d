//! What is measured, step by step.

mod crowd;
mod local;
mod streams;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::task::JoinSet;

use super::machine;
use super::pod::{self, Calls, Hardening, IMAGE, Network, Pod};
use super::samples::{Samples, Unit};
use super::{Options, Step, Target};
use crate::Daemon;
use crate::cni;
use crate::cri::Client;
use crate::cri::api;

/// Pods of the steps that need many.
const MANY: usize = 50;

/// How long memory may settle before it is measured.
const SETTLE: Duration = Duration::from_secs(2);

/// Runs one step on one runtime.
pub(super) async fn run(
    step: Step,
    target: &mut Target,
    options: &Options,
    samples: &mut Samples,
) -> Result<()> {
    let mut client = Client::connect(&target.endpoint).await?;
    client.ensure_image(IMAGE).await.context("pull the pods' image")?;
    let hardening = hardening(options);
    let done = match step {
        Step::Host => lifecycle(&mut client, target, (Network::Host, ""), options, samples).await,
        Step::Lifecycle => lifecycle(&mut client, target, (Network::Pod, ""), options, samples).await,
        Step::Users => lifecycle(&mut client, target, (Network::PodOfUsers, ""), options, samples).await,
        Step::Throughput => throughput(&client, hardening, samples).await,
        Step::Exec => exec(&mut client, hardening, samples).await,
        Step::List => list(&client, hardening, samples).await,
        Step::Memory => memory(&client, target, hardening, samples).await,
        Step::Pull => pull(&mut client, target, samples).await,
        Step::Restart => restart(&client, target, hardening, samples).await,
        Step::Streams => streams::run(&mut client, target, options, samples).await,
        Step::Crowd => crowd::run(&mut client, target, options, samples).await,
        Step::Local => local::run(target, options, samples),
    };
    if done.is_err() {
        // The next run must not find this one's pods; the first error is the one to report.
        pod::sweep(&mut client).await.ok();
    }
    std::fs::remove_dir_all(pod::logs()).ok();
    done
}

/// What the plugins of a pod's network take by themselves.
pub(super) fn plugins(network: &cni::Network, rounds: usize, samples: &mut Samples) -> Result<()> {
    for _ in 0..rounds {
        let took = network.alone().context("run the plugins alone")?;
        samples.time("plugins alone, ADD", took.add);
        samples.time("plugins alone, DEL", took.del);
    }
    Ok(())
}

fn hardening(options: &Options) -> Hardening {
    if options.plain { Hardening::Plain } else { Hardening::Hardened }
}

fn sum(calls: &Calls) -> Duration {
    calls.iter().map(|(_, took)| *took).sum()
}

/// Pods one after the other, in this network at this place.
async fn lifecycle(
    client: &mut Client,
    target: &Target,
    (network, place): (Network, &str),
    options: &Options,
    samples: &mut Samples,
) -> Result<()> {
    const WARM_UP: usize = 2;
    let word = format!("{}{place}", network.word());
    let mut ids = HashSet::new();
    for number in 0..WARM_UP + options.pods {
        let mut pod = Pod::new(network, hardening(options));
        let up = pod.up(client).await?;
        let down = pod.down(client).await?;
        if number < WARM_UP {
            continue;
        }
        samples.time(&format!("pod up, {word}"), sum(&up));
        for (call, took) in &up {
            samples.detail(&format!("  {call}, {word}"), *took);
        }
        samples.time(&format!("pod down, {word}"), sum(&down));
        for (call, took) in &down {
            samples.detail(&format!("  {call}, {word}"), *took);
        }
        ids.insert(pod.id);
    }
    match &target.daemon {
        Some(daemon) if options.profile => stages(daemon, &ids, &word, samples),
        _ => Ok(()),
    }
}

/// What the daemon itself says of the stages of these pods' lives.
fn stages(daemon: &Daemon, ids: &HashSet<String>, word: &str, samples: &mut Samples) -> Result<()> {
    let output = daemon.command(&["stages"]).output().context("run berth stages")?;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let work: Work = serde_json::from_str(line).context("berth stages does not print JSON")?;
        if !ids.contains(&work.sandbox) {
            continue;
        }
        for (stage, nanoseconds) in work.stages {
            let name = format!("    {}: {stage}, {word}", work.verb);
            samples.detail(&name, Duration::from_nanos(nanoseconds));
        }
    }
    Ok(())
}

/// One piece of work with its stages, as `berth stages` prints it.
#[derive(serde::Deserialize)]
struct Work {
    sandbox: String,
    verb: String,
    stages: Vec<(String, u64)>,
}

/// Starts `count` pods with so many clients at a time.
async fn start(client: &Client, count: usize, clients: usize, hardening: Hardening) -> Result<Vec<Pod>> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (mut client, next) = (client.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            let mut pods = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < count {
                let mut pod = Pod::new(Network::Pod, hardening);
                pod.up(&mut client).await?;
                pods.push(pod);
            }
            anyhow::Ok(pods)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.extend(done??);
    }
    Ok(all)
}

/// Stops and removes pods with so many clients at a time.
async fn end(client: &Client, pods: Vec<Pod>, clients: usize) -> Result<()> {
    let (pods, next) = (Arc::new(pods), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (mut client, pods, next) = (client.clone(), Arc::clone(&pods), Arc::clone(&next));
        tasks.spawn(async move {
            while let Some(pod) = pods.get(next.fetch_add(1, Ordering::Relaxed)) {
                pod.down(&mut client).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// Pods per second, as an exact small number.
#[allow(clippy::cast_precision_loss, reason = "counts of pods are small")]
fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

async fn throughput(client: &Client, hardening: Hardening, samples: &mut Samples) -> Result<()> {
    for clients in [1, 4, 16, 50] {
        let begin = Instant::now();
        let pods = start(client, MANY, clients, hardening).await?;
        let up = begin.elapsed();
        let begin = Instant::now();
        end(client, pods, clients).await?;
        let down = begin.elapsed();
        samples.value(&format!("pods up, {clients} clients"), Unit::PerSecond, per_second(MANY, up));
        samples.value(&format!("pods down, {clients} clients"), Unit::PerSecond, per_second(MANY, down));
    }
    Ok(())
}

async fn exec(client: &mut Client, hardening: Hardening, samples: &mut Samples) -> Result<()> {
    let mut pod = Pod::new(Network::Pod, hardening);
    pod.up(client).await?;
    for number in 0..60 {
        let request = api::ExecSyncRequest {
            container_id: pod.container.clone(),
            cmd: ["/bin/busybox", "echo", "ok"].map(str::to_owned).to_vec(),
            timeout: 30,
        };
        let begin = Instant::now();
        let answer = client.runtime.exec_sync(request).await.context("ExecSync")?.into_inner();
        let took = begin.elapsed();
        if answer.exit_code != 0 || &answer.stdout[..] != b"ok\n" {
            bail!("ExecSync answered exit code {} and {:?}", answer.exit_code, answer.stdout);
        }
        if number >= 3 {
            samples.time("exec", took);
        }
    }
    pod.down(client).await?;
    Ok(())
}

async fn list(client: &Client, hardening: Hardening, samples: &mut Samples) -> Result<()> {
    let pods = start(client, MANY, 4, hardening).await?;
    let mut runtime = client.runtime.clone();
    for number in 0..50 {
        let container_id = pods[number % pods.len()].container.clone();
        let begin = Instant::now();
        runtime.list_pod_sandbox(api::ListPodSandboxRequest::default()).await?;
        samples.time("ListPodSandbox, 50 pods", begin.elapsed());
        let begin = Instant::now();
        runtime.list_containers(api::ListContainersRequest::default()).await?;
        samples.time("ListContainers, 50 pods", begin.elapsed());
        let begin = Instant::now();
        runtime.container_status(api::ContainerStatusRequest { container_id, verbose: false }).await?;
        samples.time("ContainerStatus, 50 pods", begin.elapsed());
    }
    crowd::lists(&mut client.clone(), MANY, samples).await?;
    end(client, pods, 4).await
}

/// KiB as MiB.
#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}

async fn memory(
    client: &Client,
    target: &mut Target,
    hardening: Hardening,
    samples: &mut Samples,
) -> Result<()> {
    let mut client = client.clone();
    if let Some(daemon) = &mut target.daemon {
        daemon.stop()?;
        daemon.start()?;
        client = Client::connect(&target.endpoint).await?;
        client.ensure_image(IMAGE).await?;
    }
    let daemon = machine::owner(&target.endpoint).context("whose socket it is")?;
    tokio::time::sleep(SETTLE).await;
    let before = machine::runtime_processes();
    let idle = machine::pss(daemon).context("the daemon's memory")?;
    let pods = start(&client, MANY, 4, hardening).await?;
    tokio::time::sleep(SETTLE).await;
    let loaded = machine::pss(daemon).context("the daemon's memory")?;
    let extra: u64 = machine::runtime_processes()
        .iter()
        .filter(|(pid, _)| !before.contains_key(pid))
        .map(|(_, pss)| *pss)
        .sum();
    samples.value("daemon memory idle", Unit::Mebibytes, mebibytes(idle));
    samples.value("daemon memory with 50 pods", Unit::Mebibytes, mebibytes(loaded));
    samples.value(
        "memory per pod",
        Unit::Mebibytes,
        mebibytes(extra) / per_second(MANY, Duration::from_secs(1)),
    );
    end(&client, pods, 4).await
}

async fn pull(client: &mut Client, target: &Target, samples: &mut Samples) -> Result<()> {
    for tag in ["gzip", "zstd"] {
        let image =
            Some(api::ImageSpec { image: format!("docker.io/bench/usr:{tag}"), ..Default::default() });
        let remove = || api::RemoveImageRequest { image: image.clone() };
        client.images.remove_image(remove()).await.context("RemoveImage")?;
        // Let clean-up that the runtime does later end, and its writes, so that they are not counted
        // to this pull.
        tokio::time::sleep(SETTLE).await;
        rustix::fs::sync();
        let begin = Instant::now();
        let request = api::PullImageRequest { image: image.clone(), ..Default::default() };
        client.images.pull_image(request).await.context("PullImage")?;
        samples.time(&format!("pull {tag}"), begin.elapsed());
        client.images.remove_image(remove()).await.context("RemoveImage")?;
    }
    if let Some(pss) = machine::owner(&target.endpoint).and_then(machine::pss) {
        samples.value("daemon memory after pulls", Unit::Mebibytes, mebibytes(pss));
    }
    Ok(())
}

/// Only for a daemon that this run started.
async fn restart(
    client: &Client,
    target: &mut Target,
    hardening: Hardening,
    samples: &mut Samples,
) -> Result<()> {
    let Some(daemon) = &mut target.daemon else { return Ok(()) };
    let pods = start(client, MANY, 4, hardening).await?;
    for how in ["stop", "kill"] {
        if how == "stop" {
            daemon.stop()?
        } else {
            daemon.kill()?
        }
        let begin = Instant::now();
        daemon.spawn()?;
        let found = first_answer(&target.endpoint, begin).await?;
        samples.time(&format!("answers after {how}, 50 pods"), begin.elapsed());
        if found != MANY {
            bail!("{found} of {MANY} pods are ready after a {how}");
        }
    }
    let client = Client::connect(&target.endpoint).await?;
    end(&client, pods, 4).await
}

/// Waits for the first list, and counts the pods that are ready in it.
async fn first_answer(endpoint: &str, begin: Instant) -> Result<usize> {
    while begin.elapsed() < Duration::from_secs(60) {
        if let Ok(mut client) = Client::connect(endpoint).await
            && let Ok(list) = client.runtime.list_pod_sandbox(api::ListPodSandboxRequest::default()).await
        {
            let ready = i32::from(api::PodSandboxState::SandboxReady);
            return Ok(list.into_inner().items.iter().filter(|pod| pod.state == ready).count());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bail!("no answer within a minute")
}
