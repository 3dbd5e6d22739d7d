//! Host ports: which port of the host leads to which port of a pod, and which mappings exclude
//! each other.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// A transport protocol that ports are mapped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The number in IP headers.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// One port of the host that leads to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortMapping {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The address of the host that the port is opened on. `None`: all addresses of both families;
    /// `0.0.0.0` or `::`: all of that family.
    pub host_ip: Option<IpAddr>,
    /// The port of the host, not 0.
    pub host_port: u16,
    /// The port in the pod, not 0.
    pub container_port: u16,
}

impl PortMapping {
    /// Whether the mapping is for all IPv4 addresses, for one, or not for IPv4.
    pub(crate) fn scope4(&self) -> Scope<Ipv4Addr> {
        match self.host_ip {
            None => Scope::All,
            Some(IpAddr::V4(ip)) if ip.is_unspecified() => Scope::All,
            Some(IpAddr::V4(ip)) => Scope::One(ip),
            Some(IpAddr::V6(_)) => Scope::None,
        }
    }

    /// Whether the mapping is for all IPv6 addresses, for one, or not for IPv6.
    pub(crate) fn scope6(&self) -> Scope<Ipv6Addr> {
        match self.host_ip {
            None => Scope::All,
            Some(IpAddr::V6(ip)) if ip.is_unspecified() => Scope::All,
            Some(IpAddr::V6(ip)) => Scope::One(ip),
            Some(IpAddr::V4(_)) => Scope::None,
        }
    }

    /// Whether this mapping includes `other`: the same way into the pod, from
    /// the same addresses of the host or fewer.
    pub(crate) fn includes(&self, other: &Self) -> bool {
        (self.protocol, self.host_port, self.container_port)
            == (other.protocol, other.host_port, other.container_port)
            && self.scope4().includes(other.scope4())
            && self.scope6().includes(other.scope6())
    }

    /// Whether a packet could be meant by both mappings.
    pub fn conflicts(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.host_port == other.host_port
            && (self.scope4().meets(other.scope4()) || self.scope6().meets(other.scope6()))
    }
}

/// The addresses of one family that a mapping is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope<A> {
    None,
    One(A),
    All,
}

impl<A: PartialEq> Scope<A> {
    fn includes(self, other: Self) -> bool {
        match (self, other) {
            (Self::All, _) | (_, Self::None) => true,
            (Self::One(a), Self::One(b)) => a == b,
            (Self::None | Self::One(_), _) => false,
        }
    }

    fn meets(self, other: Self) -> bool {
        match (self, other) {
            (Self::None, _) | (_, Self::None) => false,
            (Self::All, _) | (_, Self::All) => true,
            (Self::One(a), Self::One(b)) => a == b,
        }
    }
}

/// The mappings without those that others of them include: a pod may ask for a port of all addresses and
/// of one of them.
pub(crate) fn distinct(ports: &[PortMapping]) -> Vec<PortMapping> {
    let mut kept: Vec<PortMapping> = Vec::new();
    for port in ports {
        if !kept.iter().any(|other| other.includes(port)) {
            kept.retain(|other| !port.includes(other));
            kept.push(*port);
        }
    }
    kept
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            None => write!(f, "{}/{}", self.host_port, self.protocol),
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:{}/{}", self.host_port, self.protocol),
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}/{}", self.host_port, self.protocol),
        }
    }
}

#[cfg(test)]
mod tests;
