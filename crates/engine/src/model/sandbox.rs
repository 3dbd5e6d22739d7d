//! A pod sandbox as asked for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Resources, SandboxSecurity};

/// Who a pod belongs to. The CRI lists only its own: a kubelet ends every sandbox it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// Made through the CRI.
    Cri,
    /// Made by the command line on this machine.
    Local,
}

/// A pod sandbox as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxConfig {
    /// Who it belongs to.
    pub owner: Owner,
    /// Its identity: a second request with the same metadata joins the first.
    pub metadata: SandboxMetadata,
    /// The host name in the pod; empty only with the host's network, then the host's own name.
    pub hostname: String,
    /// The directory that container log paths are relative to.
    pub log_directory: Option<PathBuf>,
    /// What resolv.conf says; None copies the host's.
    pub dns: Option<Dns>,
    /// What the pod's files about the network say besides.
    #[serde(default)]
    pub names: Names,
    /// Ports of the host that lead to the pod.
    pub ports: Vec<PortMapping>,
    /// Given back unchanged.
    pub labels: BTreeMap<String, String>,
    /// Given back unchanged.
    pub annotations: BTreeMap<String, String>,
    /// The handler: empty and `native` are Berth's own runtime.
    pub handler: String,
    /// The parent cgroup in cgroupfs syntax; None is the daemon's cgroup root.
    pub cgroup_parent: Option<String>,
    /// Which namespaces the pod has of its own.
    pub namespaces: Namespaces,
    /// Namespaced sysctls, by their dotted names.
    pub sysctls: BTreeMap<String, String>,
    /// Security settings of the sandbox itself.
    pub security: SandboxSecurity,
    /// Resources of the pod as a whole, for the pod's own cgroup when Berth makes it.
    pub resources: Resources,
}

/// The identity of a pod sandbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SandboxMetadata {
    /// The pod's name.
    pub name: String,
    /// The pod's uid; crictl may leave it empty.
    pub uid: String,
    /// The pod's Kubernetes namespace.
    pub namespace: String,
    /// Counts the sandboxes of one pod.
    pub attempt: u32,
}

/// What resolv.conf says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Name servers.
    pub servers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Options, as `ndots:5`.
    pub options: Vec<String>,
}

/// What /etc/hosts and resolv.conf of a pod say besides what they say anyway. A kubelet writes them itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// The names of its own addresses; empty is its host name.
    pub own: Vec<String>,
    /// Further addresses and their names.
    pub hosts: Vec<(IpAddr, Vec<String>)>,
    /// What is added to the name servers, search domains and options that it has from the network or the host.
    pub dns: Dns,
}

/// A port of the host that leads to the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The protocol.
    pub protocol: Protocol,
    /// The port in the pod.
    pub container_port: u16,
    /// The port on the host; 0 maps nothing.
    pub host_port: u16,
    /// The host's address; None is all of them.
    pub host_ip: Option<IpAddr>,
}

/// Transport protocols of port mappings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Which namespaces a pod has of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Network (and with it UTS).
    pub network: Network,
    /// PID, the default of the pod's containers.
    pub pid: PidMode,
    /// IPC.
    pub ipc: NamespaceMode,
    /// User ids; None is the host's. What the pod has of its own belongs to it.
    #[serde(default)]
    pub user: Option<UserNamespace>,
}

/// A user namespace of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UserNamespace {
    /// User ids.
    pub uids: IdMap,
    /// Group ids.
    pub gids: IdMap,
}

/// A range of ids in the pod, and the host's ids that they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdMap {
    /// The first id in the pod.
    pub container: u32,
    /// The host's id that it is.
    pub host: u32,
    /// How many.
    pub length: u32,
}

impl IdMap {
    /// The host's id that `id` in the pod is; None where it is not mapped.
    pub fn to_host(self, id: u32) -> Option<u32> {
        let offset = id.checked_sub(self.container).filter(|offset| *offset < self.length)?;
        self.host.checked_add(offset)
    }

    /// As user_namespaces(7) has it: first inside, first outside, how many.
    pub(crate) fn range(self) -> berth_sys::user::Range {
        (self.container, self.host, self.length)
    }
}

impl UserNamespace {
    /// The host's ids of its root.
    pub(crate) fn root(self) -> (u32, u32) {
        (self.uids.to_host(0).unwrap_or(self.uids.host), self.gids.to_host(0).unwrap_or(self.gids.host))
    }
}

/// Of the pod or of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceMode {
    /// The pod's own.
    Pod,
    /// The host's.
    Node,
}

/// The pod's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The network that the daemon has configured for the pod's owner.
    Pod,
    /// The host's.
    Host,
    /// The pod's own namespace with loopback only.
    None,
}

/// Whose PID namespace a container is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PidMode {
    /// One for all containers of the pod.
    Pod,
    /// Its own.
    Container,
    /// The host's.
    Node,
    /// That of the container with this id.
    Target(String),
}
