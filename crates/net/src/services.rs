//! Services: virtual addresses and ports of the host that lead to one of several pods. What is asked for, as a value.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::cidr::{Cidr4, Cidr6};
use crate::port::Protocol;

/// The most places that all ports of all services lead to, together.
pub const MAX_TARGETS: usize = 50_000;

/// Where services have their addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceNetwork {
    /// The IPv4 block.
    pub cidr4: Cidr4,
    /// The IPv6 block, where pods have IPv6.
    pub cidr6: Option<Cidr6>,
    /// The pods' blocks.
    pub pods4: Cidr4,
    /// The pods' IPv6 block.
    pub pods6: Option<Cidr6>,
    /// The host's address on the bridge.
    pub gateway4: Ipv4Addr,
    /// Its IPv6 address there.
    pub gateway6: Option<Ipv6Addr>,
}

/// What connections are made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Front {
    /// A virtual address, from pods and the host itself.
    Address(IpAddr),
    /// Any address of the host, also from outside.
    Host,
}

/// A port, and the places that its connections are shared between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balanced {
    /// What connections are made to.
    pub front: Front,
    /// The protocol: TCP or UDP.
    pub protocol: Protocol,
    /// The port there.
    pub port: u16,
    /// Where they go, each with the same chance; of both families for the host. Where there is none they are refused.
    pub to: Vec<SocketAddr>,
}

impl Balanced {
    /// The places of one family.
    pub(crate) fn of_family(&self, v6: bool) -> impl Iterator<Item = SocketAddr> {
        let fits = match self.front {
            Front::Address(ip) => ip.is_ipv6() == v6,
            Front::Host => true,
        };
        self.to.iter().copied().filter(move |to| fits && to.is_ipv6() == v6)
    }
}

/// All services of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Services {
    /// Whether there are any: addresses of the block that no service has are refused then, too.
    pub active: bool,
    /// Their ports.
    pub ports: Vec<Balanced>,
}

impl Services {
    /// The places that ports lead to, together.
    pub fn targets(&self) -> usize {
        self.ports.iter().map(|port| port.to.len()).sum()
    }
}
