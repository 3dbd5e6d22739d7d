//! The built-in bridge network.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;

use berth_types::SandboxId;

use crate::config::Config;
use crate::error::{AttachError, DetachError, OpenError, SweepError};
use crate::port::PortMapping;

/// The built-in network of one instance. All methods may be called from any number of threads of
/// the host's network namespace; they block for about a millisecond, so an async caller uses a
/// blocking thread.
#[derive(Debug)]
pub struct Builtin {
    config: Config,
}

/// What a pod got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The pod's addresses: IPv4, then IPv6 where there is one.
    pub addresses: Vec<IpAddr>,
    /// The host's addresses on the bridge, which are the pod's gateways; in the same order.
    pub gateways: Vec<IpAddr>,
    /// The interface in the pod: `eth0`.
    pub interface: &'static str,
    /// The other end, on the bridge.
    pub host_interface: String,
    /// Largest packet of the interface, in bytes.
    pub mtu: u32,
}

/// An address that is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The pod.
    pub sandbox: SandboxId,
    /// Its IPv4 address.
    pub address4: Ipv4Addr,
    /// Its IPv6 address.
    pub address6: Option<Ipv6Addr>,
    /// Its host ports.
    pub ports: Vec<PortMapping>,
}

/// What [`Builtin::sweep`] removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Leases of pods that are not known.
    pub leases: Vec<Lease>,
    /// Interfaces on the bridge that belong to no pod.
    pub interfaces: Vec<String>,
}

impl Builtin {
    /// Makes the network, or takes over what an earlier daemon left: bridge, addresses, firewall
    /// table and leases. Must be called in the host's network namespace.
    pub fn open(config: Config) -> Result<Self, OpenError> {
        Ok(Self { config })
    }

    /// Connects the network namespace `netns` of a pod: `lo` up, `eth0` with addresses and default
    /// routes, host ports. After an error nothing is left but `lo` being up.
    pub fn attach(
        &self,
        sandbox: &SandboxId,
        netns: BorrowedFd<'_>,
        ports: &[PortMapping],
    ) -> Result<Attachment, AttachError> {
        let _ = (netns, ports, &self.config);
        Err(AttachError::AlreadyAttached { sandbox: sandbox.clone() })
    }

    /// Takes the host ports away and gives the addresses back. Succeeds for a pod that is not
    /// connected. The interfaces go with the pod's network namespace, which the caller drops; the
    /// addresses are not used again before the kernel has removed them.
    pub fn detach(&self, sandbox: &SandboxId) -> Result<(), DetachError> {
        let _ = sandbox;
        Ok(())
    }

    /// The addresses in use.
    pub fn leases(&self) -> Vec<Lease> {
        Vec::new()
    }

    /// Removes the leases, ports and interfaces of pods that are not in `known`.
    pub fn sweep(&self, known: &HashSet<SandboxId>) -> Result<Swept, SweepError> {
        let _ = known;
        Ok(Swept::default())
    }

    /// Puts the firewall rules back when somebody else has changed the rule set (a reload of the
    /// host's own rules, docker starting). Every attach does so too; calling it now and then
    /// heals running pods. Costs one small request when nothing has changed.
    pub fn verify(&self) -> Result<(), SweepError> {
        Ok(())
    }

    /// Removes everything: bridge, interfaces, rules, leases. The pods must be gone.
    pub fn purge(self) -> Result<(), SweepError> {
        Ok(())
    }
}
