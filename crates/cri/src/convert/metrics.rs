//! Metrics: one table says each one's name, meaning and labels, and where its values come from. Descriptors and
//! values are both made from it, so that they cannot differ, and the descriptors are the same for as long as the
//! program runs. Names and labels are those that a kubelet's own cAdvisor gives.
//!
//! The CRI has whole numbers only: seconds are rounded down.

mod table;

use std::collections::HashMap;

use berth_engine::model::{ContainerView, Resources, SandboxView};
use berth_engine::stats::{
    ContainerMetrics, Details, Filesystem, LayerUsage, MemoryDetails, MemoryStats, Metrics, Network,
    PodMetrics, Pressure, Throttling, Usage,
};

use crate::api::{self, MetricType};
use table::TABLE;

/// The labels of every metric, in this order; the labels of its own come after them.
const COMMON: [&str; 6] = ["container", "id", "image", "name", "namespace", "pod"];

/// Values with those of a metric's own labels.
type Labelled = Vec<(Vec<String>, u64)>;

/// One kind of metric.
struct Kind {
    name: &'static str,
    help: &'static str,
    /// Its own labels.
    labels: &'static [&'static str],
    is: MetricType,
    /// What has values: one for each set of values of its own labels.
    of: Source,
}

/// What a metric is of.
enum Source {
    /// A group: a container's, or the one that a pod's containers are in.
    Group(fn(&Group<'_>) -> Option<u64>),
    /// The same, with values of labels of its own.
    Groups(fn(&Group<'_>) -> Labelled),
    /// A container alone.
    Container(fn(&Container<'_>) -> Option<u64>),
    /// The same, with values of labels of its own.
    Containers(fn(&Container<'_>) -> Labelled),
    /// A pod alone: each of its interfaces.
    Interface(fn(&berth_engine::stats::InterfaceCounters) -> u64),
}

/// The numbers of a group.
struct Group<'a> {
    usage: &'a Usage,
    details: &'a Details,
    devices: &'a HashMap<(u32, u32), String>,
}

/// The numbers of a container alone.
struct Container<'a> {
    view: &'a ContainerView,
    usage: &'a Usage,
    more: &'a ContainerMetrics,
    layer: Option<LayerUsage>,
    filesystem: &'a Filesystem,
}

/// What every metric is, in the order of the table.
pub(crate) fn descriptors() -> Vec<api::MetricDescriptor> {
    let descriptor = |kind: &Kind| api::MetricDescriptor {
        name: kind.name.to_owned(),
        help: kind.help.to_owned(),
        label_keys: COMMON.iter().chain(kind.labels).map(|key| (*key).to_owned()).collect(),
    };
    TABLE.iter().map(descriptor).collect()
}

/// The metrics of a pod and of its containers that run. `image` gives the name of a container's image.
pub(crate) fn pod(
    from: &PodMetrics,
    all: &Metrics,
    image: &impl Fn(&ContainerView) -> String,
) -> api::PodSandboxMetrics {
    let sandbox = &from.stats.sandbox;
    let mut of_pod = Values::new(labels(sandbox, &sandbox.cgroup, sandbox.id.as_str(), "", ""));
    if let Some(usage) = &from.stats.usage {
        of_pod.group(&Group { usage, details: &from.details, devices: &all.devices });
    }
    of_pod.network(from.stats.network.as_ref());
    let containers = from.stats.containers.iter().filter_map(|stats| {
        let (view, usage) = (&*stats.container, &stats.usage);
        let more = from.containers.get(&view.id)?;
        let name = &view.config.metadata.name;
        let common = labels(sandbox, &view.cgroup, view.id.as_str(), name, &image(view));
        let mut values = Values::new(common);
        values.group(&Group { usage, details: &more.details, devices: &all.devices });
        let layer = stats.writable_layer;
        values.container(&Container { view, usage, more, layer, filesystem: &all.filesystem });
        Some(api::ContainerMetrics { container_id: view.id.to_string(), metrics: values.all })
    });
    api::PodSandboxMetrics {
        pod_sandbox_id: sandbox.id.to_string(),
        container_metrics: containers.collect(),
        metrics: of_pod.all,
    }
}

/// The values of the common labels. `id` is the group's path, as cAdvisor has it.
fn labels(sandbox: &SandboxView, cgroup: &str, name: &str, container: &str, image: &str) -> [String; 6] {
    let metadata = &sandbox.config.metadata;
    [
        container.to_owned(),
        format!("/{}", cgroup.trim_start_matches('/')),
        image.to_owned(),
        name.to_owned(),
        metadata.namespace.clone(),
        metadata.name.clone(),
    ]
}

/// Metrics in the making.
struct Values {
    common: [String; 6],
    all: Vec<api::Metric>,
}

impl Values {
    fn new(common: [String; 6]) -> Self {
        Self { common, all: Vec::with_capacity(TABLE.len()) }
    }

    fn group(&mut self, group: &Group<'_>) {
        for kind in TABLE {
            match kind.of {
                Source::Group(of) => self.put(kind, group.usage.at, Vec::new(), of(group)),
                Source::Groups(of) => self.put_all(kind, group.usage.at, of(group)),
                Source::Container(_) | Source::Containers(_) | Source::Interface(_) => {}
            }
        }
    }

    fn container(&mut self, container: &Container<'_>) {
        for kind in TABLE {
            match kind.of {
                Source::Container(of) => self.put(kind, container.usage.at, Vec::new(), of(container)),
                Source::Containers(of) => self.put_all(kind, container.usage.at, of(container)),
                Source::Group(_) | Source::Groups(_) | Source::Interface(_) => {}
            }
        }
    }

    fn network(&mut self, network: Option<&Network>) {
        let Some(network) = network else { return };
        for kind in TABLE {
            let Source::Interface(of) = kind.of else { continue };
            for interface in &network.interfaces {
                self.put(kind, network.at, vec![interface.name.clone()], Some(of(interface)));
            }
        }
    }

    fn put_all(&mut self, kind: &Kind, at: i64, values: Labelled) {
        for (own, value) in values {
            self.put(kind, at, own, Some(value));
        }
    }

    fn put(&mut self, kind: &Kind, at: i64, own: Vec<String>, value: Option<u64>) {
        let Some(value) = value else { return };
        debug_assert_eq!(own.len(), kind.labels.len(), "{}", kind.name);
        self.all.push(api::Metric {
            name: kind.name.to_owned(),
            timestamp: at,
            metric_type: kind.is as i32,
            label_values: self.common.iter().cloned().chain(own).collect(),
            value: Some(api::UInt64Value { value }),
        });
    }
}

#[cfg(test)]
mod tests;
