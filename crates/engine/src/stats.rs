//! What pods and containers use.
//!
//! ```text
//! a call -> the samples that are young enough -> the answer
//!              | others are read, all in one go, by one caller at a time
//! a task, while somebody asks: reads everything that runs once in TICK
//! ```
//!
//! So a list of many pods answers from what was read in the background, at most `OLDEST` ago, and a caller that asks
//! twice a second apart sees two different moments. Rates come from two samples of one group. Writable layers are
//! measured by the image store, a few at a time and never in a call. Nothing runs while nobody asks.

mod metrics;
mod read;
mod samples;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use berth_sys::netlink::counters::Counters;
use berth_types::lifecycle::{container, sandbox};
use berth_types::{ContainerId, SandboxId};

use crate::Engine;
use crate::error::EngineError;
use crate::host::clock;
use crate::model::{ContainerView, SandboxView};
use crate::shared::Shared;
use read::{Ask, Taken};
use samples::Samples;

pub use berth_sys::cgroup::{
    BlockIo, Details, HugeUse, MemoryDetails, MemoryStats, Pids, Pressure, Stall, Throttling,
};
pub use berth_sys::netlink::counters::Counters as InterfaceCounters;
pub use berth_sys::process::OpenFiles;
pub use metrics::{ContainerMetrics, Filesystem, Metrics, PodMetrics};

/// How often everything that runs is read while somebody asks.
const TICK: Duration = Duration::from_secs(10);
/// The age at which a sample is read again in a call: only when the task does not keep up.
const OLDEST: Duration = Duration::from_secs(15);
/// For so long after it was first given a sample is given again; then it is read anew.
const AGAIN: Duration = Duration::from_millis(900);
/// So long after the last call the task goes on.
const ASKED: Duration = Duration::from_secs(120);
/// The age at which a writable layer is measured again.
const LAYER_FRESH: Duration = Duration::from_secs(10);

/// What a group used at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// When this was read (nanoseconds since 1970).
    pub at: i64,
    /// Processor time used, in nanoseconds.
    pub cpu_usage_ns: Option<u64>,
    /// Nanoseconds of processor time per second between the last two samples; none before there are two.
    pub cpu_nano_cores: Option<u64>,
    /// Memory.
    pub memory: Option<MemoryStats>,
    /// Time lost waiting for the processor (v2 hierarchies).
    pub cpu_pressure: Option<Pressure>,
    /// Time lost waiting for memory (v2 hierarchies).
    pub memory_pressure: Option<Pressure>,
    /// Time lost waiting for block devices (v2 hierarchies).
    pub io_pressure: Option<Pressure>,
    /// When this was read, by the clock that is never set.
    taken: Option<Instant>,
}

/// What a container uses.
#[derive(Debug, Clone)]
pub struct ContainerStats {
    /// Which.
    pub container: Arc<ContainerView>,
    /// What its group uses.
    pub usage: Usage,
    /// Its writable layer as it was measured last. None before the first time.
    pub writable_layer: Option<LayerUsage>,
}

/// What a writable layer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerUsage {
    /// When it was measured (nanoseconds since 1970).
    pub at: i64,
    /// Bytes.
    pub bytes: u64,
    /// Files, directories and links.
    pub inodes: u64,
}

/// What a pod uses.
#[derive(Debug, Clone)]
pub struct PodStats {
    /// Which.
    pub sandbox: Arc<SandboxView>,
    /// What the group uses that its containers are in. None while there is no such group.
    pub usage: Option<Usage>,
    /// Its processes and threads.
    pub pids: Option<u64>,
    /// The counters of its network interfaces, the default one first. None with the host's network.
    pub network: Option<Network>,
    /// Its containers that run.
    pub containers: Vec<ContainerStats>,
}

/// What a pod sent and received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// When this was read (nanoseconds since 1970).
    pub at: i64,
    /// Each interface but loopback, the default one first.
    pub interfaces: Vec<Counters>,
}

/// A sample of a pod.
#[derive(Debug, Clone, Default)]
struct PodSample {
    usage: Option<Usage>,
    pids: Option<u64>,
    network: Option<Network>,
}

/// What was sampled.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    /// Held by the one that reads.
    reading: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    containers: Samples<ContainerId, Usage>,
    pods: Samples<SandboxId, PodSample>,
    /// Whether the task runs.
    ticking: bool,
}

impl Sampler {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// What those of `containers` use that run. One that has ended since is left out, and so is one whose files
    /// cannot be read: the others are still listed.
    pub async fn stats(&self, containers: Vec<Arc<ContainerView>>) -> Vec<ContainerStats> {
        let ask = Ask { containers: containers.into_iter().filter(|c| runs(c)).collect(), pods: Vec::new() };
        let taken = self.shared.sampled(&ask).await;
        let taken = taken.unwrap_or_else(|error| {
            tracing::debug!(%error, "failed to read statistics");
            Taken::default()
        });
        self.with_layers(&ask.containers, &taken.containers)
    }

    /// What a container uses; None when it does not run.
    ///
    /// # Errors
    /// Its files cannot be read although it still runs.
    pub async fn stats_of(
        &self,
        container: Arc<ContainerView>,
    ) -> Result<Option<ContainerStats>, EngineError> {
        let ask = Ask { containers: vec![container], pods: Vec::new() };
        if !runs(&ask.containers[0]) {
            return Ok(None);
        }
        let taken = self.shared.sampled(&ask).await?;
        if let Some(failure) = taken.failure {
            return Err(failure);
        }
        Ok(self.with_layers(&ask.containers, &taken.containers).pop())
    }

    /// What those of `sandboxes` use that are ready, with their containers. One that has ended since is left out.
    ///
    /// # Errors
    /// Nothing at all can be read.
    pub async fn pod_stats(&self, sandboxes: Vec<Arc<SandboxView>>) -> Result<Vec<PodStats>, EngineError> {
        let pods: Vec<_> = sandboxes.into_iter().filter(|pod| pod.state == sandbox::State::Ready).collect();
        let containers = pods.iter().flat_map(|pod| &pod.containers).filter(|c| runs(c)).cloned().collect();
        let ask = Ask { containers, pods };
        let mut taken = self.shared.sampled(&ask).await?;
        let stats = |sandbox: Arc<SandboxView>| {
            let sample = taken.pods.remove(&sandbox.id)?;
            let PodSample { usage, pids, network } = sample;
            let containers: Vec<_> = sandbox.containers.iter().filter(|c| runs(c)).cloned().collect();
            let containers = self.with_layers(&containers, &taken.containers);
            Some(PodStats { sandbox, usage, pids, network, containers })
        };
        Ok(ask.pods.into_iter().filter_map(stats).collect())
    }

    fn with_layers(
        &self,
        containers: &[Arc<ContainerView>],
        usage: &HashMap<ContainerId, Usage>,
    ) -> Vec<ContainerStats> {
        let stats = |container: &Arc<ContainerView>| {
            let usage = *usage.get(&container.id)?;
            let layer = self.images().last_usage(&container.id, LAYER_FRESH);
            let writable_layer = layer.map(|layer| LayerUsage {
                at: clock::now() - i64::try_from(layer.age.as_nanos()).unwrap_or(0),
                bytes: layer.usage.bytes,
                inodes: layer.usage.inodes,
            });
            Some(ContainerStats { container: Arc::clone(container), usage, writable_layer })
        };
        containers.iter().filter_map(stats).collect()
    }
}

/// Whether a container has processes of its program.
fn runs(container: &ContainerView) -> bool {
    matches!(container.state, container::State::Running | container::State::Stopping { .. })
}

impl Shared {
    /// Samples of everything asked for: those that are young enough, and the others read now.
    async fn sampled(self: &Arc<Self>, ask: &Ask) -> Result<Taken, EngineError> {
        self.keep_sampling(ask);
        let (mut taken, mut left) = self.stats.young(ask, Instant::now());
        if left.is_empty() {
            return Ok(taken);
        }
        let _one_reads = self.stats.reading.lock().await;
        // The one before may have read the same.
        let (more, still) = self.stats.young(&left, Instant::now());
        taken.add(more);
        left = still;
        if !left.is_empty() {
            taken.add(self.read(left, Given::Now).await?);
        }
        Ok(taken)
    }

    /// Reads, and keeps what was read.
    async fn read(self: &Arc<Self>, ask: Ask, given: Given) -> Result<Taken, EngineError> {
        let shared = Arc::clone(self);
        Shared::blocking(move || {
            let raw = read::all(&shared, ask);
            Ok(shared.stats.keep(raw, given, Instant::now()))
        })
        .await
    }

    /// Notes that somebody asked, and starts the task that reads in the background unless it runs.
    fn keep_sampling(self: &Arc<Self>, ask: &Ask) {
        let now = Instant::now();
        let mut known = self.stats.known();
        known.containers.asked(now);
        if !ask.pods.is_empty() {
            known.pods.asked(now);
        }
        if !std::mem::replace(&mut known.ticking, true) {
            tokio::spawn(tick(Arc::downgrade(self)));
        }
    }
}

/// Reads everything that runs, for as long as somebody asks.
async fn tick(shared: std::sync::Weak<Shared>) {
    loop {
        tokio::time::sleep(TICK).await;
        let Some(shared) = shared.upgrade() else { return };
        let now = Instant::now();
        let (containers, pods) = {
            let mut known = shared.stats.known();
            if !known.containers.wanted(now, ASKED) {
                *known = Known::default();
                return;
            }
            (true, known.pods.wanted(now, ASKED))
        };
        let ask = shared.running(containers, pods);
        let _one_reads = shared.stats.reading.lock().await;
        let due = shared.stats.due(ask, Instant::now());
        if let Err(error) = shared.read(due, Given::Later).await {
            tracing::debug!(%error, "failed to read statistics");
        }
    }
}

impl Shared {
    /// What runs now, whoever owns it.
    fn running(&self, containers: bool, pods: bool) -> Ask {
        let all = self.views.sandboxes(None);
        let of = all.iter().flat_map(|pod| &pod.containers).filter(|c| containers && runs(c));
        let containers = of.cloned().collect();
        let pods = all.into_iter().filter(|pod| pods && pod.state == sandbox::State::Ready).collect();
        Ask { containers, pods }
    }
}

/// Whether a sample is given to a caller as it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    Now,
    Later,
}

impl Sampler {
    /// The samples that may be given now, and what has to be read.
    fn young(&self, ask: &Ask, now: Instant) -> (Taken, Ask) {
        let mut known = self.known();
        let (mut taken, mut left) = (Taken::default(), Ask::default());
        for container in &ask.containers {
            match known.containers.give(&container.id, now) {
                Some(usage) => drop(taken.containers.insert(container.id.clone(), usage)),
                None => left.containers.push(Arc::clone(container)),
            }
        }
        for pod in &ask.pods {
            match known.pods.give(&pod.id, now) {
                Some(sample) => drop(taken.pods.insert(pod.id.clone(), sample)),
                None => left.pods.push(Arc::clone(pod)),
            }
        }
        (taken, left)
    }

    /// What of `ask` was not read in this tick yet. Samples of what is gone are dropped.
    fn due(&self, mut ask: Ask, now: Instant) -> Ask {
        let mut known = self.known();
        let ids: Vec<&ContainerId> = ask.containers.iter().map(|c| &c.id).collect();
        known.containers.retain(&ids);
        let ids: Vec<&SandboxId> = ask.pods.iter().map(|pod| &pod.id).collect();
        known.pods.retain(&ids);
        ask.containers.retain(|container| known.containers.is_due(&container.id, now));
        ask.pods.retain(|pod| known.pods.is_due(&pod.id, now));
        ask
    }

    /// Keeps what was read, with the rates that follow from the samples before.
    fn keep(&self, raw: Taken, given: Given, now: Instant) -> Taken {
        let mut known = self.known();
        let mut taken = Taken { failure: raw.failure, ..Taken::default() };
        for (id, mut usage) in raw.containers {
            usage.cpu_nano_cores = known.containers.last(&id).and_then(|before| rate(before, &usage));
            known.containers.put(id.clone(), usage, now, given == Given::Now);
            taken.containers.insert(id, usage);
        }
        for (id, mut sample) in raw.pods {
            let before = known.pods.last(&id).and_then(|before| before.usage);
            if let (Some(before), Some(usage)) = (before, &mut sample.usage) {
                usage.cpu_nano_cores = rate(&before, usage);
            }
            known.pods.put(id.clone(), sample.clone(), now, given == Given::Now);
            taken.pods.insert(id, sample);
        }
        taken
    }
}

/// The shortest time between two samples that gives a rate. The kernel counts in ticks of some milliseconds.
const SHORTEST: Duration = Duration::from_millis(100);

/// Nanoseconds of processor time per second between two samples. None when the counter went back.
fn rate(before: &Usage, after: &Usage) -> Option<u64> {
    let elapsed = after.taken?.checked_duration_since(before.taken?).filter(|long| *long >= SHORTEST)?;
    let used = after.cpu_usage_ns?.checked_sub(before.cpu_usage_ns?)?;
    u64::try_from(u128::from(used) * 1_000_000_000 / elapsed.as_nanos()).ok()
}
