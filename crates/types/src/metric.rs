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
/// Pulls that have ended.
pub const PULLS: Family = Family {
    name: "berth_image_pulls_total",
    kind: Kind::Counter,
    labels: &["result"],
    help: "Pulls of images that have ended, by `ok` or the kind of failure: `not_found`, `denied`, `unavailable`, `exhausted`, ...; `cancelled` where the caller went away, though the pull goes on.",
};
/// How long they took.
pub const PULL_TIMES: Family = Family {
    name: "berth_image_pull_duration_seconds",
    kind: Kind::Histogram,
    labels: &[],
    help: "Time that pulls took that did not fail, also of images that were there.",
};
/// What they fetched.
pub const PULL_BYTES: Family = Family {
    name: "berth_image_pull_bytes_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Bytes of layers that were fetched, as they are sent (compressed).",
};
/// Shims that were lost.
pub const SHIMS_LOST: Family = Family {
    name: "berth_shims_lost_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Pods that lost their shim, and with it their containers, otherwise than by a restart of the machine.",
};
/// Containers that have ended.
pub const ENDS: Family = Family {
    name: "berth_container_exits_total",
    kind: Kind::Counter,
    labels: &["reason"],
    help: "Containers that have ended, by the reason that a kubelet is told: `Completed`, `Error`, `OOMKilled`, `StartError`, `Unknown`.",
};
/// Spans of traces.
pub const SPANS: Family = Family {
    name: "berth_trace_spans_total",
    kind: Kind::Counter,
    labels: &["result"],
    help: "Spans of traces, by what became of them: `sent`, `overflowed` (dropped, the queue was full), `refused` (dropped, the collector did not take them). Only with a collector.",
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
pub const FAMILIES: [Family; 14] = [
    CALLS, CALL_TIMES, PENDING, PULLS, PULL_TIMES, PULL_BYTES, PODS, CONTAINERS, ENDS, SHIMS_LOST, SPANS,
    MEMORY, PROCESSOR, VERSION,
];
