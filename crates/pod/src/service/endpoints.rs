//! From services and pods to where connections go. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use berth_engine::services::{Balanced, Front, Protocol, ServiceNetwork, Services};

use super::keep::Record;
use super::{Key, allot};
use crate::manifest::{Families, PortProtocol, Service, TargetPort};

/// A pod, as services look at it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) labels: BTreeMap<String, String>,
    /// The primary one first; none of a pod that is not up.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ready: bool,
    /// The host name that its manifest says, and the service that it is below.
    pub(super) hostname: Option<String>,
    pub(super) subdomain: Option<String>,
    pub(super) ports: Vec<NamedPort>,
}

/// A port of a container that has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedPort {
    pub(super) name: String,
    pub(super) protocol: PortProtocol,
    pub(super) number: u16,
}

/// What a service leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Of each of its ports.
    pub(super) ports: Vec<FoundPort>,
    /// The pods, also those that have none of the ports.
    pub(super) pods: Vec<FoundPod>,
}

/// Where a port leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FoundPort {
    pub(super) to: Vec<SocketAddr>,
}

/// A pod of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FoundPod {
    pub(super) addresses: Vec<IpAddr>,
    /// Its own name below the service's.
    pub(super) hostname: Option<String>,
    /// The number of each port of the service there.
    pub(super) ports: Vec<Option<u16>>,
}

/// Whether pods of these labels are a service's.
pub(super) fn selects(service: &Service, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    let selector = &service.spec.selector;
    let has = |(key, value): (&String, &String)| labels.get(key) == Some(value);
    !selector.is_empty() && service.namespace == namespace && selector.iter().all(has)
}

/// What a service leads to, in a fixed order.
pub(super) fn find(service: &Service, pods: &[Pod]) -> Found {
    let spec = &service.spec;
    let fits = |ip: &IpAddr| match spec.families {
        Families::OfNetwork | Families::Both => true,
        Families::V4 => ip.is_ipv4(),
        Families::V6 => ip.is_ipv6(),
    };
    let mut found = Found { ports: vec![FoundPort::default(); spec.ports.len()], pods: Vec::new() };
    for pod in pods {
        let is_one = (pod.ready || spec.publish_not_ready) && selects(service, &pod.namespace, &pod.labels);
        let addresses: Vec<IpAddr> = pod.addresses.iter().copied().filter(fits).collect();
        if !is_one || addresses.is_empty() {
            continue;
        }
        let ports: Vec<Option<u16>> = spec
            .ports
            .iter()
            .map(|port| match &port.target {
                TargetPort::Number(number) => Some(*number),
                TargetPort::Name(name) => pod
                    .ports
                    .iter()
                    .find(|own| own.name == *name && own.protocol == port.protocol)
                    .map(|own| own.number),
            })
            .collect();
        for (into, number) in found.ports.iter_mut().zip(&ports) {
            let Some(number) = *number else { continue };
            into.to.extend(addresses.iter().map(|ip| SocketAddr::new(*ip, number)));
        }
        let below = pod.subdomain.as_deref() == Some(service.name.as_str());
        let hostname = pod.hostname.clone().filter(|_| below);
        found.pods.push(FoundPod { addresses, hostname, ports });
    }
    for port in &mut found.ports {
        // Pods of the host's network have the same address.
        port.to.sort_unstable();
        port.to.dedup();
    }
    found.pods.sort_by(|a, b| a.addresses.cmp(&b.addresses));
    found
}

fn protocol(of: PortProtocol) -> Protocol {
    match of {
        PortProtocol::Udp => Protocol::Udp,
        PortProtocol::Tcp | PortProtocol::Sctp => Protocol::Tcp,
    }
}

/// What the network is asked for; `dns` is the port of the server on the gateway.
pub(super) fn rules(
    records: &BTreeMap<Key, Record>,
    found: &BTreeMap<Key, Found>,
    network: &ServiceNetwork,
    dns: Option<u16>,
) -> Services {
    let mut ports = Vec::new();
    if let Some(port) = dns {
        let server = vec![SocketAddr::new(network.gateway4.into(), port)];
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let front = Front::Address(allot::dns(network));
            ports.push(Balanced { front, protocol, port: 53, to: server.clone() });
        }
    }
    let none = Found::default();
    for (key, record) in records {
        let found = found.get(key).unwrap_or(&none);
        let lease = &record.lease;
        let addresses = lease.address4.map(IpAddr::from).into_iter().chain(lease.address6.map(IpAddr::from));
        let addresses: Vec<IpAddr> = addresses.collect();
        for (index, port) in record.service.spec.ports.iter().enumerate() {
            let to = found.ports.get(index).map(|port| port.to.clone()).unwrap_or_default();
            let balanced = |front, port_number, to: &[SocketAddr]| Balanced {
                front,
                protocol: protocol(port.protocol),
                port: port_number,
                to: to.to_vec(),
            };
            for ip in &addresses {
                let own: Vec<_> = to.iter().copied().filter(|to| to.is_ipv4() == ip.is_ipv4()).collect();
                ports.push(balanced(Front::Address(*ip), port.port, &own));
            }
            if let Some(node_port) = lease.node_ports.get(index).copied().flatten() {
                ports.push(balanced(Front::Host, node_port, &to));
            }
        }
    }
    Services { active: dns.is_some() || !records.is_empty(), ports }
}

#[cfg(test)]
mod tests;
