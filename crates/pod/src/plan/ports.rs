//! Ports of containers, and those of the machine that lead to them.

use std::collections::BTreeSet;

use berth_engine::model::{PortMapping, Protocol};

use super::{Faults, wrong};
use crate::manifest::{Container, ContainerPort, Pod, PortProtocol};

fn word(protocol: PortProtocol) -> &'static str {
    match protocol {
        PortProtocol::Tcp => "TCP",
        PortProtocol::Udp => "UDP",
        PortProtocol::Sctp => "SCTP",
    }
}

/// What is wrong with them, as the API server says it.
pub(super) fn check(pod: &Pod, faults: &mut Faults) {
    let lists = [("initContainers", &pod.spec.init_containers), ("containers", &pod.spec.containers)];
    let mut of_host = BTreeSet::new();
    for (list, containers) in lists {
        for (index, container) in containers.iter().enumerate() {
            of_container(pod, container, &format!("spec.{list}[{index}].ports"), &mut of_host, faults);
        }
    }
}

fn of_container(
    pod: &Pod,
    container: &Container,
    at: &str,
    of_host: &mut BTreeSet<String>,
    faults: &mut Faults,
) {
    let mut names = BTreeSet::new();
    for (index, port) in container.ports.iter().enumerate() {
        let at = format!("{at}[{index}]");
        if port.container_port == 0 {
            faults.push(wrong(format!("{at}.containerPort"), "Required value"));
        }
        if let Some(name) = port.name.as_ref().filter(|name| !names.insert((*name).clone())) {
            faults.push(wrong(format!("{at}.name"), format!("Duplicate value: {name:?}")));
        }
        let host_port = port.host_port.unwrap_or(0);
        if pod.spec.host_network && host_port != 0 && host_port != port.container_port {
            let reason = "must match `containerPort` when `hostNetwork` is true";
            faults.push(wrong(format!("{at}.hostPort"), format!("Invalid value: {host_port}: {reason}")));
        }
        let ip = port.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
        let place = format!("{}/{ip}/{host_port}", word(port.protocol));
        if host_port != 0 && !of_host.insert(place.clone()) {
            faults.push(wrong(format!("{at}.hostPort"), format!("Duplicate value: {place:?}")));
        }
    }
}

/// Those of the machine; on its own network there is nothing to lead.
pub(super) fn plan(pod: &Pod) -> Vec<PortMapping> {
    if pod.spec.host_network {
        return Vec::new();
    }
    let all = pod.spec.containers.iter().flat_map(|container| &container.ports);
    let mapped = |port: &ContainerPort| {
        Some(PortMapping {
            protocol: match port.protocol {
                PortProtocol::Tcp => Protocol::Tcp,
                PortProtocol::Udp => Protocol::Udp,
                PortProtocol::Sctp => Protocol::Sctp,
            },
            container_port: port.container_port,
            host_port: port.host_port.filter(|port| *port != 0)?,
            host_ip: port.host_ip,
        })
    };
    all.filter_map(mapped).collect()
}
