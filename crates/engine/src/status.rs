//! Whether the engine can run pods, and the findings of `doctor`.

use std::path::PathBuf;
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

/// What is known of one handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerStatus {
    /// Its name.
    pub name: String,
    /// `native`, `oci` (driven by runc's command line), `gvisor`, or `given` to the engine.
    pub kind: &'static str,
    /// Whether pods without a handler get it.
    pub is_default: bool,
    /// The runtime's program.
    pub program: Option<PathBuf>,
    /// What it says of itself, in one line; empty when it was not asked.
    pub version: String,
    /// Whether it can be used.
    pub state: HandlerState,
    /// What its pods can have; nothing unless it can be used.
    pub features: HandlerFeatures,
}

/// Whether a handler can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerState {
    /// It can.
    Ready,
    /// It is being checked.
    Checking,
    /// It cannot, for this reason.
    Unusable(String),
    /// Its program is not on this machine: where it was looked for.
    Missing(String),
}

impl HandlerState {
    /// In one word.
    pub fn word(&self) -> &'static str {
        match self {
            HandlerState::Ready => "ready",
            HandlerState::Checking => "checking",
            HandlerState::Unusable(_) => "unusable",
            HandlerState::Missing(_) => "missing",
        }
    }

    /// Why it cannot be used; empty when it can.
    pub fn reason(&self) -> &str {
        match self {
            HandlerState::Ready | HandlerState::Checking => "",
            HandlerState::Unusable(why) | HandlerState::Missing(why) => why,
        }
    }
}

/// What the pods of a handler can have on this host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HandlerFeatures {
    /// Mounts that are read-only with everything below them.
    pub recursive_read_only: bool,
    /// User namespaces, with every kind of volume that Kubernetes gives them.
    pub user_namespaces: bool,
    /// Checkpoints of containers.
    pub checkpoint: bool,
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
