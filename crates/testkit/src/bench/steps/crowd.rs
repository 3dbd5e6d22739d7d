//! A pod beside many others, and what the daemon needs for many.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{SETTLE, end, hardening, lifecycle, mebibytes, start};
use crate::bench::pod::Network;
use crate::bench::samples::{Samples, Unit};
use crate::bench::{Options, Target, machine};
use crate::cri::Client;
use crate::cri::api::{ListContainerStatsRequest, ListPodSandboxStatsRequest};

/// Clients that start and end the crowd.
const CLIENTS: usize = 16;
/// How long a daemon rests before its memory is that of one at rest.
const REST: Duration = Duration::from_secs(45);
/// How often its memory is looked at while it works.
const LOOK: Duration = Duration::from_millis(100);
/// Calls of a list.
const CALLS: usize = 20;

/// Every size of `--crowd` in turn.
pub(super) async fn run(
    client: &mut Client,
    target: &Target,
    options: &Options,
    samples: &mut Samples,
) -> Result<()> {
    let daemon = machine::owner(&target.endpoint).context("whose socket it is")?;
    up_and_down(client, target, " alone", options, samples).await?;
    for size in &options.crowd {
        let (pods, coming) = watched(daemon, start(client, *size, CLIENTS, hardening(options))).await?;
        up_and_down(client, target, &format!(" beside {size}"), options, samples).await?;
        lists(client, *size, samples).await?;
        let (_, going) = watched(daemon, end(client, pods, CLIENTS)).await?;
        let most = coming.max(going);
        samples.value(&format!("daemon memory, {size} come and go"), Unit::Mebibytes, mebibytes(most));
    }
    tokio::time::sleep(REST).await;
    let rests = machine::pss(daemon).context("the daemon's memory")?;
    samples.value("daemon memory at rest after", Unit::Mebibytes, mebibytes(rests));
    Ok(())
}

async fn up_and_down(
    client: &mut Client,
    target: &Target,
    place: &str,
    options: &Options,
    samples: &mut Samples,
) -> Result<()> {
    tokio::time::sleep(SETTLE).await;
    for network in [Network::Host, Network::Pod] {
        lifecycle(client, target, (network, place), options, samples).await?;
    }
    Ok(())
}

/// The statistics of so many pods.
pub(super) async fn lists(client: &mut Client, size: usize, samples: &mut Samples) -> Result<()> {
    for _ in 0..CALLS {
        let begin = Instant::now();
        client.runtime.list_container_stats(ListContainerStatsRequest::default()).await?;
        samples.time(&format!("ListContainerStats, {size} pods"), begin.elapsed());
        let begin = Instant::now();
        // An older build may not have it.
        if client.runtime.list_pod_sandbox_stats(ListPodSandboxStatsRequest::default()).await.is_ok() {
            samples.time(&format!("ListPodSandboxStats, {size} pods"), begin.elapsed());
        }
    }
    Ok(())
}

/// Does it, and says how much memory the daemon had at most meanwhile, in KiB.
pub(super) async fn watched<T>(daemon: u32, work: impl Future<Output = Result<T>>) -> Result<(T, u64)> {
    let mut work = std::pin::pin!(work);
    let mut most = 0;
    loop {
        tokio::select! {
            done = &mut work => return Ok((done?, most)),
            () = tokio::time::sleep(LOOK) => most = most.max(machine::pss(daemon).unwrap_or(0)),
        }
    }
}
