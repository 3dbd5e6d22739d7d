use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_engine::stats::{BlockIo, ContainerStats, HugeUse, InterfaceCounters, OpenFiles, PodStats, Stall};

use super::*;
use crate::fixtures::{container, sandbox};

/// A pod with a container of which everything is known.
fn full() -> (PodMetrics, Metrics) {
    let view = container(Some(81));
    let sandbox = Arc::new(sandbox(vec![Arc::clone(&view)]));
    let mut usage = Usage::default();
    (usage.at, usage.cpu_usage_ns) = (5_000_000_000, Some(3_999_999_999));
    usage.memory = Some(MemoryStats::default());
    let stall = Stall { total_us: 2_500_000, ..Stall::default() };
    let pressure = Some(Pressure { some: stall, full: stall });
    (usage.cpu_pressure, usage.memory_pressure, usage.io_pressure) = (pressure, pressure, pressure);
    let huge = HugeUse { page_size: "2MB".into(), usage: 1, max_usage: Some(2) };
    let details = Details {
        cpu_user_ns: Some(1),
        cpu_system_ns: Some(2),
        throttling: Some(Throttling::default()),
        memory: Some(MemoryDetails::default()),
        io: vec![BlockIo { major: 8, minor: 0, read_bytes: 4, ..BlockIo::default() }],
        hugepages: vec![huge],
        pids: berth_engine::stats::Pids { current: Some(1), limit: None },
        oom_kills: 0,
    };
    let more = ContainerMetrics {
        details: details.clone(),
        processes: 1,
        open: Some(OpenFiles { files: 3, sockets: 1 }),
        open_files_limit: Some(1024),
    };
    let stats = ContainerStats { container: Arc::clone(&view), usage, writable_layer: None };
    let network = Network {
        at: 6,
        interfaces: ["eth0", "net1"]
            .map(|n| InterfaceCounters { name: n.into(), ..Default::default() })
            .into(),
    };
    let stats = PodStats {
        sandbox,
        usage: Some(usage),
        pids: Some(1),
        network: Some(network),
        containers: vec![stats],
    };
    let containers = [(view.id.clone(), more)].into();
    let all = Metrics { devices: [((8, 0), "/dev/sda".to_owned())].into(), ..Metrics::default() };
    (PodMetrics { stats, details, containers }, all)
}

fn told(from: &PodMetrics, all: &Metrics) -> api::PodSandboxMetrics {
    pod(from, all, &|_| "image:1".to_owned())
}

/// contract 46: descriptors are the same on each call, each value fits one of them, and each has values.
#[test]
fn every_value_has_a_descriptor_with_as_many_labels_and_every_descriptor_has_values() {
    let keys: BTreeMap<String, usize> =
        descriptors().into_iter().map(|kind| (kind.name, kind.label_keys.len())).collect();
    assert_eq!(descriptors(), descriptors());
    assert_eq!(keys.len(), TABLE.len(), "each name once");
    assert!(TABLE.is_sorted_by_key(|kind| kind.name));
    let (pod, all) = full();
    let told = told(&pod, &all);
    let values = told.metrics.iter().chain(told.container_metrics.iter().flat_map(|c| &c.metrics));
    let mut seen = BTreeSet::new();
    for value in values {
        assert_eq!(Some(&value.label_values.len()), keys.get(&value.name), "{}", value.name);
        seen.insert(value.name.clone());
    }
    assert_eq!(seen, keys.into_keys().collect());
}

#[test]
fn labels_are_those_of_cadvisor_and_seconds_are_whole() {
    let (pod, all) = full();
    let told = told(&pod, &all);
    let of = |name: &str| {
        let found = told.container_metrics[0].metrics.iter().find(|metric| metric.name == name);
        let metric = found.unwrap_or_else(|| panic!("no {name}"));
        (metric.label_values.clone(), metric.value.unwrap().value)
    };
    let id = "c".repeat(64);
    let common = ["c", "/g", "image:1", &id, "", "p"].map(str::to_owned).to_vec();
    let with = |own: &[&str]| [common.clone(), own.iter().map(|l| (*l).to_owned()).collect()].concat();
    assert_eq!(of("container_cpu_usage_seconds_total"), (with(&["total"]), 3));
    assert_eq!(of("container_fs_reads_bytes_total"), (with(&["/dev/sda"]), 4));
    assert_eq!(of("container_pressure_io_waiting_seconds_total"), (common.clone(), 2));
    assert_eq!(of("container_last_seen"), (common, 5));
    let network = told.metrics.iter().filter(|m| m.name == "container_network_receive_bytes_total");
    assert_eq!(network.map(|m| m.label_values[6].clone()).collect::<Vec<_>>(), ["eth0", "net1"]);
}

/// contract 46: one container of which nothing can be read does not take the pod's values along.
#[test]
fn a_container_without_numbers_hides_nothing_else() {
    let (mut pod, all) = full();
    pod.containers.clear();
    let told = told(&pod, &all);
    assert!(told.container_metrics.is_empty() && told.metrics.len() > 20, "{}", told.metrics.len());
}
