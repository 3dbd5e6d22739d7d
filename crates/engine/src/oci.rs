//! From what was asked for to an OCI runtime specification: pure functions.
//!
//! ```text
//! SandboxConfig, ContainerConfig, image config, host facts  --spec-->  oci_spec::runtime::Spec
//! ```
//!
//! User, network, IPC and UTS namespace of the pod are not in it as paths: the shim holds them. Limits are not
//! in it either: the daemon sets them on the cgroup it makes.

pub(crate) mod capabilities;
pub(crate) mod command;
pub(crate) mod devices;
pub(crate) mod mounts;
pub(crate) mod propagation;
pub(crate) mod resources;
pub(crate) mod signal;
pub(crate) mod user;

use std::path::Path;

use berth_image::ImageConfig;
use oci_spec::runtime::{
    Linux, LinuxBuilder, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceBuilder,
    LinuxNamespaceType, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, ProcessBuilder,
    RootBuilder, Spec, SpecBuilder, UserBuilder,
};

use crate::confinement;
use crate::error::EngineError;
use crate::model::{
    ContainerConfig, EnvVar, IdMap, NamespaceMode, Network, Owner, PidMode, Rlimit, SandboxConfig,
    UserNamespace,
};
use devices::HostDevice;
use mounts::PodFiles;
use user::Resolved;

/// Facts of the host that plans depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostFacts {
    /// The daemon's own capabilities, a bit for each number: no container gets more.
    pub(crate) capabilities: u64,
    /// The lowest out-of-memory score that the daemon may set.
    pub(crate) least_oom_score: i32,
    /// The host's name.
    pub(crate) hostname: String,
    /// Whether cgroup v2 is the host's only hierarchy: containers get a cgroup namespace there.
    pub(crate) unified: bool,
    /// Whether a limit of memory and swap together can be set.
    pub(crate) accounts_swap: bool,
    /// Whether huge pages can be limited.
    pub(crate) limits_hugepages: bool,
    /// Whether SELinux is in force.
    pub(crate) selinux: bool,
}

/// Everything that decides a container's specification.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    pub(crate) sandbox: &'a SandboxConfig,
    pub(crate) container: &'a ContainerConfig,
    pub(crate) image: &'a ImageConfig,
    pub(crate) user: &'a Resolved,
    pub(crate) devices: &'a [HostDevice],
    pub(crate) files: &'a PodFiles,
    pub(crate) cgroup: &'a str,
    /// Its AppArmor profile.
    pub(crate) apparmor: Option<&'a str>,
    pub(crate) host: &'a HostFacts,
}

/// A container's specification, and the variables whose values are not text, which it cannot hold.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) spec: Spec,
    pub(crate) raw_env: Vec<EnvVar>,
}

/// The specification of a container.
pub(crate) fn spec(inputs: &Inputs<'_>) -> Result<Planned, EngineError> {
    refuse(inputs)?;
    let (process, raw_env) = process(inputs)?;
    let root = RootBuilder::default().path("/").readonly(inputs.container.security.readonly_rootfs);
    let mut spec = SpecBuilder::default()
        .version("1.2.0")
        .process(process)
        .root(root.build().expect("both parts are given"))
        .mounts(mounts::all(inputs)?)
        .linux(linux(inputs))
        .build()
        .expect("every part is given");
    spec.set_hooks(None);
    spec.set_hostname(None);
    Ok(Planned { spec, raw_env })
}

/// What this host does not support.
fn refuse(inputs: &Inputs<'_>) -> Result<(), EngineError> {
    let security = &inputs.container.security;
    if security.privileged && !inputs.sandbox.security.privileged {
        let message = "the pod sandbox is not privileged, so its containers cannot be";
        return Err(EngineError::invalid("privileged", message));
    }
    if inputs.sandbox.namespaces.user.is_some() && inputs.container.pid == PidMode::Node {
        let message = "a container in a user namespace cannot use the host's PID namespace";
        return Err(EngineError::unsupported("namespace_options.pid", message));
    }
    confinement::container(inputs.container, inputs.host)
}

fn process(inputs: &Inputs<'_>) -> Result<(Process, Vec<EnvVar>), EngineError> {
    let (config, security) = (inputs.container, &inputs.container.security);
    let env = command::env(config, inputs.image, hostname(inputs.sandbox, inputs.host), &inputs.user.home);
    let (text, raw): (Vec<EnvVar>, Vec<EnvVar>) =
        env.into_iter().partition(|var| std::str::from_utf8(&var.value).is_ok());
    let line = |var: &EnvVar| format!("{}={}", var.name, String::from_utf8_lossy(&var.value));
    let user = UserBuilder::default()
        .uid(inputs.user.uid)
        .gid(inputs.user.gid)
        .additional_gids(inputs.user.groups.clone())
        .build()
        .expect("every part is given");
    let mut process = ProcessBuilder::default()
        .terminal(config.tty)
        .user(user)
        .args(command::argv(config, inputs.image)?)
        .env(text.iter().map(line).collect::<Vec<_>>())
        .cwd(command::cwd(config, inputs.image)?)
        .capabilities(capabilities::sets(security, inputs.host.capabilities)?)
        .no_new_privileges(security.no_new_privs)
        .build()
        .expect("every part is given");
    process.set_rlimits(rlimits(&config.rlimits)?);
    process.set_apparmor_profile(inputs.apparmor.map(str::to_owned));
    process.set_oom_score_adj(
        config.resources.oom_score_adj.map(|score| score.max(inputs.host.least_oom_score)),
    );
    Ok((process, raw))
}

/// Limits of single processes; none where none are asked for.
fn rlimits(asked: &[Rlimit]) -> Result<Option<Vec<PosixRlimit>>, EngineError> {
    let limit = |of: &Rlimit| {
        let kind = format!("RLIMIT_{}", of.kind.to_ascii_uppercase());
        let known: Result<PosixRlimitType, _> = serde_json::from_value(serde_json::Value::String(kind));
        let wrong = |message: String| EngineError::invalid("rlimits", message);
        let typ = known.map_err(|_| wrong(format!("{:?} is no limit of processes", of.kind)))?;
        if of.soft > of.hard {
            return Err(wrong(format!("{}: the soft limit is above the hard limit", of.kind)));
        }
        let limit = PosixRlimitBuilder::default().typ(typ).soft(of.soft).hard(of.hard).build();
        Ok(limit.expect("every part is given"))
    };
    match asked {
        [] => Ok(None),
        some => some.iter().map(limit).collect::<Result<_, _>>().map(Some),
    }
}

fn linux(inputs: &Inputs<'_>) -> Linux {
    let security = &inputs.container.security;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let own = |asked: &[std::path::PathBuf], usual: &[&str]| -> Vec<String> {
        match inputs.sandbox.owner {
            _ if security.privileged => Vec::new(),
            Owner::Local if asked.is_empty() => usual.iter().map(|p| (*p).to_owned()).collect(),
            Owner::Local | Owner::Cri => asked.iter().map(|p| text(p)).collect(),
        }
    };
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces(inputs))
        .cgroups_path(inputs.cgroup)
        .devices(if inputs.sandbox.namespaces.user.is_none() {
            devices::nodes(inputs.devices)
        } else {
            Vec::new()
        })
        .masked_paths(own(&security.masked_paths, &mounts::DEFAULT_MASKED))
        .readonly_paths(own(&security.readonly_paths, &mounts::DEFAULT_READONLY))
        .build()
        .expect("every part is given");
    linux.set_resources(None);
    if let Some(UserNamespace { uids, gids }) = inputs.sandbox.namespaces.user {
        linux.set_uid_mappings(Some(vec![id_mapping(uids)]));
        linux.set_gid_mappings(Some(vec![id_mapping(gids)]));
    }
    linux
}

/// A range of ids as a specification has it.
pub(crate) fn id_mapping(map: IdMap) -> LinuxIdMapping {
    let IdMap { container, host, length } = map;
    let mapping = LinuxIdMappingBuilder::default().container_id(container).host_id(host).size(length);
    mapping.build().expect("every part is given")
}

fn namespaces(inputs: &Inputs<'_>) -> Vec<LinuxNamespace> {
    let mut kinds = vec![LinuxNamespaceType::Mount];
    let pod = &inputs.sandbox.namespaces;
    if matches!(inputs.container.pid, PidMode::Container | PidMode::Pod | PidMode::Target(_)) {
        kinds.push(LinuxNamespaceType::Pid);
    }
    if pod.user.is_some() {
        kinds.push(LinuxNamespaceType::User);
    }
    if pod.ipc == NamespaceMode::Pod {
        kinds.push(LinuxNamespaceType::Ipc);
    }
    if pod.network != Network::Host {
        kinds.extend([LinuxNamespaceType::Network, LinuxNamespaceType::Uts]);
    }
    if inputs.host.unified && !inputs.container.security.privileged {
        kinds.push(LinuxNamespaceType::Cgroup);
    }
    let make = |kind| LinuxNamespaceBuilder::default().typ(kind).build().expect("the kind is given");
    kinds.into_iter().map(make).collect()
}

/// The name that the pod's processes see.
pub(crate) fn hostname<'a>(sandbox: &'a SandboxConfig, host: &'a HostFacts) -> &'a str {
    match sandbox.namespaces.network {
        Network::Host => &host.hostname,
        Network::Pod | Network::None if sandbox.hostname.is_empty() => &host.hostname,
        Network::Pod | Network::None => &sandbox.hostname,
    }
}

/// The namespaces of `spec` that the shim has as descriptors: the pod's.
pub(crate) fn given_namespaces(spec: &Spec, pid: &PidMode) -> Vec<LinuxNamespaceType> {
    let shared_pid = matches!(pid, PidMode::Pod | PidMode::Target(_));
    let given = |kind: &LinuxNamespaceType| match kind {
        LinuxNamespaceType::User
        | LinuxNamespaceType::Network
        | LinuxNamespaceType::Ipc
        | LinuxNamespaceType::Uts => true,
        LinuxNamespaceType::Pid => shared_pid,
        LinuxNamespaceType::Mount | LinuxNamespaceType::Cgroup | LinuxNamespaceType::Time => false,
    };
    let all = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    all.into_iter().flatten().map(LinuxNamespace::typ).filter(given).collect()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::container as test_container;
