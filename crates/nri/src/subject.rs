//! What plugins see of pods and containers. Pure.

use std::collections::BTreeMap;

use berth_engine::model::{
    ContainerConfig, ContainerUser, ContainerView, HugepageLimit, Resources, Rlimit, SandboxView,
    SeccompChoice,
};
use berth_engine::seams::{Adjustable, Subject};
use berth_types::lifecycle::container::State;
use oci_spec::runtime::{Hook, LinuxNamespaceType, Spec};

use crate::api::security_profile::ProfileType;
use crate::api::{self, Container, ContainerState, PodSandbox};

/// A pod.
pub fn pod(view: &SandboxView) -> PodSandbox {
    let config = &view.config;
    let own = |kind: &str, path: String| api::LinuxNamespace { r#type: kind.to_owned(), path };
    let netns = view.netns.as_ref().map(|path| own("network", path.to_string_lossy().into_owned()));
    PodSandbox {
        id: view.id.to_string(),
        name: config.metadata.name.clone(),
        uid: config.metadata.uid.clone(),
        namespace: config.metadata.namespace.clone(),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        runtime_handler: config.handler.clone(),
        linux: Some(api::LinuxPodSandbox {
            pod_overhead: None,
            pod_resources: Some(resources(&config.resources)),
            cgroup_parent: config.cgroup_parent.clone().unwrap_or_default(),
            cgroups_path: view.cgroup.clone(),
            namespaces: netns.into_iter().collect(),
            resources: None,
        }),
        pid: view.shim_pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default(),
        ips: view.addresses.iter().map(ToString::to_string).collect(),
    }
}

/// A container that is about to be prepared.
pub fn creating(subject: &Subject<'_>, made: &Adjustable) -> Container {
    let spec = &made.spec;
    let process = spec.process().as_ref();
    let mut seen = asked(subject.config, subject.user);
    seen.id = subject.container.to_string();
    seen.pod_sandbox_id = subject.sandbox.to_string();
    seen.created_at = subject.created_at;
    seen.args = process.and_then(|process| process.args().clone()).unwrap_or_default();
    seen.env = process.and_then(|process| process.env().clone()).unwrap_or_default();
    seen.mounts = mounts(spec);
    seen.hooks = spec.hooks().as_ref().map(hooks);
    seen.image = Some(image(subject.config, subject.image_ref, subject.image_id));
    seen.linux = Some(linux(spec, &made.resources, subject.config));
    seen
}

/// A container of which no more is known than everybody sees.
pub fn container(view: &ContainerView) -> Container {
    let mut seen = asked(&view.config, &view.user);
    seen.id = view.id.to_string();
    seen.pod_sandbox_id = view.sandbox.to_string();
    seen.created_at = view.created_at;
    seen.image = Some(image(&view.config, &view.image_ref, &view.image_id));
    refresh(&mut seen, view);
    seen
}

/// Takes over what changes in a container's life.
pub fn refresh(seen: &mut Container, view: &ContainerView) {
    seen.state = match view.state {
        State::Creating | State::Created | State::Starting => ContainerState::ContainerCreated,
        State::Running | State::Stopping { .. } => ContainerState::ContainerRunning,
        State::Exited | State::Removing | State::Gone => ContainerState::ContainerStopped,
        State::Unknown => ContainerState::ContainerUnknown,
    } as i32;
    seen.pid = view.pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default();
    seen.started_at = view.started_at.unwrap_or_default();
    if let Some(exit) = &view.exit {
        seen.finished_at = exit.finished_at;
        seen.exit_code = exit.code;
        exit.reason.word().clone_into(&mut seen.status_reason);
        seen.status_message.clone_from(&exit.message);
    }
    let linux = seen.linux.get_or_insert_default();
    linux.resources = Some(resources(&view.resources));
    linux.oom_score_adj = view.resources.oom_score_adj.map(|value| api::OptionalInt { value: value.into() });
    if linux.cgroups_path.is_empty() {
        linux.cgroups_path.clone_from(&view.cgroup);
    }
}

/// What was asked for.
fn asked(config: &ContainerConfig, user: &ContainerUser) -> Container {
    Container {
        name: config.metadata.name.clone(),
        state: ContainerState::ContainerCreated as i32,
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        args: config.command.iter().chain(&config.args).cloned().collect(),
        env: config
            .envs
            .iter()
            .map(|of| format!("{}={}", of.name, String::from_utf8_lossy(&of.value)))
            .collect(),
        mounts: config.mounts.iter().map(volume).collect(),
        cdi_devices: config.cdi_devices.iter().map(|name| api::CdiDevice { name: name.clone() }).collect(),
        rlimits: config.rlimits.iter().map(rlimit).collect(),
        user: Some(api::User { uid: user.uid, gid: user.gid, additional_gids: user.groups.clone() }),
        ..Container::default()
    }
}

fn rlimit(limit: &Rlimit) -> api::PosixRlimit {
    let kind = format!("RLIMIT_{}", limit.kind.to_ascii_uppercase());
    api::PosixRlimit { r#type: kind, hard: limit.hard, soft: limit.soft }
}

fn volume(mount: &berth_engine::model::Mount) -> api::Mount {
    let access = if mount.readonly { "ro" } else { "rw" };
    let options = ["rbind", access].map(str::to_owned).into_iter().chain(mount.options.iter().cloned());
    api::Mount {
        destination: mount.container_path.to_string_lossy().into_owned(),
        r#type: "bind".to_owned(),
        source: mount.host_path.to_string_lossy().into_owned(),
        options: options.collect(),
    }
}

fn image(config: &ContainerConfig, reference: &str, id: &str) -> api::Image {
    let said = [&config.image.user_specified, &config.image.image];
    let name = said.into_iter().find(|name| !name.is_empty()).cloned().unwrap_or_default();
    let digest = reference.split_once('@').map(|(_, digest)| digest.to_owned()).unwrap_or_default();
    api::Image { name, digest, config_digest: id.to_owned() }
}

fn mounts(spec: &Spec) -> Vec<api::Mount> {
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let one = |mount: &oci_spec::runtime::Mount| api::Mount {
        destination: text(mount.destination()),
        r#type: mount.typ().clone().unwrap_or_default(),
        source: mount.source().as_deref().map(text).unwrap_or_default(),
        options: mount.options().clone().unwrap_or_default(),
    };
    spec.mounts().iter().flatten().map(one).collect()
}

fn hooks(all: &oci_spec::runtime::Hooks) -> api::Hooks {
    let one = |hook: &Hook| api::Hook {
        path: hook.path().to_string_lossy().into_owned(),
        args: hook.args().clone().unwrap_or_default(),
        env: hook.env().clone().unwrap_or_default(),
        timeout: hook.timeout().map(|value| api::OptionalInt { value }),
    };
    let list = |hooks: &Option<Vec<Hook>>| hooks.iter().flatten().map(one).collect();
    // Another name for the first of those that are run.
    #[allow(deprecated, reason = "plugins see them as long as specifications have them")]
    let prestart = list(all.prestart());
    api::Hooks {
        prestart,
        create_runtime: list(all.create_runtime()),
        create_container: list(all.create_container()),
        start_container: list(all.start_container()),
        poststart: list(all.poststart()),
        poststop: list(all.poststop()),
    }
}

/// The name of a kind of namespaces in a specification.
fn kind(kind: LinuxNamespaceType) -> &'static str {
    match kind {
        LinuxNamespaceType::Mount => "mount",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "network",
        LinuxNamespaceType::Time => "time",
    }
}

fn linux(spec: &Spec, limits: &Resources, config: &ContainerConfig) -> api::LinuxContainer {
    let score = spec.process().as_ref().and_then(|process| process.oom_score_adj());
    let mut seen = api::LinuxContainer {
        resources: Some(resources(limits)),
        oom_score_adj: score.map(|value| api::OptionalInt { value: value.into() }),
        seccomp_profile: Some(seccomp(&config.security.seccomp)),
        ..api::LinuxContainer::default()
    };
    let Some(linux) = spec.linux() else { return seen };
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_deref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let namespaces = linux.namespaces().iter().flatten();
    seen.namespaces = namespaces
        .map(|of| api::LinuxNamespace { r#type: kind(of.typ()).to_owned(), path: path(of.path()) })
        .collect();
    let devices = linux.devices().iter().flatten();
    seen.devices = devices
        .map(|of| api::LinuxDevice {
            path: of.path().to_string_lossy().into_owned(),
            r#type: of.typ().as_str().to_owned(),
            major: of.major(),
            minor: of.minor(),
            file_mode: of.file_mode().map(|value| api::OptionalFileMode { value }),
            uid: of.uid().map(|value| api::OptionalUInt32 { value }),
            gid: of.gid().map(|value| api::OptionalUInt32 { value }),
        })
        .collect();
    seen.cgroups_path = path(linux.cgroups_path());
    seen.sysctl = linux.sysctl().clone().unwrap_or_default().into_iter().collect::<BTreeMap<_, _>>();
    seen
}

fn seccomp(choice: &SeccompChoice) -> api::SecurityProfile {
    let (kind, path) = match choice {
        SeccompChoice::Unconfined => (ProfileType::Unconfined, String::new()),
        SeccompChoice::Default => (ProfileType::RuntimeDefault, String::new()),
        SeccompChoice::Rules(_) => (ProfileType::Localhost, String::new()),
        SeccompChoice::Localhost(path) => (ProfileType::Localhost, path.to_string_lossy().into_owned()),
    };
    api::SecurityProfile { profile_type: kind as i32, localhost_ref: path }
}

/// Limits.
pub fn resources(from: &Resources) -> api::LinuxResources {
    let signed = |value: Option<i64>| value.map(|value| api::OptionalInt64 { value });
    let unsigned = |value: Option<u64>| value.map(|value| api::OptionalUInt64 { value });
    let page =
        |page: &HugepageLimit| api::HugepageLimit { page_size: page.page_size.clone(), limit: page.limit };
    api::LinuxResources {
        memory: Some(api::LinuxMemory {
            limit: signed(from.memory_limit),
            swap: signed(from.memory_swap_limit),
            ..api::LinuxMemory::default()
        }),
        cpu: Some(api::LinuxCpu {
            shares: unsigned(from.cpu_shares),
            quota: signed(from.cpu_quota),
            period: unsigned(from.cpu_period),
            cpus: from.cpuset_cpus.clone(),
            mems: from.cpuset_mems.clone(),
            ..api::LinuxCpu::default()
        }),
        hugepage_limits: from.hugepages.iter().map(page).collect(),
        unified: from.unified.clone(),
        pids: from.pids_limit.map(|limit| api::LinuxPids { limit }),
        ..api::LinuxResources::default()
    }
}
