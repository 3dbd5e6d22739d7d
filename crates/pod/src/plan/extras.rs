//! What flags of `berth run` mean and no field of a pod's manifest can say: it is in an annotation, beside what is in fields.

use std::collections::BTreeMap;

use berth_engine::model::{ContainerConfig, Device, Network, Rlimit};
use serde::{Deserialize, Serialize};

use super::{Fault, Plan, wrong};
use crate::manifest::Pod;

/// Annotation of a pod that `berth run` made: [`Extras`] as JSON. Where it is, names are docker's.
pub const RUN: &str = "berth.dev/run";

/// The longest name: a container's is a file name, and stands in its pod's host name.
const MAX_NAME: usize = 63;

/// Settings of each container of the pod, and of the pod itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Extras {
    /// No network but the pod's own loopback.
    #[serde(skip_serializing_if = "is_default")]
    pub no_network: bool,
    /// How often a container is run again; without it for ever.
    #[serde(skip_serializing_if = "is_default")]
    pub max_restarts: Option<u32>,
    /// Devices of the host.
    #[serde(skip_serializing_if = "is_default")]
    pub devices: Vec<ExtraDevice>,
    /// Devices by the Container Device Interface.
    #[serde(skip_serializing_if = "is_default")]
    pub cdi_devices: Vec<String>,
    /// The most processes and threads.
    #[serde(skip_serializing_if = "is_default")]
    pub pids_limit: Option<i64>,
    /// The processors that it may use, as `0-2,5`.
    #[serde(skip_serializing_if = "is_default")]
    pub cpuset_cpus: String,
    /// The memory nodes that it may use.
    #[serde(skip_serializing_if = "is_default")]
    pub cpuset_mems: String,
    /// Its weight beside others.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu_shares: Option<u64>,
    /// Bytes of memory and swap together; -1 is no limit of swap.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_swap: Option<i64>,
    /// How soon the kernel ends it when the machine's memory runs out.
    #[serde(skip_serializing_if = "is_default")]
    pub oom_score_adj: Option<i32>,
    /// Limits of single processes.
    #[serde(skip_serializing_if = "is_default")]
    pub ulimits: Vec<Ulimit>,
    /// Volumes of the pod, by their names in it, that are not the empty directories they are told as but outlive it.
    #[serde(skip_serializing_if = "is_default")]
    pub volumes: BTreeMap<String, NamedVolume>,
}

/// A limit of single processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ulimit {
    /// `nofile`, ...
    pub kind: String,
    /// The limit in force; -1 is none.
    pub soft: i64,
    /// The limit up to which it may be raised; -1 is none.
    pub hard: i64,
}

/// A volume that outlives its pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NamedVolume {
    /// Its name on this machine.
    pub name: String,
    /// Whether the name was made up: it goes with what is made by `run --rm`.
    pub anonymous: bool,
    /// Whether it is not filled from the image.
    pub no_copy: bool,
}

/// A device of the host in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExtraDevice {
    /// Where it is on the host.
    pub host: String,
    /// Where it is in the container.
    pub container: String,
    /// Of `r`, `w` and `m`.
    pub permissions: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Whether the names of the pod are docker's.
pub(super) fn has_free_names(pod: &Pod) -> bool {
    pod.metadata.annotations.contains_key(RUN)
}

/// A name as docker takes it.
pub(super) fn free_name(at: &str, text: &str) -> Result<(), Fault> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let begins = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    if begins && text.len() <= MAX_NAME && text.bytes().all(inner) {
        return Ok(());
    }
    Err(wrong(
        at,
        format!(
            "{text:?} is not a name: up to {MAX_NAME} letters, digits, '_', '.' and '-', a letter or digit first"
        ),
    ))
}

/// What the annotation says; nothing without one.
pub(super) fn of(pod: &Pod) -> Result<Extras, Fault> {
    let Some(text) = pod.metadata.annotations.get(RUN) else { return Ok(Extras::default()) };
    serde_json::from_str(text)
        .map_err(|e| wrong(format!("metadata.annotations[{RUN}]"), format!("invalid settings: {e}")))
}

impl Extras {
    /// Adds the settings to a plan.
    pub(super) fn add_to(&self, plan: &mut Plan) {
        if self.no_network {
            plan.sandbox.namespaces.network = Network::None;
        }
        plan.max_restarts = self.max_restarts;
        for planned in plan.init.iter_mut().chain(&mut plan.main) {
            self.add_to_container(&mut planned.config);
        }
    }

    fn add_to_container(&self, config: &mut ContainerConfig) {
        config.devices.extend(self.devices.iter().map(|device| Device {
            container_path: device.container.clone().into(),
            host_path: device.host.clone().into(),
            permissions: device.permissions.clone(),
            node: None,
        }));
        config.cdi_devices.extend_from_slice(&self.cdi_devices);
        // A negative number is what the kernel calls infinity.
        let number = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
        config.rlimits.extend(self.ulimits.iter().map(|of| Rlimit {
            kind: of.kind.clone(),
            soft: number(of.soft),
            hard: number(of.hard),
        }));
        let resources = &mut config.resources;
        resources.pids_limit = self.pids_limit.or(resources.pids_limit);
        resources.cpuset_cpus.clone_from(&self.cpuset_cpus);
        resources.cpuset_mems.clone_from(&self.cpuset_mems);
        resources.cpu_shares = self.cpu_shares.or(resources.cpu_shares);
        resources.memory_swap_limit = self.memory_swap.or(resources.memory_swap_limit);
        resources.oom_score_adj = self.oom_score_adj.or(resources.oom_score_adj);
    }
}

#[cfg(test)]
mod tests;
