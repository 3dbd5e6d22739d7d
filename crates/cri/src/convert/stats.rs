//! What pods and containers use.

use berth_engine::stats::{
    ContainerStats, InterfaceCounters, LayerUsage, MemoryStats, Network, PodStats, Pressure, Stall, Usage,
};

use super::{container as of_container, sandbox};
use crate::api;

fn value(value: u64) -> Option<api::UInt64Value> {
    Some(api::UInt64Value { value })
}

/// The statistics of a container. `mountpoint` is where its writable layer lies.
pub(crate) fn container(from: &ContainerStats, mountpoint: &str) -> api::ContainerStats {
    let config = &from.container.config;
    api::ContainerStats {
        attributes: Some(api::ContainerAttributes {
            id: from.container.id.to_string(),
            metadata: Some(of_container::metadata(&from.container)),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
        }),
        cpu: cpu(&from.usage),
        memory: memory(&from.usage),
        writable_layer: from.writable_layer.map(|layer| layer_usage(layer, mountpoint)),
        swap: swap(&from.usage),
        io: io(&from.usage),
    }
}

/// The statistics of a pod with those of its containers.
pub(crate) fn pod(from: &PodStats, mountpoint: &str) -> api::PodSandboxStats {
    let config = &from.sandbox.config;
    let usage = from.usage.as_ref();
    let linux = api::LinuxPodSandboxStats {
        cpu: usage.and_then(cpu),
        memory: usage.and_then(memory),
        network: from.network.as_ref().map(network),
        process: usage
            .zip(from.pids)
            .map(|(usage, pids)| api::ProcessUsage { timestamp: usage.at, process_count: value(pids) }),
        containers: from.containers.iter().map(|stats| container(stats, mountpoint)).collect(),
        io: usage.and_then(io),
    };
    api::PodSandboxStats {
        attributes: Some(api::PodSandboxAttributes {
            id: from.sandbox.id.to_string(),
            metadata: Some(sandbox::metadata(&from.sandbox)),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
        }),
        linux: Some(linux),
        windows: None,
    }
}

fn cpu(from: &Usage) -> Option<api::CpuUsage> {
    from.cpu_usage_ns.map(|used| api::CpuUsage {
        timestamp: from.at,
        usage_core_nano_seconds: value(used),
        // A kubelet takes a value blindly, also one of 0: there is none before there are two samples.
        usage_nano_cores: from.cpu_nano_cores.and_then(value),
        psi: from.cpu_pressure.map(psi),
    })
}

fn memory(from: &Usage) -> Option<api::MemoryUsage> {
    let used: &MemoryStats = from.memory.as_ref()?;
    Some(api::MemoryUsage {
        timestamp: from.at,
        working_set_bytes: value(used.working_set),
        // Without a limit nothing says what is available.
        available_bytes: used.limit.and_then(|limit| value(limit.saturating_sub(used.working_set))),
        usage_bytes: value(used.usage),
        rss_bytes: value(used.rss),
        page_faults: value(used.page_faults),
        major_page_faults: value(used.major_page_faults),
        psi: from.memory_pressure.map(psi),
    })
}

fn swap(from: &Usage) -> Option<api::SwapUsage> {
    let memory = from.memory.as_ref()?;
    let used = memory.swap?;
    Some(api::SwapUsage {
        timestamp: from.at,
        swap_available_bytes: memory.swap_limit.and_then(|limit| value(limit.saturating_sub(used))),
        swap_usage_bytes: value(used),
    })
}

fn io(from: &Usage) -> Option<api::IoUsage> {
    from.io_pressure.map(|pressure| api::IoUsage { timestamp: from.at, psi: Some(psi(pressure)) })
}

fn layer_usage(from: LayerUsage, mountpoint: &str) -> api::FilesystemUsage {
    api::FilesystemUsage {
        timestamp: from.at,
        fs_id: Some(api::FilesystemIdentifier { mountpoint: mountpoint.to_owned() }),
        used_bytes: value(from.bytes),
        inodes_used: value(from.inodes),
    }
}

fn network(from: &Network) -> api::NetworkUsage {
    let mut interfaces = from.interfaces.iter().map(interface);
    api::NetworkUsage {
        timestamp: from.at,
        default_interface: interfaces.next(),
        interfaces: interfaces.collect(),
    }
}

fn interface(from: &InterfaceCounters) -> api::NetworkInterfaceUsage {
    api::NetworkInterfaceUsage {
        name: from.name.clone(),
        rx_bytes: value(from.rx_bytes),
        rx_errors: value(from.rx_errors),
        tx_bytes: value(from.tx_bytes),
        tx_errors: value(from.tx_errors),
    }
}

fn psi(from: Pressure) -> api::PsiStats {
    let data = |stall: Stall| api::PsiData {
        // The kernel counts in microseconds, the CRI in nanoseconds.
        total: stall.total_us.saturating_mul(1000),
        avg10: f64::from(stall.avg10) / 100.0,
        avg60: f64::from(stall.avg60) / 100.0,
        avg300: f64::from(stall.avg300) / 100.0,
    };
    api::PsiStats { full: Some(data(from.full)), some: Some(data(from.some)) }
}

#[cfg(test)]
mod tests;
