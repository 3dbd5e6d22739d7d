//! What containers use: read on request from their cgroups and their writable layers.

use std::sync::Arc;
use std::time::Duration;

use berth_sys::cgroup::{CgroupPath, Stats};
use berth_types::lifecycle::container::State;

use crate::host::clock;
use crate::model::ContainerView;
use crate::shared::Shared;
use crate::{Engine, EngineError};

pub use berth_sys::cgroup::{MemoryStats, Pressure, Stall};

/// The age at which a writable layer is measured again; the call itself never walks one.
const LAYER_FRESH: Duration = Duration::from_secs(10);

/// What a container uses.
#[derive(Debug, Clone)]
pub struct ContainerStats {
    /// Which.
    pub container: Arc<ContainerView>,
    /// When this was read (nanoseconds since 1970).
    pub at: i64,
    /// Processor time used, in nanoseconds.
    pub cpu_usage_ns: Option<u64>,
    /// Memory.
    pub memory: Option<MemoryStats>,
    /// Time lost waiting for the processor (v2 hierarchies).
    pub cpu_pressure: Option<Pressure>,
    /// Time lost waiting for memory (v2 hierarchies).
    pub memory_pressure: Option<Pressure>,
    /// The writable layer as it was measured last, at most some ten seconds ago while it is quick to measure: bytes and
    /// inodes. None before the first time.
    pub writable_layer: Option<(u64, u64)>,
}

impl Engine {
    /// What those of `containers` use that run. One that has ended since is left out, and so is one whose files
    /// cannot be read: the others are still listed.
    pub async fn stats(&self, containers: Vec<Arc<ContainerView>>) -> Vec<ContainerStats> {
        let mut all = Vec::with_capacity(containers.len());
        for container in containers {
            let id = container.id.clone();
            match self.stats_of(container).await {
                Ok(stats) => all.extend(stats),
                Err(error) => {
                    let error = berth_types::error::chain(&error);
                    tracing::debug!(
                        container = id.short(),
                        error,
                        "failed to read the statistics of a container"
                    );
                }
            }
        }
        all
    }

    /// What a container uses; None when it does not run.
    ///
    /// # Errors
    /// Its files cannot be read although it still runs.
    pub async fn stats_of(
        &self,
        container: Arc<ContainerView>,
    ) -> Result<Option<ContainerStats>, EngineError> {
        if !matches!(container.state, State::Running | State::Stopping { .. }) {
            return Ok(None);
        }
        if container.cgroup.is_empty() {
            return Ok(None);
        }
        let what = || format!("read the resource usage of container {}", container.id.short());
        let path = CgroupPath::new(&container.cgroup).map_err(|e| EngineError::failed(what(), e))?;
        let group = self.shared.cgroups.open(&path);
        let at = clock::now();
        let read = Shared::blocking(move || Ok(group.stats())).await?;
        let used: Stats = match read {
            Ok(used) => used,
            // It ended between the look and the read.
            Err(_) if self.has_ended(&container) => return Ok(None),
            Err(e) => return Err(EngineError::failed(what(), e)),
        };
        let layer = self.images().last_usage(&container.id, LAYER_FRESH);
        Ok(Some(ContainerStats {
            at,
            cpu_usage_ns: used.cpu_usage_ns,
            memory: used.memory,
            cpu_pressure: used.cpu_pressure,
            memory_pressure: used.memory_pressure,
            writable_layer: layer.map(|layer| (layer.usage.bytes, layer.usage.inodes)),
            container,
        }))
    }

    fn has_ended(&self, container: &ContainerView) -> bool {
        match self.container(container.id.as_str()) {
            Ok(now) => !matches!(now.state, State::Running | State::Stopping { .. }),
            Err(_) => true,
        }
    }
}
