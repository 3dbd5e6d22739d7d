//! The metrics of the daemon: the one table, from which their text and docs/metrics.md are made. Names follow the conventions
//! of Prometheus.

/// A family of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

/// What a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Grows only.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Times in buckets.
    Histogram,
}

impl Kind {
    /// The word of the text format.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Calls of the CRI that were answered.
pub const CALLS: Family = Family {
    name: "berth_cri_calls_total",
    kind: Kind::Counter,
    labels: &["method", "code"],
    help: "Calls of the CRI that were answered, by method and gRPC code.",
};
/// How long they took.
pub const CALL_TIMES: Family = Family {
    name: "berth_cri_call_duration_seconds",
    kind: Kind::Histogram,
    labels: &["method"],
    help: "Time until a call of the CRI was answered; of a stream, until it began.",
};
/// Calls that wait for their answer.
pub const PENDING: Family = Family {
    name: "berth_cri_calls_pending",
    kind: Kind::Gauge,
    labels: &[],
    help: "Calls of the CRI that wait for their answer.",
};
/// Pods.
pub const PODS: Family = Family {
    name: "berth_pods",
    kind: Kind::Gauge,
    labels: &["state", "handler"],
    help: "Pods, by state and handler.",
};
/// Containers.
pub const CONTAINERS: Family = Family {
    name: "berth_containers",
    kind: Kind::Gauge,
    labels: &["state", "handler"],
    help: "Containers, by state and the handler of their pod.",
};
/// Images that were removed because the disk was full.
pub const COLLECTED: Family = Family {
    name: "berth_image_gc_removed_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Images that were removed because their file system was full.",
};
/// What they took.
pub const COLLECTED_BYTES: Family = Family {
    name: "berth_image_gc_freed_bytes_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Bytes of layers that went with them.",
};
/// Memory of the daemon.
pub const MEMORY: Family = Family {
    name: "process_resident_memory_bytes",
    kind: Kind::Gauge,
    labels: &[],
    help: "Memory of the daemon, without its shims.",
};
/// Time of the processors.
pub const PROCESSOR: Family = Family {
    name: "process_cpu_seconds_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Time of processors that the daemon used.",
};
/// The version.
pub const VERSION: Family = Family {
    name: "berth_build_info",
    kind: Kind::Gauge,
    labels: &["version"],
    help: "Always 1, with the version.",
};

/// All of them, in the order of the text.
pub const FAMILIES: [Family; 10] =
    [CALLS, CALL_TIMES, PENDING, PODS, CONTAINERS, COLLECTED, COLLECTED_BYTES, MEMORY, PROCESSOR, VERSION];
