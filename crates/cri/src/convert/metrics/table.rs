//! The table of metrics, in the order of their names.

use super::*;
use Source::{Container as OfContainer, Containers, Group as OfGroup, Groups, Interface};

const SECOND: u64 = 1_000_000_000;

/// A number that only grows.
const fn counter(name: &'static str, help: &'static str, of: Source) -> Kind {
    Kind { name, help, labels: &[], is: MetricType::Counter, of }
}

/// A number of this moment.
const fn gauge(name: &'static str, help: &'static str, of: Source) -> Kind {
    Kind { name, help, labels: &[], is: MetricType::Gauge, of }
}

impl Kind {
    const fn by(mut self, labels: &'static [&'static str]) -> Self {
        self.labels = labels;
        self
    }
}

fn memory(group: &Group<'_>, of: fn(&MemoryStats) -> u64) -> Option<u64> {
    group.usage.memory.as_ref().map(of)
}

fn more_memory(group: &Group<'_>, of: fn(&MemoryDetails) -> u64) -> Option<u64> {
    group.details.memory.as_ref().map(of)
}

fn throttling(group: &Group<'_>, of: fn(&Throttling) -> u64) -> Option<u64> {
    group.details.throttling.as_ref().map(of)
}

/// Whole seconds that all (or some) tasks waited.
fn stalled(pressure: Option<Pressure>, all: bool) -> Option<u64> {
    pressure.map(|p| if all { p.full.total_us } else { p.some.total_us } / 1_000_000)
}

fn device(group: &Group<'_>, of: (u32, u32)) -> String {
    group.devices.get(&of).cloned().unwrap_or_default()
}

/// For each block device that was used.
fn per_device(group: &Group<'_>, of: fn(&berth_engine::stats::BlockIo) -> u64) -> Labelled {
    group.details.io.iter().map(|io| (vec![device(group, (io.major, io.minor))], of(io))).collect()
}

fn operations(group: &Group<'_>) -> Labelled {
    let of = |io: &berth_engine::stats::BlockIo| {
        let labels = |operation: &str| {
            let name = device(group, (io.major, io.minor));
            vec![name, io.major.to_string(), io.minor.to_string(), operation.to_owned()]
        };
        [(labels("Read"), io.read_bytes), (labels("Write"), io.written_bytes)]
    };
    group.details.io.iter().flat_map(of).collect()
}

fn page_faults(group: &Group<'_>) -> Labelled {
    let Some((all, own)) = group.usage.memory.as_ref().zip(group.details.memory.as_ref()) else {
        return Vec::new();
    };
    let labels = |kind: &str, scope: &str| vec![kind.to_owned(), scope.to_owned()];
    vec![
        (labels("pgfault", "container"), own.own_page_faults),
        (labels("pgfault", "hierarchy"), all.page_faults),
        (labels("pgmajfault", "container"), own.own_major_page_faults),
        (labels("pgmajfault", "hierarchy"), all.major_page_faults),
    ]
}

fn huge_usage(group: &Group<'_>) -> Labelled {
    group.details.hugepages.iter().map(|page| (vec![page.page_size.clone()], page.usage)).collect()
}

fn huge_most(group: &Group<'_>) -> Labelled {
    let of = |page: &berth_engine::stats::HugeUse| Some((vec![page.page_size.clone()], page.max_usage?));
    group.details.hugepages.iter().filter_map(of).collect()
}

/// Of the file system that the writable layer is in.
fn filesystem(container: &Container<'_>, value: u64) -> Labelled {
    vec![(vec![container.filesystem.device.clone()], value)]
}

fn layer(container: &Container<'_>) -> Labelled {
    filesystem(container, container.layer.map_or(0, |layer| layer.bytes))
}

fn ulimits(container: &Container<'_>) -> Labelled {
    let of = |limit| (vec!["max_open_files".to_owned()], limit);
    container.more.open_files_limit.map(of).into_iter().collect()
}

/// A limit in force; 0 is none, as cAdvisor has it.
fn limit(value: Option<i64>) -> u64 {
    value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0)
}

fn spec<'a>(container: &Container<'a>) -> &'a Resources {
    &container.view.resources
}

pub(super) const TABLE: &[Kind] = &[
    counter(
        "container_blkio_device_usage_total",
        "Bytes read from and written to each block device.",
        Groups(operations),
    )
    .by(&["device", "major", "minor", "operation"]),
    counter(
        "container_cpu_cfs_periods_total",
        "Periods of the CPU quota in which something ran.",
        OfGroup(|group| throttling(group, |t| t.periods)),
    ),
    counter(
        "container_cpu_cfs_throttled_periods_total",
        "Periods in which the CPU quota was used up.",
        OfGroup(|group| throttling(group, |t| t.throttled)),
    ),
    counter(
        "container_cpu_cfs_throttled_seconds_total",
        "Whole seconds that were waited for the next period of the CPU quota.",
        OfGroup(|group| throttling(group, |t| t.throttled_ns / SECOND)),
    ),
    counter(
        "container_cpu_system_seconds_total",
        "Whole seconds of CPU time in the kernel.",
        OfGroup(|group| group.details.cpu_system_ns.map(|ns| ns / SECOND)),
    ),
    counter(
        "container_cpu_usage_seconds_total",
        "Whole seconds of CPU time.",
        Groups(|group| {
            group.usage.cpu_usage_ns.map(|ns| (vec!["total".to_owned()], ns / SECOND)).into_iter().collect()
        }),
    )
    .by(&["cpu"]),
    counter(
        "container_cpu_user_seconds_total",
        "Whole seconds of CPU time in programs.",
        OfGroup(|group| group.details.cpu_user_ns.map(|ns| ns / SECOND)),
    ),
    gauge(
        "container_file_descriptors",
        "Open file descriptors.",
        OfContainer(|container| container.more.open.map(|open| open.files)),
    ),
    gauge(
        "container_fs_inodes_free",
        "Files that may be added to the file system of the writable layer.",
        Containers(|container| filesystem(container, container.filesystem.free_inodes)),
    )
    .by(&["device"]),
    gauge(
        "container_fs_inodes_total",
        "Files that the file system of the writable layer may have.",
        Containers(|container| filesystem(container, container.filesystem.inodes)),
    )
    .by(&["device"]),
    gauge(
        "container_fs_limit_bytes",
        "Bytes of the file system of the writable layer.",
        Containers(|container| filesystem(container, container.filesystem.size)),
    )
    .by(&["device"]),
    counter(
        "container_fs_reads_bytes_total",
        "Bytes read from each block device.",
        Groups(|group| per_device(group, |io| io.read_bytes)),
    )
    .by(&["device"]),
    counter(
        "container_fs_reads_total",
        "Reads from each block device.",
        Groups(|group| per_device(group, |io| io.reads)),
    )
    .by(&["device"]),
    gauge(
        "container_fs_usage_bytes",
        "Bytes of the writable layer, as it was measured last.",
        Containers(layer),
    )
    .by(&["device"]),
    counter(
        "container_fs_writes_bytes_total",
        "Bytes written to each block device.",
        Groups(|group| per_device(group, |io| io.written_bytes)),
    )
    .by(&["device"]),
    counter(
        "container_fs_writes_total",
        "Writes to each block device.",
        Groups(|group| per_device(group, |io| io.writes)),
    )
    .by(&["device"]),
    gauge(
        "container_hugetlb_max_usage_bytes",
        "The most bytes of huge pages that were in use at a time (cgroup v1).",
        Groups(huge_most),
    )
    .by(&["pagesize"]),
    gauge("container_hugetlb_usage_bytes", "Bytes of huge pages in use.", Groups(huge_usage))
        .by(&["pagesize"]),
    gauge(
        "container_last_seen",
        "When the container was seen last, in seconds since 1970.",
        OfContainer(|container| Some(seconds(container.usage.at))),
    ),
    gauge(
        "container_memory_cache",
        "Bytes of pages of files.",
        OfGroup(|group| more_memory(group, |m| m.cache)),
    ),
    counter(
        "container_memory_failcnt",
        "How often the limit of memory was met.",
        OfGroup(|group| more_memory(group, |m| m.limit_hits)),
    ),
    counter(
        "container_memory_failures_total",
        "Page faults, by kind and by whether groups below count.",
        Groups(page_faults),
    )
    .by(&["failure_type", "scope"]),
    gauge(
        "container_memory_kernel_usage",
        "Bytes of memory that the kernel uses for the container.",
        OfGroup(|group| more_memory(group, |m| m.kernel)),
    ),
    gauge(
        "container_memory_mapped_file",
        "Bytes of mapped pages of files.",
        OfGroup(|group| more_memory(group, |m| m.mapped_file)),
    ),
    gauge(
        "container_memory_max_usage_bytes",
        "The most bytes of memory that were in use at a time; 0 where the kernel does not keep it.",
        OfGroup(|group| more_memory(group, |m| m.max_usage.unwrap_or(0))),
    ),
    gauge("container_memory_rss", "Bytes of anonymous memory.", OfGroup(|group| memory(group, |m| m.rss))),
    gauge(
        "container_memory_swap",
        "Bytes of swap in use; 0 where the kernel does not account for swap.",
        OfGroup(|group| memory(group, |m| m.swap.unwrap_or(0))),
    ),
    gauge(
        "container_memory_total_inactive_file_bytes",
        "Bytes of pages of files that were not used lately.",
        OfGroup(|group| memory(group, |m| m.inactive_file)),
    ),
    gauge(
        "container_memory_usage_bytes",
        "Bytes of memory in use, pages of files included.",
        OfGroup(|group| memory(group, |m| m.usage)),
    ),
    gauge(
        "container_memory_working_set_bytes",
        "Bytes of memory in use, without pages of files that were not used lately.",
        OfGroup(|group| memory(group, |m| m.working_set)),
    ),
    counter("container_network_receive_bytes_total", "Bytes received.", Interface(|i| i.rx_bytes))
        .by(&["interface"]),
    counter(
        "container_network_receive_errors_total",
        "Packets that arrived damaged.",
        Interface(|i| i.rx_errors),
    )
    .by(&["interface"]),
    counter(
        "container_network_receive_packets_dropped_total",
        "Packets that arrived and were dropped.",
        Interface(|i| i.rx_dropped),
    )
    .by(&["interface"]),
    counter("container_network_receive_packets_total", "Packets received.", Interface(|i| i.rx_packets))
        .by(&["interface"]),
    counter("container_network_transmit_bytes_total", "Bytes sent.", Interface(|i| i.tx_bytes))
        .by(&["interface"]),
    counter(
        "container_network_transmit_errors_total",
        "Packets that could not be sent.",
        Interface(|i| i.tx_errors),
    )
    .by(&["interface"]),
    counter(
        "container_network_transmit_packets_dropped_total",
        "Packets that were dropped instead of being sent.",
        Interface(|i| i.tx_dropped),
    )
    .by(&["interface"]),
    counter("container_network_transmit_packets_total", "Packets sent.", Interface(|i| i.tx_packets))
        .by(&["interface"]),
    counter(
        "container_oom_events_total",
        "Processes that the kernel killed because memory ran out.",
        OfGroup(|group| Some(group.details.oom_kills)),
    ),
    counter(
        "container_pressure_cpu_stalled_seconds_total",
        "Whole seconds in which all tasks waited for a CPU.",
        OfGroup(|group| stalled(group.usage.cpu_pressure, true)),
    ),
    counter(
        "container_pressure_cpu_waiting_seconds_total",
        "Whole seconds in which some task waited for a CPU.",
        OfGroup(|group| stalled(group.usage.cpu_pressure, false)),
    ),
    counter(
        "container_pressure_io_stalled_seconds_total",
        "Whole seconds in which all tasks waited for block devices.",
        OfGroup(|group| stalled(group.usage.io_pressure, true)),
    ),
    counter(
        "container_pressure_io_waiting_seconds_total",
        "Whole seconds in which some task waited for block devices.",
        OfGroup(|group| stalled(group.usage.io_pressure, false)),
    ),
    counter(
        "container_pressure_memory_stalled_seconds_total",
        "Whole seconds in which all tasks waited for memory.",
        OfGroup(|group| stalled(group.usage.memory_pressure, true)),
    ),
    counter(
        "container_pressure_memory_waiting_seconds_total",
        "Whole seconds in which some task waited for memory.",
        OfGroup(|group| stalled(group.usage.memory_pressure, false)),
    ),
    gauge("container_processes", "Processes.", OfContainer(|container| Some(container.more.processes))),
    gauge(
        "container_sockets",
        "Open sockets.",
        OfContainer(|container| container.more.open.map(|open| open.sockets)),
    ),
    gauge(
        "container_spec_cpu_period",
        "The period of the CPU quota in microseconds.",
        OfContainer(|container| Some(spec(container).cpu_period.unwrap_or(100_000))),
    ),
    gauge(
        "container_spec_cpu_quota",
        "The CPU quota in microseconds; 0 is none.",
        OfContainer(|container| Some(limit(spec(container).cpu_quota))),
    ),
    gauge(
        "container_spec_cpu_shares",
        "The CPU weight, as cgroup v1 counts it.",
        OfContainer(|container| Some(spec(container).cpu_shares.unwrap_or(1024))),
    ),
    gauge(
        "container_spec_memory_limit_bytes",
        "The limit of memory in bytes; 0 is none.",
        OfContainer(|container| Some(limit(spec(container).memory_limit))),
    ),
    gauge(
        "container_spec_memory_reservation_limit_bytes",
        "Bytes that are kept when memory is short; 0 is nothing.",
        OfContainer(|container| container.more.details.memory.map(|m| m.reservation)),
    ),
    gauge(
        "container_spec_memory_swap_limit_bytes",
        "The limit of memory and swap together in bytes; 0 is none.",
        OfContainer(|container| {
            Some(limit(spec(container).memory_swap_limit.or(spec(container).memory_limit)))
        }),
    ),
    gauge(
        "container_start_time_seconds",
        "When the container was started, in seconds since 1970.",
        OfContainer(|container| container.view.started_at.map(seconds)),
    ),
    gauge(
        "container_threads",
        "Processes and threads.",
        OfContainer(|container| container.more.details.pids.current),
    ),
    gauge(
        "container_threads_max",
        "The limit of processes and threads; 0 is none.",
        OfContainer(|container| Some(container.more.details.pids.limit.unwrap_or(0))),
    ),
    gauge("container_ulimits_soft", "Limits of the main process.", Containers(ulimits)).by(&["ulimit"]),
];

/// Nanoseconds since 1970 as whole seconds.
fn seconds(nanoseconds: i64) -> u64 {
    u64::try_from(nanoseconds).unwrap_or(0) / SECOND
}
