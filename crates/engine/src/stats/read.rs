//! Reading: what blocks for some microseconds each.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_sys::cgroup::{CgroupPath, MemoryStats, Reader, Stats};
use berth_sys::netlink::counters::{self, Counters};
use berth_types::{ContainerId, SandboxId};

use super::{Network, PodSample, Usage};
use crate::error::EngineError;
use crate::host::clock;
use crate::model::{ContainerView, SandboxView};
use crate::shared::Shared;

/// The time that one kernel has to tell what its containers use.
const KERNEL_LIMIT: Duration = Duration::from_millis(500);
/// The time that all of them have: a sample of everything else waits for it.
const KERNELS_LIMIT: Duration = Duration::from_secs(2);

/// What is to be sampled.
#[derive(Debug, Default)]
pub(super) struct Ask {
    pub(super) containers: Vec<Arc<ContainerView>>,
    pub(super) pods: Vec<Arc<SandboxView>>,
}

impl Ask {
    pub(super) fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.pods.is_empty()
    }
}

/// What was sampled. Of what has ended there is nothing.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) containers: HashMap<ContainerId, Usage>,
    pub(super) pods: HashMap<SandboxId, PodSample>,
    /// The last failure to read something.
    pub(super) failure: Option<EngineError>,
}

impl Taken {
    pub(super) fn add(&mut self, other: Self) {
        self.containers.extend(other.containers);
        self.pods.extend(other.pods);
        self.failure = other.failure.or(self.failure.take());
    }
}

/// Reads all of it. What cannot be read does not hide the rest.
pub(super) fn all(shared: &Shared, ask: Ask) -> Taken {
    let (mut reader, mut taken) = (Reader::default(), Taken::default());
    let mut together: HashMap<SandboxId, Vec<ContainerId>> = HashMap::new();
    for container in ask.containers {
        if container.cgroup.is_empty() {
            together.entry(container.sandbox.clone()).or_default().push(container.id.clone());
        }
        match usage(shared, &container.cgroup, &mut reader) {
            Ok(Some(usage)) => drop(taken.containers.insert(container.id.clone(), usage)),
            // It has ended.
            Ok(None) => {}
            Err(error) => taken.failure = Some(failed("container", container.id.short(), error)),
        }
    }
    kernels(shared, &together, &mut taken);
    for pod in &ask.pods {
        match pod_sample(shared, pod, &mut reader) {
            Ok(sample) => drop(taken.pods.insert(pod.id.clone(), sample)),
            Err(error) => taken.failure = Some(failed("pod sandbox", pod.id.short(), error)),
        }
    }
    networks(&ask.pods, &mut taken);
    taken
}

/// Adds what those use that have a kernel together, without a cgroup to themselves. Of a kernel that does not answer they are listed
/// without.
fn kernels(shared: &Shared, together: &HashMap<SandboxId, Vec<ContainerId>>, taken: &mut Taken) {
    let deadline = Instant::now() + KERNELS_LIMIT;
    for (pod, containers) in together {
        let Ok(view) = shared.views.sandbox(pod.as_str()) else { continue };
        let Ok(handler) = shared.handlers.of(&view.config.handler) else { continue };
        let containers: Vec<&ContainerId> = containers.iter().collect();
        let state = shared.layout.found(pod).runtime();
        let limit = deadline.min(Instant::now() + KERNEL_LIMIT);
        match handler.shares(&state, pod, &containers, limit) {
            Ok(shares) => {
                for (id, share) in shares {
                    if let Some(usage) = taken.containers.get_mut(&id) {
                        usage.cpu_usage_ns = Some(share.cpu_usage_ns);
                        usage.memory = Some(of_share(share.memory));
                    }
                }
            }
            Err(error) => {
                tracing::debug!(sandbox = pod.short(), %error, "a pod's kernel does not tell what is used")
            }
        }
    }
}

/// Nothing more is known of it.
fn of_share(bytes: u64) -> MemoryStats {
    MemoryStats { usage: bytes, working_set: bytes, rss: bytes, ..MemoryStats::default() }
}

fn failed(thing: &str, id: &str, error: EngineError) -> EngineError {
    let chain = berth_types::error::chain(&error);
    tracing::debug!(thing, id, error = chain, "failed to read statistics");
    EngineError::failed(format!("read what {thing} {id} uses"), error)
}

fn usage(shared: &Shared, cgroup: &str, reader: &mut Reader) -> Result<Option<Usage>, EngineError> {
    // One that has no group to itself is listed all the same: it has a writable layer.
    if cgroup.is_empty() {
        return Ok(Some(Usage { at: clock::now(), taken: Some(Instant::now()), ..Usage::default() }));
    }
    let failed = |e| EngineError::failed(format!("read cgroup {cgroup}"), e);
    let path = CgroupPath::new(cgroup).map_err(failed)?;
    let (at, taken) = (clock::now(), Instant::now());
    let Some(stats) = shared.cgroups.open(&path).stats(reader).map_err(failed)? else { return Ok(None) };
    let Stats { cpu_usage_ns, memory, cpu_pressure, memory_pressure, io_pressure } = stats;
    Ok(Some(Usage {
        at,
        taken: Some(taken),
        cpu_usage_ns,
        cpu_nano_cores: None,
        memory,
        cpu_pressure,
        memory_pressure,
        io_pressure,
    }))
}

fn pod_sample(shared: &Shared, pod: &SandboxView, reader: &mut Reader) -> Result<PodSample, EngineError> {
    let usage = usage(shared, &pod.cgroup, reader)?;
    let failed = |e| EngineError::failed(format!("read cgroup {}", pod.cgroup), e);
    let group = shared.cgroups.open(&CgroupPath::new(&pod.cgroup).map_err(failed)?);
    let pids = group.process_count(reader).map_err(failed)?.current;
    Ok(PodSample { usage, pids, network: None })
}

/// Adds what the pods sent and received. One whose namespace is gone is just being stopped.
fn networks(pods: &[Arc<SandboxView>], taken: &mut Taken) {
    let with: Vec<(&SandboxView, &PathBuf)> =
        pods.iter().filter_map(|pod| Some((&**pod, pod.netns.as_ref()?))).collect();
    let paths: Vec<&PathBuf> = with.iter().map(|(_, path)| *path).collect();
    let read = counters::counters(&paths, |number, read| {
        let pod = with[number].0;
        match (read, taken.pods.get_mut(&pod.id)) {
            (Ok(interfaces), Some(sample)) => {
                let interfaces = default_first(interfaces, pod.interface.as_deref());
                sample.network = Some(Network { at: clock::now(), interfaces });
            }
            (Err(error), Some(_)) => {
                tracing::debug!(sandbox = pod.id.short(), %error, "failed to read a pod's network counters");
            }
            (_, None) => {}
        }
    });
    if let Err(error) = read {
        tracing::debug!(%error, "failed to read network counters");
    }
}

/// The interfaces with the pod's own first: without it the first of all.
fn default_first(mut interfaces: Vec<Counters>, own: Option<&str>) -> Vec<Counters> {
    if let Some(at) = interfaces.iter().position(|interface| Some(interface.name.as_str()) == own) {
        interfaces[..=at].rotate_right(1);
    }
    interfaces
}
