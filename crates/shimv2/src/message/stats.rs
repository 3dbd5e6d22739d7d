//! What a container uses, as shims over cgroups tell it (`io.containerd.cgroups.v1.Metrics` and `v2`): what the CRI asks for.

use prost::Message;

use super::Any;

/// With cgroup v1.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct V1 {
    /// Processes.
    #[prost(message, optional, tag = "2")]
    pub pids: Option<Pids>,
    /// Processor time.
    #[prost(message, optional, tag = "3")]
    pub cpu: Option<V1Cpu>,
    /// Memory.
    #[prost(message, optional, tag = "4")]
    pub memory: Option<V1Memory>,
}

/// Processes and threads.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Pids {
    /// How many there are.
    #[prost(uint64, tag = "1")]
    pub current: u64,
    /// How many there may be.
    #[prost(uint64, tag = "2")]
    pub limit: u64,
}

/// Processor time.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct V1Cpu {
    /// It.
    #[prost(message, optional, tag = "1")]
    pub usage: Option<V1Usage>,
}

/// Processor time.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct V1Usage {
    /// In nanoseconds.
    #[prost(uint64, tag = "1")]
    pub total: u64,
}

/// Memory.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct V1Memory {
    /// File pages on the inactive list, the group's own and those below.
    #[prost(uint64, tag = "30")]
    pub total_inactive_file: u64,
    /// Anonymous memory, the group's own and that below.
    #[prost(uint64, tag = "19")]
    pub total_rss: u64,
    /// Page faults, the group's own and those below.
    #[prost(uint64, tag = "26")]
    pub total_page_faults: u64,
    /// Those that waited for a disk.
    #[prost(uint64, tag = "27")]
    pub total_major_page_faults: u64,
    /// All of it.
    #[prost(message, optional, tag = "33")]
    pub usage: Option<V1Entry>,
    /// All of it and swap.
    #[prost(message, optional, tag = "34")]
    pub with_swap: Option<V1Entry>,
}

/// Bytes of memory.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct V1Entry {
    /// The most.
    #[prost(uint64, tag = "1")]
    pub limit: u64,
    /// Now.
    #[prost(uint64, tag = "2")]
    pub usage: u64,
}

/// With cgroup v2.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct V2 {
    /// Processes.
    #[prost(message, optional, tag = "1")]
    pub pids: Option<Pids>,
    /// Processor time.
    #[prost(message, optional, tag = "2")]
    pub cpu: Option<V2Cpu>,
    /// Memory.
    #[prost(message, optional, tag = "4")]
    pub memory: Option<V2Memory>,
}

/// Processor time.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct V2Cpu {
    /// In microseconds.
    #[prost(uint64, tag = "1")]
    pub usage_micros: u64,
}

/// Memory.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct V2Memory {
    /// Anonymous.
    #[prost(uint64, tag = "1")]
    pub anon: u64,
    /// File pages on the inactive list.
    #[prost(uint64, tag = "13")]
    pub inactive_file: u64,
    /// Page faults.
    #[prost(uint64, tag = "18")]
    pub page_faults: u64,
    /// Those that waited for a disk.
    #[prost(uint64, tag = "19")]
    pub major_page_faults: u64,
    /// All of it.
    #[prost(uint64, tag = "32")]
    pub usage: u64,
    /// The most.
    #[prost(uint64, tag = "33")]
    pub limit: u64,
    /// Swap.
    #[prost(uint64, tag = "34")]
    pub swap_usage: u64,
}

/// What a container uses, of either kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time in nanoseconds.
    pub cpu_nanos: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory without file pages that are easily given back.
    pub working_set: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// What a shim answered to Stats.
///
/// # Errors
/// Its bytes cannot be read. None of a type that is not known: a shim may have its own.
pub fn usage(stats: &Any) -> Result<Option<Usage>, prost::DecodeError> {
    let bytes = stats.value.as_slice();
    match stats.name() {
        "io.containerd.cgroups.v1.Metrics" => {
            let all = V1::decode(bytes)?;
            let memory = all.memory.and_then(|m| Some((m.usage?.usage, m.total_inactive_file)));
            Ok(Some(Usage {
                cpu_nanos: all.cpu.and_then(|cpu| cpu.usage).map(|usage| usage.total),
                memory: memory.map(|(usage, _)| usage),
                working_set: memory.map(|(usage, inactive)| usage.saturating_sub(inactive)),
                pids: all.pids.map(|pids| pids.current),
            }))
        }
        "io.containerd.cgroups.v2.Metrics" => {
            let all = V2::decode(bytes)?;
            Ok(Some(Usage {
                cpu_nanos: all.cpu.map(|cpu| cpu.usage_micros.saturating_mul(1000)),
                memory: all.memory.map(|memory| memory.usage),
                working_set: all.memory.map(|memory| memory.usage.saturating_sub(memory.inactive_file)),
                pids: all.pids.map(|pids| pids.current),
            }))
        }
        _ => Ok(None),
    }
}
