//! What containers use.

use berth_engine::stats::{ContainerStats, MemoryStats, Pressure, Stall};

use crate::api;

fn value(value: u64) -> Option<api::UInt64Value> {
    Some(api::UInt64Value { value })
}

/// The statistics of a container. `mountpoint` is where its writable layer lies.
pub(crate) fn to_api(from: &ContainerStats, mountpoint: &str) -> api::ContainerStats {
    let config = &from.container.config;
    api::ContainerStats {
        attributes: Some(api::ContainerAttributes {
            id: from.container.id.to_string(),
            metadata: Some(api::ContainerMetadata {
                name: config.metadata.name.clone(),
                attempt: config.metadata.attempt,
            }),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
        }),
        cpu: from.cpu_usage_ns.map(|used| api::CpuUsage {
            timestamp: from.at,
            usage_core_nano_seconds: value(used),
            // A kubelet derives the rate from two reads; a value of ours it would trust blindly.
            usage_nano_cores: None,
            psi: from.cpu_pressure.map(psi),
        }),
        memory: from.memory.as_ref().map(|used| memory(from, used)),
        writable_layer: from.writable_layer.map(|(bytes, inodes)| api::FilesystemUsage {
            timestamp: from.at,
            fs_id: Some(api::FilesystemIdentifier { mountpoint: mountpoint.to_owned() }),
            used_bytes: value(bytes),
            inodes_used: value(inodes),
        }),
        swap: from.memory.as_ref().and_then(|used| used.swap).map(|swap| api::SwapUsage {
            timestamp: from.at,
            swap_available_bytes: None,
            swap_usage_bytes: value(swap),
        }),
        io: None,
    }
}

fn memory(from: &ContainerStats, used: &MemoryStats) -> api::MemoryUsage {
    api::MemoryUsage {
        timestamp: from.at,
        working_set_bytes: value(used.working_set),
        // Without a limit nothing says what is available.
        available_bytes: used.limit.and_then(|limit| value(limit.saturating_sub(used.working_set))),
        usage_bytes: value(used.usage),
        rss_bytes: value(used.rss),
        page_faults: value(used.page_faults),
        major_page_faults: value(used.major_page_faults),
        psi: from.memory_pressure.map(psi),
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
