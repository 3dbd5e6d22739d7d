//! The names of services and their pods (the specification of DNS-based service discovery of Kubernetes). Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use berth_dns::{Block, Data, Name, Zone};
use berth_engine::services::ServiceNetwork;

use super::endpoints::{Found, FoundPod};
use super::keep::Record;
use super::{Key, allot};
use crate::manifest::{PortProtocol, Service};
use crate::plan::CLUSTER;

/// The zone of these services.
pub(super) fn zone(
    records: &BTreeMap<Key, Record>,
    found: &BTreeMap<Key, Found>,
    network: &ServiceNetwork,
) -> Zone {
    let domain: Name = CLUSTER.parse().expect("a short name");
    let mut zone = Zone::new(&domain, &[allot::dns(network)], blocks(network));
    let none = Found::default();
    for (key, record) in records {
        let service = &record.service;
        let found = found.get(key).unwrap_or(&none);
        let Some(name) = name(&[&key.name, &key.namespace, "svc", CLUSTER]) else { continue };
        if let Some(target) = &service.spec.external_name {
            if let Ok(target) = target.parse() {
                zone.add(name, Data::Cname(target));
            }
        } else if service.spec.headless {
            headless(&mut zone, &name, service, found);
        } else {
            let lease = &record.lease;
            let v4 = lease.address4.map(IpAddr::from);
            for ip in v4.into_iter().chain(lease.address6.map(IpAddr::from)) {
                zone.add(name.clone(), Data::address(ip));
                zone.add(Name::of_address(ip), Data::Ptr(name.clone()));
            }
            for port in service.spec.ports.iter().filter(|port| !port.name.is_empty()) {
                let data = Data::Srv(port.port, name.clone());
                add_port(&mut zone, &port.name, port.protocol, &name, data);
            }
        }
    }
    zone
}

/// The addresses whose names are known here or nowhere: those of services and of pods.
pub(super) fn blocks(network: &ServiceNetwork) -> Vec<Block> {
    let v4 = [network.cidr4, network.pods4].map(|cidr| Block::new(cidr.base().into(), cidr.prefix()));
    let v6 = [network.cidr6, network.pods6].into_iter().flatten();
    v4.into_iter().chain(v6.map(|cidr| Block::new(cidr.base().into(), cidr.prefix()))).collect()
}

fn name(parts: &[&str]) -> Option<Name> {
    parts.join(".").parse().ok()
}

fn below(first: &str, name: &Name) -> Option<Name> {
    format!("{first}.{name}").parse().ok()
}

/// The pods themselves, each with a name of its own.
fn headless(zone: &mut Zone, service_name: &Name, service: &Service, found: &Found) {
    for pod in &found.pods {
        let Some(own) = below(&hostname(pod), service_name) else { continue };
        for ip in &pod.addresses {
            zone.add(service_name.clone(), Data::address(*ip));
            zone.add(own.clone(), Data::address(*ip));
            if pod.hostname.is_some() {
                zone.add(Name::of_address(*ip), Data::Ptr(own.clone()));
            }
        }
        for (port, number) in service.spec.ports.iter().zip(&pod.ports) {
            let Some(number) = number.filter(|_| !port.name.is_empty()) else { continue };
            add_port(zone, &port.name, port.protocol, service_name, Data::Srv(number, own.clone()));
        }
    }
}

/// The name of a pod below its service; as CoreDNS makes it of the address where the pod says none.
fn hostname(pod: &FoundPod) -> String {
    match (&pod.hostname, pod.addresses.first()) {
        (Some(hostname), _) => hostname.clone(),
        (None, Some(ip)) => ip.to_string().replace(['.', ':'], "-").trim_matches('-').to_owned(),
        (None, None) => String::new(),
    }
}

fn add_port(zone: &mut Zone, port: &str, protocol: PortProtocol, name: &Name, data: Data) {
    let protocol = if protocol == PortProtocol::Udp { "_udp" } else { "_tcp" };
    if let Some(name) = below(&format!("_{port}.{protocol}"), name) {
        zone.add(name, data);
    }
}

#[cfg(test)]
mod tests;
