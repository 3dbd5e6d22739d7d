//! From the views of the engine and what probes say to pods as services look at them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use berth_engine::model::{ContainerView, Network, SandboxView};
use berth_types::SandboxId;
use berth_types::lifecycle::{container, sandbox};
use serde::Deserialize;
use serde_json::Value;

use super::endpoints::{NamedPort, Pod};
use crate::controller::Shown;
use crate::manifest::PortProtocol;
use crate::plan::MANIFEST;
use crate::status::{self, Shape};

/// What a pod's manifest says, which never changes.
#[derive(Debug, Default)]
pub(super) struct Facts {
    shape: Shape,
    hostname: Option<String>,
    subdomain: Option<String>,
    ports: Vec<NamedPort>,
    /// Containers that are not ready before they have been asked.
    asked: BTreeSet<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Manifest {
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    hostname: Option<String>,
    subdomain: Option<String>,
    init_containers: Vec<Container>,
    containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    name: String,
    ports: Vec<Port>,
    readiness_probe: Option<Value>,
    startup_probe: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: String,
    container_port: u16,
    protocol: PortProtocol,
}

impl Facts {
    fn of(view: &SandboxView) -> Self {
        let text = view.config.annotations.get(MANIFEST).map_or("", String::as_str);
        let Manifest { spec } = serde_json::from_str(text).unwrap_or_default();
        let all = || spec.containers.iter().chain(&spec.init_containers);
        let port = |port: &Port| NamedPort {
            name: port.name.clone(),
            protocol: port.protocol,
            number: port.container_port,
        };
        let named =
            |of: &Container| of.ports.iter().filter(|p| !p.name.is_empty()).map(port).collect::<Vec<_>>();
        let probed = |of: &&Container| of.readiness_probe.is_some() || of.startup_probe.is_some();
        Self {
            shape: Shape::of(view),
            ports: all().flat_map(named).collect(),
            asked: all().filter(probed).map(|of| of.name.clone()).collect(),
            hostname: spec.hostname,
            subdomain: spec.subdomain,
        }
    }
}

/// What is known of pods.
#[derive(Debug, Default)]
pub(super) struct Known {
    facts: BTreeMap<SandboxId, Arc<Facts>>,
    /// Containers that were ready when the last daemon ended, until their probes have answered this one.
    remembered: BTreeSet<String>,
    /// Those with probes that are ready.
    pub(super) ready: BTreeSet<String>,
    /// Whether there are pods with the addresses of this machine.
    pub(super) of_host: bool,
}

/// What containers are besides their states.
pub(super) struct Said<'a> {
    /// What probes say.
    pub(super) health: &'a (dyn Fn(&ContainerView) -> Option<Shown> + Sync),
    /// Whether their processes are stopped where they are. Such a one answers nobody.
    pub(super) is_paused: &'a (dyn Fn(&ContainerView) -> bool + Sync),
}

impl Known {
    pub(super) fn new(remembered: BTreeSet<String>) -> Self {
        Self { remembered, ..Self::default() }
    }

    /// The pods of these views as they are. `host` has the addresses of this machine.
    pub(super) fn look(&mut self, views: &[Arc<SandboxView>], said: &Said<'_>, host: &[IpAddr]) -> Vec<Pod> {
        self.facts.retain(|id, _| views.iter().any(|view| view.id == *id));
        self.ready.clear();
        let pods: Vec<Pod> = views.iter().map(|view| self.pod(view, said, host)).collect();
        self.of_host = views.iter().any(|view| matches!(view.config.namespaces.network, Network::Host));
        let there: BTreeSet<&str> =
            views.iter().flat_map(|view| &view.containers).map(|c| c.id.as_str()).collect();
        self.remembered.retain(|id| there.contains(id.as_str()));
        pods
    }

    fn pod(&mut self, view: &SandboxView, said: &Said<'_>, host: &[IpAddr]) -> Pod {
        let facts = self.facts.entry(view.id.clone()).or_insert_with(|| Arc::new(Facts::of(view))).clone();
        let mut ready = BTreeSet::new();
        let runs = |c: &&Arc<ContainerView>| c.state == container::State::Running && !(said.is_paused)(c);
        for container in view.containers.iter().filter(runs) {
            let id = container.id.as_str();
            let asked = facts.asked.contains(&container.config.metadata.name);
            let is = match (said.health)(container) {
                Some(shown) if shown.ready || !shown.message.is_empty() => {
                    self.remembered.remove(id);
                    shown.ready
                }
                // It has not answered yet, or its postStart runs.
                Some(_) => self.remembered.contains(id),
                None => !asked || self.remembered.contains(id),
            };
            if is {
                ready.insert(id.to_owned());
            }
            if is && asked {
                self.ready.insert(id.to_owned());
            }
        }
        let up = view.state == sandbox::State::Ready;
        let status =
            status::of(&facts.shape, view.state, &view.containers, |c| ready.contains(c.id.as_str()));
        let addresses = match view.config.namespaces.network {
            _ if !up => Vec::new(),
            Network::Host => host.to_vec(),
            Network::Pod | Network::None => view.addresses.clone(),
        };
        Pod {
            namespace: view.config.metadata.namespace.clone(),
            labels: view.config.labels.clone(),
            addresses,
            ready: up && status.total > 0 && status.ready == status.total,
            hostname: facts.hostname.clone(),
            subdomain: facts.subdomain.clone(),
            ports: facts.ports.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
