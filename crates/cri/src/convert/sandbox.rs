//! Pod sandboxes.

use berth_engine::model::{
    Dns, NamespaceMode, Namespaces, Network, Owner, PidMode, PortMapping, Protocol, SandboxConfig,
    SandboxMetadata, SandboxSecurity, SandboxView,
};
use berth_types::lifecycle::sandbox::Listed;

use super::{known, resources, security};
use crate::api;
use crate::error::FieldError;

/// The sandbox asked for.
pub(crate) fn from_api(from: &api::PodSandboxConfig, handler: &str) -> Result<SandboxConfig, FieldError> {
    let metadata = from.metadata.as_ref().ok_or(FieldError::Missing("config.metadata"))?;
    if from.windows.is_some() {
        return Err(FieldError::unsupported("config.windows", "Berth runs Linux containers"));
    }
    let linux = from.linux.clone().unwrap_or_default();
    let context = linux.security_context.as_ref();
    Ok(SandboxConfig {
        owner: Owner::Cri,
        metadata: SandboxMetadata {
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
            namespace: metadata.namespace.clone(),
            attempt: metadata.attempt,
        },
        hostname: from.hostname.clone(),
        log_directory: (!from.log_directory.is_empty()).then(|| from.log_directory.clone().into()),
        dns: from.dns_config.as_ref().map(|dns| Dns {
            servers: dns.servers.clone(),
            searches: dns.searches.clone(),
            options: dns.options.clone(),
        }),
        ports: from.port_mappings.iter().enumerate().map(port).collect::<Result<_, _>>()?,
        labels: from.labels.clone(),
        annotations: from.annotations.clone(),
        handler: handler.to_owned(),
        cgroup_parent: (!linux.cgroup_parent.is_empty()).then(|| linux.cgroup_parent.clone()),
        namespaces: namespaces(context.and_then(|c| c.namespace_options.as_ref()))?,
        sysctls: linux.sysctls,
        security: context.map_or_else(|| Ok(SandboxSecurity::default()), security::sandbox)?,
        resources: resources::of_sandbox("config.linux.resources", linux.resources.as_ref())?,
    })
}

fn port((index, from): (usize, &api::PortMapping)) -> Result<PortMapping, FieldError> {
    let at = |field: &str| format!("config.port_mappings[{index}].{field}");
    let number = |field: &str, value: i32| {
        u16::try_from(value).map_err(|_| FieldError::invalid(at(field), format!("{value} is not a port")))
    };
    Ok(PortMapping {
        protocol: match known(at("protocol"), from.protocol)? {
            api::Protocol::Tcp => Protocol::Tcp,
            api::Protocol::Udp => Protocol::Udp,
            api::Protocol::Sctp => Protocol::Sctp,
        },
        container_port: number("container_port", from.container_port)?,
        host_port: number("host_port", from.host_port)?,
        host_ip: match from.host_ip.as_str() {
            "" => None,
            ip => Some(
                ip.parse()
                    .map_err(|_| FieldError::invalid(at("host_ip"), format!("{ip:?} is not an address")))?,
            ),
        },
    })
}

/// Where the namespaces are in the messages of sandboxes and containers.
const NAMESPACES: &str = "config.linux.security_context.namespace_options";

/// Without options everything is the pod's, as the CRI's zero values say.
fn namespaces(from: Option<&api::NamespaceOption>) -> Result<Namespaces, FieldError> {
    let options = from.cloned().unwrap_or_default();
    refuse_user_namespace(&options)?;
    Ok(Namespaces {
        network: match pod_or_node("network", options.network)? {
            NamespaceMode::Pod => Network::Pod,
            NamespaceMode::Node => Network::Host,
        },
        pid: pid(&options)?,
        ipc: pod_or_node("ipc", options.ipc)?,
    })
}

/// The mode of a namespace that is the pod's or the host's.
fn pod_or_node(field: &str, value: i32) -> Result<NamespaceMode, FieldError> {
    let at = format!("{NAMESPACES}.{field}");
    match known(at.as_str(), value)? {
        api::NamespaceMode::Pod => Ok(NamespaceMode::Pod),
        api::NamespaceMode::Node => Ok(NamespaceMode::Node),
        mode @ (api::NamespaceMode::Container | api::NamespaceMode::Target) => Err(FieldError::invalid(
            at,
            format!("{} is not a mode of this namespace: POD or NODE", mode.as_str_name()),
        )),
    }
}

/// Refuses a container that asks for a network or IPC namespace that its pod does not have. POD is the zero value
/// of a message that says nothing, and such a container has what its pod has.
pub(super) fn fits(options: &api::NamespaceOption, pod: &Namespaces) -> Result<(), FieldError> {
    let asked = [
        ("network", pod_or_node("network", options.network)?, pod.network == Network::Host),
        ("ipc", pod_or_node("ipc", options.ipc)?, pod.ipc == NamespaceMode::Node),
    ];
    match asked.iter().find(|(_, mode, of_host)| *mode == NamespaceMode::Node && !of_host) {
        Some((field, ..)) => Err(FieldError::invalid(
            format!("{NAMESPACES}.{field}"),
            "the container requests the host's, but its pod sandbox has its own",
        )),
        None => Ok(()),
    }
}

/// The PID namespace that `options` ask for.
pub(super) fn pid(options: &api::NamespaceOption) -> Result<PidMode, FieldError> {
    let target = || format!("{NAMESPACES}.target_id");
    let mode = known(format!("{NAMESPACES}.pid"), options.pid)?;
    match (mode, options.target_id.as_str()) {
        (api::NamespaceMode::Target, "") => Err(FieldError::invalid(target(), "required when pid is TARGET")),
        (api::NamespaceMode::Target, id) => Ok(PidMode::Target(id.to_owned())),
        (_, id) if !id.is_empty() => {
            Err(FieldError::invalid(target(), format!("{id:?} is set, but pid is not TARGET")))
        }
        (api::NamespaceMode::Pod, _) => Ok(PidMode::Pod),
        (api::NamespaceMode::Container, _) => Ok(PidMode::Container),
        (api::NamespaceMode::Node, _) => Ok(PidMode::Node),
    }
}

/// User namespaces are announced as missing in Status; a request for one is refused, never ignored.
pub(super) fn refuse_user_namespace(options: &api::NamespaceOption) -> Result<(), FieldError> {
    let at = |field: &str| format!("{NAMESPACES}.userns_options.{field}");
    let Some(user) = &options.userns_options else { return Ok(()) };
    match known(at("mode"), user.mode)? {
        api::NamespaceMode::Node => {}
        api::NamespaceMode::Pod => {
            return Err(FieldError::unsupported(at("mode"), "set hostUsers: true, or leave it out"));
        }
        mode @ (api::NamespaceMode::Container | api::NamespaceMode::Target) => {
            let reason = format!("{} is not a mode of user namespaces", mode.as_str_name());
            return Err(FieldError::invalid(at("mode"), reason));
        }
    }
    for (field, mappings) in [("uids", &user.uids), ("gids", &user.gids)] {
        if !mappings.is_empty() {
            return Err(FieldError::unsupported(at(field), "the host's user namespace maps no ids"));
        }
    }
    Ok(())
}

pub(super) fn metadata(view: &SandboxView) -> api::PodSandboxMetadata {
    let m = &view.config.metadata;
    api::PodSandboxMetadata {
        name: m.name.clone(),
        uid: m.uid.clone(),
        namespace: m.namespace.clone(),
        attempt: m.attempt,
    }
}

fn state(listed: Listed) -> i32 {
    match listed {
        Listed::Ready => api::PodSandboxState::SandboxReady as i32,
        Listed::NotReady => api::PodSandboxState::SandboxNotready as i32,
    }
}

/// The row of a list; None for what the CRI does not list.
pub(crate) fn row(view: &SandboxView) -> Option<api::PodSandbox> {
    Some(api::PodSandbox {
        id: view.id.to_string(),
        metadata: Some(metadata(view)),
        state: state(view.state.listed()?),
        created_at: view.created_at,
        labels: view.config.labels.clone(),
        annotations: view.config.annotations.clone(),
        runtime_handler: view.config.handler.clone(),
    })
}

/// The status; None for what the CRI does not list.
pub(crate) fn status(view: &SandboxView) -> Option<api::PodSandboxStatus> {
    let mut addresses = view.addresses.iter().map(ToString::to_string);
    let namespaces = &view.config.namespaces;
    let mode = |own: bool| if own { api::NamespaceMode::Pod as i32 } else { api::NamespaceMode::Node as i32 };
    let options = api::NamespaceOption {
        network: mode(namespaces.network != Network::Host),
        pid: pid_to_api(&namespaces.pid),
        ipc: mode(namespaces.ipc == NamespaceMode::Pod),
        target_id: String::new(),
        userns_options: None,
    };
    Some(api::PodSandboxStatus {
        id: view.id.to_string(),
        metadata: Some(metadata(view)),
        state: state(view.state.listed()?),
        created_at: view.created_at,
        network: Some(api::PodSandboxNetworkStatus {
            ip: addresses.next().unwrap_or_default(),
            additional_ips: addresses.map(|ip| api::PodIp { ip }).collect(),
        }),
        linux: Some(api::LinuxPodSandboxStatus {
            namespaces: Some(api::Namespace { options: Some(options) }),
        }),
        labels: view.config.labels.clone(),
        annotations: view.config.annotations.clone(),
        runtime_handler: view.config.handler.clone(),
    })
}

fn pid_to_api(pid: &PidMode) -> i32 {
    let mode = match pid {
        PidMode::Pod => api::NamespaceMode::Pod,
        PidMode::Container => api::NamespaceMode::Container,
        PidMode::Node => api::NamespaceMode::Node,
        PidMode::Target(_) => api::NamespaceMode::Target,
    };
    mode as i32
}
