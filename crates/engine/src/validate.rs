//! What a sandbox may ask for, checked before anything is made.

use std::collections::BTreeMap;

use berth_net::hostname;

use crate::config::{EngineConfig, NetworkChoice};
use crate::confinement;
use crate::error::EngineError;
use crate::model::{NamespaceMode, Namespaces, Network, PortMapping, SandboxConfig};
use crate::oci::HostFacts;
use crate::{sysctl, user_namespace};

/// Refuses what is not supported, by the field's name.
pub(crate) fn sandbox(
    config: &SandboxConfig,
    engine: &EngineConfig,
    host: &HostFacts,
) -> Result<(), EngineError> {
    if config.metadata.name.is_empty() {
        return Err(EngineError::invalid("metadata.name", "it is empty"));
    }
    confinement::sandbox(&config.security, host)?;
    name(config, host)?;
    if let Some(dir) = &config.log_directory
        && !dir.is_absolute()
    {
        let message = format!("{} is not absolute", dir.display());
        return Err(EngineError::invalid("log_directory", message));
    }
    if matches!(config.namespaces.pid, crate::model::PidMode::Target(_)) {
        return Err(EngineError::invalid("namespaces.pid", "a sandbox has no target container"));
    }
    user_namespace::check(&config.namespaces)?;
    sysctls(&config.sysctls, &config.namespaces)?;
    network(config, engine)?;
    crate::sandbox::asked_resolv(config).map(drop)
}

/// A pod on the host's network is in the host's UTS namespace too, where a name of its own would be the host's.
fn name(config: &SandboxConfig, host: &HostFacts) -> Result<(), EngineError> {
    let asked = &config.hostname;
    match config.namespaces.network {
        _ if asked.is_empty() => Ok(()),
        Network::Host if *asked == host.hostname => Ok(()),
        Network::Host => {
            let message = format!(
                "{asked:?} is not the host's name, and a pod on the host's network has that one; leave it out"
            );
            Err(EngineError::invalid("hostname", message))
        }
        Network::Pod | Network::None => {
            hostname::check(asked).map_err(|e| EngineError::invalid("hostname", e.to_string()))
        }
    }
}

fn network(config: &SandboxConfig, engine: &EngineConfig) -> Result<(), EngineError> {
    let mapped = config.ports.iter().any(|port| port.host_port != 0);
    match (config.namespaces.network, engine.network(config.owner)) {
        (Network::Pod, NetworkChoice::None) | (Network::None, _) if mapped => {
            let message = "a pod without a network has no ports to map";
            Err(EngineError::invalid("port_mappings", message))
        }
        (Network::Host, _) => own_ports(config),
        (Network::Pod | Network::None, _) => Ok(()),
    }
}

/// On the host's network a port is mapped to itself, as kubelets say it; another mapping would have no effect.
fn own_ports(config: &SandboxConfig) -> Result<(), EngineError> {
    let moved = |port: &&PortMapping| port.host_port != 0 && port.host_port != port.container_port;
    match config.ports.iter().find(moved) {
        Some(port) => {
            let message = format!(
                "port {} of a pod on the host's network is port {} of the host, not {}",
                port.container_port, port.container_port, port.host_port
            );
            Err(EngineError::invalid("port_mappings", message))
        }
        None => Ok(()),
    }
}

/// Only sysctls of namespaces that the pod has of its own: others would change the host.
fn sysctls(asked: &BTreeMap<String, String>, namespaces: &Namespaces) -> Result<(), EngineError> {
    for name in asked.keys() {
        let dotted = sysctl::path(name).replace('/', ".");
        let refuse = |message: &str| Err(EngineError::invalid("sysctls", format!("{name}: {message}")));
        if dotted.split('.').any(|part| part.is_empty() || part == "..") || dotted.contains('\0') {
            return refuse("not a sysctl's name");
        }
        let ipc =
            ["kernel.sem", "kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| dotted.starts_with(p));
        if ipc {
            if namespaces.ipc == NamespaceMode::Node {
                return refuse("the pod uses the host's IPC namespace");
            }
        } else if dotted.starts_with("net.") {
            if namespaces.network == Network::Host {
                return refuse("the pod uses the host's network");
            }
        } else {
            return refuse("not a namespaced sysctl; it would change the host");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
