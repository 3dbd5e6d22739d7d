//! The errors of pod networks, those of the built-in one with an enum per operation.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use berth_sys::netlink;
use berth_types::{Classify, Kind, SandboxId};
use rustix::io::Errno;

use crate::cidr::Cidr4;
use crate::cni::CniError;
use crate::port::PortMapping;

/// Why the network could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration cannot be used.
    #[error("built-in network: {what}")]
    Config {
        /// What is wrong with it.
        what: String,
    },
    /// The name of the bridge is used by an interface that is not ours.
    #[error("interface {bridge} exists and is not the bridge of this network ({found})")]
    ForeignInterface {
        /// The name.
        bridge: String,
        /// What the interface is.
        found: String,
    },
    /// The block of addresses overlaps a network that the host has a route to.
    #[error("pod addresses {cidr} overlap {route} on interface {interface}")]
    Overlap {
        /// The block asked for.
        cidr: Cidr4,
        /// The network of the host.
        route: Cidr4,
        /// The interface that the route leads to.
        interface: String,
    },
    /// Each block that could be chosen overlaps a network of the host.
    #[error("all blocks of pod addresses overlap networks of the host")]
    NoFreeBlock,
    /// The directory of leases is in use by another daemon.
    #[error("{path} is in use by another process")]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// A file or a kernel setting could not be read or written.
    #[error("{action} {path}")]
    File {
        /// `read`, `write`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel refused a part of the network.
    #[error("set up bridge {bridge}")]
    Kernel {
        /// The bridge.
        bridge: String,
        /// The request that was refused.
        source: netlink::NetlinkError,
    },
}

impl Classify for OpenError {
    fn kind(&self) -> Kind {
        match self {
            Self::Config { .. } => Kind::Invalid,
            Self::ForeignInterface { .. } | Self::Overlap { .. } | Self::NoFreeBlock | Self::Busy { .. } => {
                Kind::Precondition
            }
            Self::File { .. } | Self::Kernel { .. } => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::ForeignInterface { bridge, .. } => {
                Some(format!("choose another name with --bridge, or delete it: ip link delete {bridge}"))
            }
            Self::Overlap { .. } | Self::NoFreeBlock => {
                Some("choose a free block with --pod-cidr".to_owned())
            }
            Self::Busy { .. } => Some("a second daemon needs --instance NAME".to_owned()),
            Self::Config { .. } | Self::File { .. } | Self::Kernel { .. } => None,
        }
    }
}

/// Why a pod could not be connected. Nothing is left behind then.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// All addresses are taken.
    #[error("no free address in {cidr}: {leases} in use, {draining} not yet released by the kernel")]
    Exhausted {
        /// The block.
        cidr: Cidr4,
        /// Pods that have an address.
        leases: usize,
        /// Addresses of removed pods whose interface the kernel still has.
        draining: usize,
    },
    /// The bridge has as many ports as a bridge can have.
    #[error("bridge {bridge} has 1023 ports, the most that the kernel allows")]
    BridgeFull {
        /// The bridge.
        bridge: String,
    },
    /// The network was removed.
    #[error("the pod network {bridge} was removed by a purge")]
    Purged {
        /// Its bridge.
        bridge: String,
    },
    /// The pod is already connected.
    #[error("sandbox {} is already connected", sandbox.short())]
    AlreadyAttached {
        /// The pod.
        sandbox: SandboxId,
    },
    /// A port mapping that cannot be made.
    #[error("host port {port}: {reason}")]
    BadPort {
        /// The mapping.
        port: PortMapping,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The host port belongs to another pod.
    #[error("host port {port} is used by sandbox {holder}")]
    PortTaken {
        /// The mapping.
        port: PortMapping,
        /// The pod that has the port.
        holder: SandboxId,
    },
    /// The host port is used by a process of the host.
    #[error("host port {port} is in use by a process of the host")]
    PortInUse {
        /// The mapping.
        port: PortMapping,
        /// The address that could not be bound.
        address: IpAddr,
    },
    /// The host port could not be held, for another reason than being in use.
    #[error("bind host port {port}")]
    Reserve {
        /// The mapping.
        port: PortMapping,
        /// What the system said.
        source: Errno,
    },
    /// The lease could not be written.
    #[error("write the lease {path}")]
    Lease {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The network settings of the pod's namespace could not be written.
    #[error("write the network settings of sandbox {}", sandbox.short())]
    Settings {
        /// The pod.
        sandbox: SandboxId,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel refused a part of the connection.
    #[error("connect sandbox {} to the network", sandbox.short())]
    Kernel {
        /// The pod.
        sandbox: SandboxId,
        /// The request that was refused.
        source: netlink::NetlinkError,
    },
}

impl Classify for AttachError {
    fn kind(&self) -> Kind {
        match self {
            Self::Exhausted { .. } | Self::BridgeFull { .. } => Kind::Exhausted,
            Self::AlreadyAttached { .. } | Self::PortTaken { .. } => Kind::AlreadyExists,
            Self::BadPort { .. } => Kind::Invalid,
            Self::PortInUse { .. } | Self::Purged { .. } => Kind::Precondition,
            Self::Lease { .. } | Self::Reserve { .. } | Self::Settings { .. } | Self::Kernel { .. } => {
                Kind::Internal
            }
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Exhausted { .. } => {
                Some("remove pods, or choose a larger block with --pod-cidr".to_owned())
            }
            Self::PortInUse { port, .. } => {
                Some(format!("see who uses it: ss -anp 'sport = :{}'", port.host_port))
            }
            Self::BridgeFull { .. } => {
                Some("remove pods, or run a second daemon with --instance NAME".to_owned())
            }
            Self::Purged { .. }
            | Self::AlreadyAttached { .. }
            | Self::PortTaken { .. }
            | Self::BadPort { .. }
            | Self::Reserve { .. }
            | Self::Settings { .. }
            | Self::Lease { .. }
            | Self::Kernel { .. } => None,
        }
    }
}

/// Why a pod could not be disconnected. The call can be repeated.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// The lease could not be removed.
    #[error("remove the lease {path}")]
    Lease {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel refused to take the host ports away.
    #[error("remove the host ports of sandbox {}", sandbox.short())]
    Kernel {
        /// The pod.
        sandbox: SandboxId,
        /// The request that was refused.
        source: netlink::NetlinkError,
    },
}

impl Classify for DetachError {
    fn kind(&self) -> Kind {
        Kind::Internal
    }
}

/// Why services could not be made what is asked for. The call can be repeated.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The network was removed.
    #[error("the pod network {bridge} was removed by a purge")]
    Purged {
        /// Its bridge.
        bridge: String,
    },
    /// This network has none.
    #[error("the network of the pods has no services")]
    Unsupported,
    /// Each block that could be chosen overlaps a network of the host.
    #[error("all blocks for the addresses of services overlap networks of the host")]
    NoBlock,
    /// They lead to more places than the rules may have.
    #[error("services lead to {targets} places, {} are allowed", crate::services::MAX_TARGETS)]
    TooMany {
        /// How many.
        targets: usize,
    },
    /// A port of the host cannot be held.
    #[error(transparent)]
    Port(AttachError),
    /// The host has a route of somebody else to the same addresses.
    #[error("another route of the host leads to the addresses of services, {blocks}")]
    RouteTaken {
        /// Their blocks.
        blocks: String,
        /// The request that was refused.
        source: netlink::NetlinkError,
    },
    /// The kernel refused.
    #[error("{what}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// The request that was refused.
        source: netlink::NetlinkError,
    },
}

impl Classify for ServiceError {
    fn kind(&self) -> Kind {
        match self {
            Self::Purged { .. } | Self::NoBlock | Self::RouteTaken { .. } => Kind::Precondition,
            Self::Unsupported => Kind::Unsupported,
            Self::TooMany { .. } => Kind::Exhausted,
            Self::Port(error) => error.kind(),
            Self::Kernel { .. } => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::RouteTaken { .. } => Some(
                "`ip route` and `ip -6 route` say which; remove it, or choose another block with --service-cidr"
                    .to_owned(),
            ),
            Self::NoBlock => Some("choose a free block with --service-cidr".to_owned()),
            Self::Port(error) => error.hint(),
            Self::Purged { .. } | Self::Unsupported | Self::TooMany { .. } | Self::Kernel { .. } => None,
        }
    }
}

/// Why orphans could not be listed or removed.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The kernel refused.
    #[error("{what}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// The request that was refused.
        source: netlink::NetlinkError,
    },
    /// The bridge could not be repaired.
    #[error("check the bridge")]
    Bridge(#[source] OpenError),
    /// A removed pod could not be disconnected.
    #[error("release the addresses of a pod that no longer exists")]
    Detach(#[source] DetachError),
    /// The directory of leases could not be removed.
    #[error("remove {path}")]
    File {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Classify for SweepError {
    fn kind(&self) -> Kind {
        Kind::Internal
    }
}

/// Why a [`PodNetwork`](crate::PodNetwork) failed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The pod could not be connected.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The pod could not be disconnected.
    #[error(transparent)]
    Detach(#[from] DetachError),
    /// The network could not be checked or repaired.
    #[error(transparent)]
    Upkeep(#[from] SweepError),
    /// Services could not be made.
    #[error(transparent)]
    Services(#[from] ServiceError),
    /// CNI plugins, or what belongs to them, failed.
    #[error(transparent)]
    Cni(#[from] CniError),
    /// Changes of the host cannot be noticed.
    #[error("watch the network's directories")]
    Watch(#[source] io::Error),
    /// The network has no record of the pod: its addresses may be given to another one.
    #[error("sandbox {} is not connected to the pod network", sandbox.short())]
    NotAttached {
        /// The pod.
        sandbox: SandboxId,
    },
    /// The pod has its addresses, but its interface is missing or not connected.
    #[error("interface {interface} of sandbox {} is not on the pod network", sandbox.short())]
    Unplugged {
        /// The pod.
        sandbox: SandboxId,
        /// The host's end of the pod's interface.
        interface: String,
    },
}

impl Classify for NetError {
    fn kind(&self) -> Kind {
        match self {
            Self::Attach(error) => error.kind(),
            Self::Detach(error) => error.kind(),
            Self::Upkeep(error) => error.kind(),
            Self::Services(error) => error.kind(),
            Self::Cni(error) => error.kind(),
            Self::Watch(_) => Kind::Internal,
            Self::NotAttached { .. } => Kind::NotFound,
            Self::Unplugged { .. } => Kind::Precondition,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Attach(error) => error.hint(),
            Self::Detach(error) => error.hint(),
            Self::Upkeep(error) => error.hint(),
            Self::Services(error) => error.hint(),
            Self::Cni(error) => error.hint(),
            Self::Watch(_) => None,
            Self::NotAttached { .. } | Self::Unplugged { .. } => Some("stop and remove the pod".to_owned()),
        }
    }
}
