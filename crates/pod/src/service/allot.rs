//! Which address and host ports a service gets. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use berth_engine::services::ServiceNetwork;

use super::keep::Lease;
use super::{Key, ServiceError};
use crate::manifest::{Families, NODE_PORTS, PortProtocol, Service, ServicePort};

/// The address of the DNS server, as it is in clusters: the tenth of the block.
pub(super) const DNS: u32 = 10;
/// The first that services get.
const FIRST: u32 = 11;

/// The address of the DNS server.
pub(super) fn dns(network: &ServiceNetwork) -> IpAddr {
    network.cidr4.nth(DNS).expect("blocks of services have at least 16 addresses").into()
}

/// A service as it was, and what it had then.
pub(super) type Had<'a> = (&'a Service, &'a Lease);

/// What a service has from now on: what it had, as far as that is still asked for, and what it lacks.
pub(super) fn lease<'a>(
    service: &Service,
    had: Option<Had<'_>>,
    others: impl Iterator<Item = &'a Lease>,
    network: &ServiceNetwork,
) -> Result<Lease, ServiceError> {
    let others: Vec<&Lease> = others.collect();
    let (address4, address6) = addresses(service, had.map(|(_, lease)| lease), &others, network)?;
    let node_ports = node_ports(service, had, &others)?;
    Ok(Lease { address4, address6, node_ports })
}

fn field(service: &Service, path: impl Into<String>, message: impl Into<String>) -> ServiceError {
    ServiceError::Field { service: service.name.clone(), path: path.into(), message: message.into() }
}

type Pair = (Option<Ipv4Addr>, Option<Ipv6Addr>);

fn addresses(
    service: &Service,
    had: Option<&Lease>,
    others: &[&Lease],
    network: &ServiceNetwork,
) -> Result<Pair, ServiceError> {
    let spec = &service.spec;
    if spec.headless || spec.external_name.is_some() {
        return Ok((None, None));
    }
    let (v4, v6) = match spec.families {
        Families::OfNetwork => (true, network.cidr6.is_some()),
        Families::V4 => (true, false),
        Families::V6 | Families::Both if network.cidr6.is_none() => {
            return Err(field(
                service,
                "spec.ipFamilies",
                "Invalid value: \"IPv6\": not configured on this machine",
            ));
        }
        Families::V6 => (false, true),
        Families::Both => (true, true),
    };
    let taken4: BTreeSet<Ipv4Addr> = others.iter().filter_map(|lease| lease.address4).collect();
    let taken6: BTreeSet<Ipv6Addr> = others.iter().filter_map(|lease| lease.address6).collect();
    let had4 =
        had.and_then(|lease| lease.address4).filter(|ip| network.cidr4.contains(*ip) && !taken4.contains(ip));
    let inside6 = |ip: &Ipv6Addr| network.cidr6.is_some_and(|cidr| cidr.contains(*ip));
    let had6 = had.and_then(|lease| lease.address6).filter(|ip| inside6(ip) && !taken6.contains(ip));
    let (asked4, asked6) = asked(service, (had4, had6), (&taken4, &taken6), network)?;
    let (keep4, keep6) = (asked4.or(had4).filter(|_| v4), asked6.or(had6).filter(|_| v6));
    if (!v4 || keep4.is_some()) && (!v6 || keep6.is_some()) {
        return Ok((keep4, keep6));
    }
    // The same number in both blocks, and the same each time where it is free.
    let size = network.cidr4.pods().min(u32::from(u16::MAX)).saturating_sub(FIRST).max(1);
    let start = hash(&Key::of(service)) % size;
    let offsets = (0..size).map(|i| FIRST + (start + i) % size);
    let mut free = offsets.filter_map(|offset| {
        let own4 = network.cidr4.nth(offset).filter(|ip| !taken4.contains(ip));
        let own6 = network.cidr6.and_then(|cidr| cidr.nth(offset)).filter(|ip| !taken6.contains(ip));
        let (own4, own6) = (keep4.or(own4), keep6.or(own6));
        ((!v4 || own4.is_some()) && (!v6 || own6.is_some()))
            .then(|| (own4.filter(|_| v4), own6.filter(|_| v6)))
    });
    free.next().ok_or_else(|| ServiceError::Exhausted { service: service.name.clone() })
}

/// The address that a service asks for.
fn asked(
    service: &Service,
    (had4, had6): Pair,
    (taken4, taken6): (&BTreeSet<Ipv4Addr>, &BTreeSet<Ipv6Addr>),
    network: &ServiceNetwork,
) -> Result<Pair, ServiceError> {
    let Some(asked) = service.spec.asked else { return Ok((None, None)) };
    let path = "spec.clusterIPs[0]";
    let (had, inside, taken) = match asked {
        IpAddr::V4(ip) => (
            had4.map(IpAddr::from),
            network.cidr4.contains(ip),
            taken4.contains(&ip) || dns(network) == asked,
        ),
        IpAddr::V6(ip) => (
            had6.map(IpAddr::from),
            network.cidr6.is_some_and(|cidr| cidr.contains(ip)),
            taken6.contains(&ip),
        ),
    };
    if let Some(had) = had.filter(|had| *had != asked) {
        let message =
            format!("Invalid value: \"{asked}\": field is immutable, it is {had} (hint: berth down first)");
        return Err(field(service, path, message));
    }
    if !inside {
        let ranges: Vec<_> =
            std::iter::once(network.cidr4.to_string()).chain(network.cidr6.map(|c| c.to_string())).collect();
        let message = format!(
            "Invalid value: \"{asked}\": the provided IP ({asked}) is not in the valid range. The range of valid IPs is {}",
            ranges.join(", ")
        );
        return Err(field(service, path, message));
    }
    if taken {
        let message = format!("Invalid value: \"{asked}\": provided IP is already allocated");
        return Err(field(service, path, message));
    }
    Ok(match asked {
        IpAddr::V4(ip) => (Some(ip), None),
        IpAddr::V6(ip) => (None, Some(ip)),
    })
}

fn node_ports(
    service: &Service,
    had: Option<Had<'_>>,
    others: &[&Lease],
) -> Result<Vec<Option<u16>>, ServiceError> {
    if !service.spec.kind.has_node_ports() {
        return Ok(Vec::new());
    }
    // A port number belongs to one service, whatever its protocol: so messages and lists need not say it.
    let taken: BTreeSet<u16> =
        others.iter().flat_map(|lease| lease.node_ports.iter().flatten().copied()).collect();
    let udp = |port: &ServicePort| port.protocol == PortProtocol::Udp;
    let wanted = &service.spec.ports;
    for (index, asked) in wanted.iter().enumerate().filter_map(|(i, port)| Some((i, port.node_port?))) {
        if taken.contains(&asked) {
            let message = format!("Invalid value: {asked}: provided port is already allocated");
            return Err(field(service, format!("spec.ports[{index}].nodePort"), message));
        }
    }
    let mut ports: Vec<Option<u16>> = wanted.iter().map(|port| port.node_port).collect();
    let mut own: BTreeSet<_> = wanted.iter().filter_map(|port| Some((udp(port), port.node_port?))).collect();
    for same in [same_number, same_name] {
        for (port, given) in wanted.iter().zip(&mut ports).filter(|(_, given)| given.is_none()) {
            let kept = had.and_then(|had| node_port(had, |old| same(old, port)));
            *given = kept.filter(|number| !taken.contains(number) && own.insert((udp(port), *number)));
        }
    }
    for (index, (port, given)) in wanted.iter().zip(&mut ports).enumerate() {
        if given.is_some() {
            continue;
        }
        let size = u32::from(NODE_PORTS.end() - NODE_PORTS.start()) + 1;
        let start = hash(&Key::of(service)).wrapping_add(u32::try_from(index).unwrap_or(0)) % size;
        let mut numbers =
            (0..size).map(|i| NODE_PORTS.start() + u16::try_from((start + i) % size).unwrap_or(0));
        *given = numbers.find(|number| !taken.contains(number) && own.insert((udp(port), *number)));
        if given.is_none() {
            return Err(field(service, format!("spec.ports[{index}].nodePort"), "every port is taken"));
        }
    }
    Ok(ports)
}

/// Ports are the same by protocol and number, as `kubectl apply` has it, or else by name, as the API server has it.
fn same_number(old: &ServicePort, new: &ServicePort) -> bool {
    (old.protocol, old.port) == (new.protocol, new.port)
}

fn same_name(old: &ServicePort, new: &ServicePort) -> bool {
    old.name == new.name
}

/// The machine's port of the first that is meant.
fn node_port((service, lease): Had<'_>, is_meant: impl Fn(&ServicePort) -> bool) -> Option<u16> {
    let mut ports = service.spec.ports.iter().zip(&lease.node_ports);
    ports.find(|(old, _)| is_meant(old)).and_then(|(_, number)| *number)
}

/// FNV-1a, so that a service that is made again is likely to get the same.
fn hash(key: &Key) -> u32 {
    let bytes = key.namespace.bytes().chain([0]).chain(key.name.bytes());
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests;
