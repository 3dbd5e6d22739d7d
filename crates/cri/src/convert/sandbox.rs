//! Pod sandboxes.

use berth_engine::model::{
    Dns, IdMap, Names, NamespaceMode, Namespaces, Network, Owner, PidMode, PortMapping, Protocol,
    SandboxConfig, SandboxMetadata, SandboxSecurity, SandboxView, UserNamespace,
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
        // A kubelet writes /etc/hosts itself, and says all of the DNS.
        names: Names::default(),
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
    Ok(Namespaces {
        network: match pod_or_node("network", options.network)? {
            NamespaceMode::Pod => Network::Pod,
            NamespaceMode::Node => Network::Host,
        },
        pid: pid(&options)?,
        ipc: pod_or_node("ipc", options.ipc)?,
        user: user(options.userns_options.as_ref())?,
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

/// Refuses a container that asks for a network, IPC or user namespace that its pod does not have. POD is the zero value
/// of a message that says nothing, and such a container has what its pod has.
pub(super) fn fits(options: &api::NamespaceOption, pod: &Namespaces) -> Result<(), FieldError> {
    if let Some(asked) = &options.userns_options {
        same_user_namespace(asked, pod.user.as_ref())?;
    }
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

/// Where a user namespace is in the messages of sandboxes and containers.
fn user_at(field: &str) -> String {
    format!("{NAMESPACES}.userns_options.{field}")
}

/// The user namespace asked for: what a message that is not there means is decided here, what ids may be by the engine.
fn user(from: Option<&api::UserNamespace>) -> Result<Option<UserNamespace>, FieldError> {
    let Some(from) = from else { return Ok(None) };
    let mappings = [("uids", &from.uids), ("gids", &from.gids)];
    match known(user_at("mode"), from.mode)? {
        api::NamespaceMode::Node => match mappings.iter().find(|(_, maps)| !maps.is_empty()) {
            Some((field, _)) => Err(FieldError::invalid(
                user_at(field),
                "mode is NODE, and the host's user namespace maps no ids",
            )),
            None => Ok(None),
        },
        api::NamespaceMode::Pod => {
            let one = |(field, maps): (&str, &[api::IdMapping])| match maps {
                [map] => Ok(id_map(map)),
                _ => {
                    let reason = format!("{} mappings; exactly one is supported", maps.len());
                    Err(FieldError::invalid(user_at(field), reason))
                }
            };
            Ok(Some(UserNamespace { uids: one(("uids", &from.uids))?, gids: one(("gids", &from.gids))? }))
        }
        mode @ (api::NamespaceMode::Container | api::NamespaceMode::Target) => {
            let reason = format!("{} is not a mode of user namespaces: POD or NODE", mode.as_str_name());
            Err(FieldError::invalid(user_at("mode"), reason))
        }
    }
}

/// A range of ids.
pub(super) fn id_map(from: &api::IdMapping) -> IdMap {
    IdMap { container: from.container_id, host: from.host_id, length: from.length }
}

/// The same as a message.
pub(super) fn id_map_to_api(map: IdMap) -> api::IdMapping {
    api::IdMapping { host_id: map.host, container_id: map.container, length: map.length }
}

/// Refuses another user namespace than the pod's.
fn same_user_namespace(asked: &api::UserNamespace, pod: Option<&UserNamespace>) -> Result<(), FieldError> {
    let asked = user(Some(asked))?;
    let differs =
        |field: &str| Err(FieldError::invalid(user_at(field), "it is not what the pod sandbox has"));
    match (asked, pod) {
        (None, None) => Ok(()),
        (Some(asked), Some(pod)) if asked.uids != pod.uids => differs("uids"),
        (Some(asked), Some(pod)) if asked.gids != pod.gids => differs("gids"),
        (Some(_), Some(_)) => Ok(()),
        (Some(_), None) | (None, Some(_)) => differs("mode"),
    }
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
        userns_options: namespaces.user.map(|maps| api::UserNamespace {
            mode: api::NamespaceMode::Pod as i32,
            uids: vec![id_map_to_api(maps.uids)],
            gids: vec![id_map_to_api(maps.gids)],
        }),
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
