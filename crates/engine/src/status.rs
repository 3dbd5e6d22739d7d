//! Whether the engine can run pods, and the findings of `doctor`.

use std::time::Duration;

use berth_types::SandboxId;

/// Whether pods of an owner can get their network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkStatus {
    /// Whether they can.
    pub ready: bool,
    /// One word, as the kubelet shows it: `NetworkPluginNotReady`; empty when ready.
    pub reason: String,
    /// A sentence for users; empty when ready.
    pub message: String,
}

/// Something that belongs to no pod, or a pod that lacks something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub thing: Thing,
    /// Its name: a path, a link, a process id.
    pub name: String,
    /// What is wrong, as a sentence.
    pub explanation: String,
    /// What to do about it.
    pub remedy: String,
}

/// Kinds of things that can be left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Thing {
    /// A mount.
    Mount,
    /// A cgroup.
    Cgroup,
    /// A shim without a pod.
    Process,
    /// An address lease.
    Address,
    /// A network interface or firewall element.
    Network,
    /// A container's layer.
    Snapshot,
    /// A file or directory.
    File,
    /// A pod whose record and whose kernel objects disagree.
    Pod,
}

impl Thing {
    /// The kind as text.
    pub fn word(self) -> &'static str {
        match self {
            Thing::Mount => "mount",
            Thing::Cgroup => "cgroup",
            Thing::Process => "process",
            Thing::Address => "address",
            Thing::Network => "network",
            Thing::Snapshot => "snapshot",
            Thing::File => "file",
            Thing::Pod => "pod",
        }
    }
}

/// How long the stages of one piece of work took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stages {
    /// Whose.
    pub sandbox: SandboxId,
    /// `run sandbox`, `create container`, `start container`, ...
    pub verb: &'static str,
    /// From the request to the answer.
    pub total: Duration,
    /// Stages in the order they ended, each from its own beginning; stages may overlap.
    pub stages: Vec<(&'static str, Duration)>,
}
