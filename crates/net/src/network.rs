//! The seam between the engine and what connects pods: one trait, of which [`Builtin`](crate::Builtin), [`Cni`](crate::Cni)
//! and [`Loopback`](crate::Loopback) are the implementations.
//!
//! ```text
//!              attach -> (running pod: check) -> detach
//! meanwhile    status, and verify after each of changes()
//! at a start   sweep(known), then check for each known pod
//! ```
//! Methods block: an asynchronous caller uses a blocking thread. They are called from the host's network
//! namespace, by any number of threads at once.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use berth_sys::netlink::Monitor;
use berth_types::SandboxId;
use serde_json::Value;

use crate::cidr::Cidr;
use crate::cni::watch;
use crate::error::{NetError, ServiceError};
use crate::port::PortMapping;
use crate::resolv::Dns;
use crate::services::{ServiceNetwork, Services};

/// A network that pods are connected to.
///
/// What was attached outlives the daemon: an implementation keeps its own records, so that a later daemon can check,
/// detach and sweep what an earlier one attached. A record is written before the effect it stands for.
pub trait PodNetwork: fmt::Debug + Send + Sync {
    /// Connects a pod, with `lo` up in any case. After an error nothing of the attempt is left behind, except that `lo` is up;
    /// what could not be undone at once can be by [`PodNetwork::detach`].
    fn attach(&self, request: &AttachRequest<'_>) -> Result<Attached, NetError>;

    /// Disconnects a pod and gives back what it had. Succeeds for a pod that is not connected (any more), and when
    /// its network namespace is gone. What failed may be called again; until it succeeds, the namespace should be kept.
    fn detach(&self, sandbox: &SandboxId) -> Result<(), NetError>;

    /// Whether a pod that was attached still is. Only [`NetError::NotAttached`] means that its addresses may be
    /// given to another pod; other errors are faults that may pass.
    fn check(&self, sandbox: &SandboxId) -> Result<(), NetError>;

    /// The same with all that can be found out, which may take seconds.
    fn examine(&self, sandbox: &SandboxId) -> Result<(), NetError> {
        self.check(sandbox)
    }

    /// What is known of an attached pod beside what [`Attached`] has, for users and their tools.
    fn details(&self, _sandbox: &SandboxId) -> Option<Value> {
        None
    }

    /// The blocks that the cluster gives this node's pods addresses of, which a network may use. Kept for later daemons.
    fn set_pod_blocks(&self, _blocks: &[Cidr]) -> Result<(), NetError> {
        Ok(())
    }

    /// Where services have their addresses; nothing where this network has none.
    fn service_network(&self) -> Option<ServiceNetwork> {
        None
    }

    /// Makes these the services, in one step. They stay as they are until the next call, also while no daemon runs.
    fn set_services(&self, services: &Services) -> Result<(), NetError> {
        if services.active { Err(ServiceError::Unsupported.into()) } else { Ok(()) }
    }

    /// The table of rules that there is though there are no services; nothing where all is as it should be.
    fn stray_services(&self) -> Option<String> {
        None
    }

    /// Whether pods can be connected now. Answers from memory: a kubelet asks every few seconds.
    fn status(&self) -> NetworkStatus;

    /// What exists of pods, to find what was left behind.
    fn inventory(&self) -> Result<Inventory, NetError>;

    /// Removes what belongs to pods that are not in `known`; gives what it was. Not to be called while such a pod is
    /// being attached.
    fn sweep(&self, known: &HashSet<SandboxId>) -> Result<Inventory, NetError>;

    /// What becomes readable after a change of the host that [`PodNetwork::verify`] may have to answer; none where
    /// nothing outside matters.
    fn changes(&self) -> Result<Vec<Changes>, NetError>;

    /// Repairs what other programs have changed, and tries again what failed. Cheap when nothing has changed. After an
    /// error it is to be called again.
    fn verify(&self) -> Result<(), NetError>;

    /// Removes everything; pods that run lose their network. Nothing is made again by a later call. May be repeated.
    fn purge(&self) -> Result<(), NetError>;
}

/// A pod that is to be connected.
#[derive(Debug, Clone, Copy)]
pub struct AttachRequest<'a> {
    /// The pod.
    pub sandbox: &'a SandboxId,
    /// The pod's name, for plugins and their logs.
    pub name: &'a str,
    /// The pod's namespace in the cluster.
    pub namespace: &'a str,
    /// The pod's uid in the cluster; may be empty.
    pub uid: &'a str,
    /// The pod's annotations, of which plugins know some.
    pub annotations: &'a BTreeMap<String, String>,
    /// The pod's network namespace.
    pub netns: BorrowedFd<'a>,
    /// Where that namespace is mounted, for plugins; `None` where it is not.
    pub netns_path: Option<&'a Path>,
    /// Ports of the host that lead to the pod.
    pub ports: &'a [PortMapping],
    /// Name servers that the pod will use; `None` where it does not say.
    pub dns: Option<&'a Dns>,
}

/// What a pod got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attached {
    /// The name of its interface; `None` when it only has `lo`.
    pub interface: Option<String>,
    /// Its addresses, the primary one first (`PodSandboxNetworkStatus` of the CRI).
    pub addresses: Vec<IpAddr>,
    /// Name servers that the network wants pods to use; `None` when it does not say.
    pub dns: Option<Dns>,
}

/// Whether pods can be connected: the CRI's condition NetworkReady.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkStatus {
    /// They can.
    Ready,
    /// They cannot; pods of the host's network run anyway.
    NotReady {
        /// One word, as the kubelet shows it.
        reason: &'static str,
        /// A sentence for users.
        message: String,
    },
}

/// The reason that kubelets and their tools know.
pub const NOT_READY: &str = "NetworkPluginNotReady";

/// What a network holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The pods that have addresses or other things of the network.
    pub sandboxes: Vec<SandboxId>,
    /// Interfaces that belong to none of them: those of pods that ended a moment ago, or leaked ones.
    pub orphans: Vec<String>,
}

/// A descriptor that is readable after a change of the host.
#[derive(Debug)]
pub struct Changes(Source);

#[derive(Debug)]
enum Source {
    /// Interfaces and rules.
    Kernel(Monitor),
    /// Directories, or a clock: a descriptor that is read until there is nothing left.
    File(OwnedFd),
}

impl Changes {
    pub(crate) fn of_kernel(monitor: Monitor) -> Self {
        Self(Source::Kernel(monitor))
    }

    pub(crate) fn of_file(fd: OwnedFd) -> Self {
        Self(Source::File(fd))
    }

    /// Reads the pending notifications; returns whether there were any.
    pub fn drain(&self) -> bool {
        match &self.0 {
            Source::Kernel(monitor) => monitor.drain(),
            Source::File(fd) => watch::drain(fd),
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Source::Kernel(monitor) => monitor.as_fd(),
            Source::File(fd) => fd.as_fd(),
        }
    }
}
