//! A pod's network: its connection, and the files that describe it to the containers.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use berth_net::{AttachRequest, Attached, PodNetwork, PortMapping, Protocol, hosts, resolv};
use berth_types::SandboxId;

use crate::error::EngineError;
use crate::host::layout::PodDir;
use crate::model::{self, NamespaceMode, Network, SandboxConfig, UserNamespace};
use crate::oci::mounts::PodFiles;
use crate::oci::{self, HostFacts};

/// Connects the pod; gives what it got.
pub(crate) fn attach(
    network: &dyn PodNetwork,
    id: &SandboxId,
    netns: &OwnedFd,
    path: &Path,
    config: &SandboxConfig,
) -> Result<Attached, EngineError> {
    let ports: Vec<PortMapping> = config.ports.iter().filter(|p| p.host_port != 0).map(port).collect();
    let dns = config.dns.as_ref().map(dns);
    let request = AttachRequest {
        sandbox: id,
        name: &config.metadata.name,
        namespace: &config.metadata.namespace,
        uid: &config.metadata.uid,
        annotations: &config.annotations,
        netns: netns.as_fd(),
        netns_path: Some(path),
        ports: &ports,
        dns: dns.as_ref(),
    };
    network.attach(&request).map_err(|e| EngineError::failed("connect the pod to the network", e))
}

fn port(from: &model::PortMapping) -> PortMapping {
    PortMapping {
        protocol: match from.protocol {
            model::Protocol::Tcp => Protocol::Tcp,
            model::Protocol::Udp => Protocol::Udp,
            model::Protocol::Sctp => Protocol::Sctp,
        },
        host_ip: from.host_ip.map(|ip| ip.to_canonical()),
        host_port: from.host_port,
        container_port: from.container_port,
    }
}

fn dns(from: &model::Dns) -> resolv::Dns {
    resolv::Dns {
        searches: from.searches.clone(),
        servers: from.servers.clone(),
        options: from.options.clone(),
    }
}

/// The text of the pod's resolv.conf when the configuration says it.
pub(crate) fn asked_resolv(config: &SandboxConfig) -> Result<Option<String>, EngineError> {
    let Some(asked) = &config.dns else { return Ok(None) };
    let text = resolv::file(&dns(asked)).map_err(|e| EngineError::invalid("dns_config", e.to_string()))?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// A resolv.conf with what the configuration adds to it.
pub(crate) fn added(text: &str, config: &SandboxConfig) -> Result<String, EngineError> {
    resolv::add(text, &dns(&config.names.dns)).map_err(|e| EngineError::invalid("names.dns", e.to_string()))
}

/// Writes hosts, hostname and resolv.conf into the pod's directory, for its root.
pub(crate) fn write(
    dir: &PodDir,
    config: &SandboxConfig,
    facts: &HostFacts,
    attached: &Attached,
) -> Result<(), EngineError> {
    let host = config.namespaces.network == Network::Host;
    let name = oci::hostname(config, facts);
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let names = &config.names;
    let hosts = if host {
        let mut hosts = read("/etc/hosts").unwrap_or_default();
        hosts::add(&mut hosts, &names.hosts);
        hosts
    } else {
        let own =
            if names.own.is_empty() { vec![name] } else { names.own.iter().map(String::as_str).collect() };
        hosts::file(&own, &attached.addresses, &names.hosts)
    };
    // A network may say nonsense; then the pod has the host's.
    let of_network = attached.dns.as_ref().and_then(|dns| resolv::file(dns).ok()).unwrap_or_default();
    let resolv = match asked_resolv(config)? {
        Some(text) => text,
        None if !of_network.is_empty() => of_network,
        None if host => read(resolv::HOST).unwrap_or_default(),
        None => {
            let own = read(resolv::HOST).unwrap_or_default();
            let (text, none_left) = resolv::from_host(&own, read(resolv::RESOLVED).as_deref());
            if none_left {
                tracing::debug!("the host has no name server that a pod could reach");
            }
            text
        }
    };
    let resolv = if names.dns == model::Dns::default() { resolv } else { added(&resolv, config)? };
    // New files in a new directory: no reader sees them half written.
    let root = config.namespaces.user.map(UserNamespace::root);
    let write = |path: PathBuf, text: &str| {
        let written = std::fs::write(&path, text)
            .and_then(|()| root.map_or(Ok(()), |(uid, gid)| chown(&path, Some(uid), Some(gid))));
        written.map_err(|e| EngineError::system(format!("write {}", path.display()), e))
    };
    write(dir.hosts(), &hosts)?;
    write(dir.resolv(), &resolv)?;
    write(dir.hostname(), &format!("{name}\n"))
}

/// Where a container of the pod finds the pod's files.
pub(crate) fn files(dir: &PodDir, config: &SandboxConfig) -> PodFiles {
    let shm = match config.namespaces.ipc {
        NamespaceMode::Pod => dir.shm(),
        NamespaceMode::Node => PathBuf::from("/dev/shm"),
    };
    PodFiles { shm, hosts: dir.hosts(), hostname: dir.hostname(), resolv: dir.resolv() }
}
