//! Pods of the shape that a kubelet makes: one container, IPC and network of the pod, a PID
//! namespace for each container.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cri::Client;
use crate::cri::api::{
    self, Capability, ContainerConfig, ContainerMetadata, CreateContainerRequest, ImageSpec, KeyValue,
    LinuxContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext, LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxMetadata,
    RemoveContainerRequest, RemovePodSandboxRequest, RunPodSandboxRequest, SecurityProfile,
    StartContainerRequest, StopContainerRequest, StopPodSandboxRequest, security_profile,
};

/// The image of the pods.
pub(super) const IMAGE: &str = crate::image::standin::BUSYBOX;

/// The label that marks them.
pub(super) const LABEL: &str = "berth-bench";

/// The cgroup that a kubelet would have made for them.
pub(super) const CGROUP: &str = "/berth-bench";

/// Which network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Network {
    Host,
    Pod,
    /// The pod's, with a user namespace.
    PodOfUsers,
}

impl Network {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Host => "host network",
            Self::Pod => "pod network",
            Self::PodOfUsers => "user namespace",
        }
    }
}

/// How much a pod is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hardening {
    /// RuntimeDefault seccomp, limits of cpu and memory, no capabilities, no new privileges.
    Hardened,
    /// None of it.
    Plain,
}

/// A pod, and its state.
#[derive(Debug)]
pub(super) struct Pod {
    config: PodSandboxConfig,
    hardening: Hardening,
    pub(super) id: String,
    pub(super) container: String,
}

/// The calls of a pod's life, with how long each took.
pub(super) type Calls = Vec<(&'static str, Duration)>;

impl Pod {
    pub(super) fn new(network: Network, hardening: Hardening) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("bench-{}-{serial}", std::process::id());
        let hostname = if network == Network::Host { String::new() } else { name.clone() };
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.clone(),
                uid: name.clone(),
                namespace: "bench".into(),
                attempt: 0,
            }),
            hostname,
            log_directory: logs().join(&name).display().to_string(),
            labels: [(LABEL.to_owned(), "1".to_owned())].into(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: CGROUP.into(),
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces(network, serial)),
                    seccomp: Some(seccomp(hardening)),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        Self { config, hardening, id: String::new(), container: String::new() }
    }

    /// Sandbox, container, start.
    pub(super) async fn up(&mut self, client: &mut Client) -> Result<Calls> {
        std::fs::create_dir_all(&self.config.log_directory)?;
        let mut calls = Calls::new();
        let begin = Instant::now();
        let request = RunPodSandboxRequest { config: Some(self.config.clone()), ..Default::default() };
        let answer = client.runtime.run_pod_sandbox(request).await.context("RunPodSandbox")?;
        self.id = answer.into_inner().pod_sandbox_id;
        calls.push(("RunPodSandbox", begin.elapsed()));

        let begin = Instant::now();
        let request = CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(self.container_config()),
            sandbox_config: Some(self.config.clone()),
        };
        let answer = client.runtime.create_container(request).await.context("CreateContainer")?;
        self.container = answer.into_inner().container_id;
        calls.push(("CreateContainer", begin.elapsed()));

        let begin = Instant::now();
        let request = StartContainerRequest { container_id: self.container.clone() };
        client.runtime.start_container(request).await.context("StartContainer")?;
        calls.push(("StartContainer", begin.elapsed()));
        Ok(calls)
    }

    /// Stop and remove, container and sandbox.
    pub(super) async fn down(&self, client: &mut Client) -> Result<Calls> {
        let mut calls = Calls::new();
        let container_id = || self.container.clone();
        let pod_sandbox_id = || self.id.clone();

        let begin = Instant::now();
        let request = StopContainerRequest { container_id: container_id(), timeout: 0 };
        client.runtime.stop_container(request).await.context("StopContainer")?;
        calls.push(("StopContainer", begin.elapsed()));

        let begin = Instant::now();
        let request = RemoveContainerRequest { container_id: container_id() };
        client.runtime.remove_container(request).await.context("RemoveContainer")?;
        calls.push(("RemoveContainer", begin.elapsed()));

        let begin = Instant::now();
        let request = StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id() };
        client.runtime.stop_pod_sandbox(request).await.context("StopPodSandbox")?;
        calls.push(("StopPodSandbox", begin.elapsed()));

        let begin = Instant::now();
        let request = RemovePodSandboxRequest { pod_sandbox_id: pod_sandbox_id() };
        client.runtime.remove_pod_sandbox(request).await.context("RemovePodSandbox")?;
        calls.push(("RemovePodSandbox", begin.elapsed()));
        std::fs::remove_dir_all(&self.config.log_directory).ok();
        Ok(calls)
    }

    fn container_config(&self) -> ContainerConfig {
        let text = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let mut resources = LinuxContainerResources {
            cpu_period: 100_000,
            cpu_shares: 2,
            oom_score_adj: 1000,
            ..Default::default()
        };
        let sandbox = self.config.linux.as_ref().and_then(|l| l.security_context.clone()).unwrap_or_default();
        let mut security = LinuxContainerSecurityContext {
            namespace_options: sandbox.namespace_options,
            seccomp: sandbox.seccomp,
            masked_paths: text(&[
                "/proc/acpi",
                "/proc/kcore",
                "/proc/keys",
                "/proc/timer_list",
                "/sys/firmware",
            ]),
            readonly_paths: text(&["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]),
            ..Default::default()
        };
        if self.hardening == Hardening::Hardened {
            (resources.cpu_quota, resources.memory_limit_in_bytes) = (50_000, 64 << 20);
            security.no_new_privs = true;
            security.capabilities =
                Some(Capability { drop_capabilities: text(&["ALL"]), ..Default::default() });
        }
        ContainerConfig {
            metadata: Some(ContainerMetadata { name: "c".into(), attempt: 0 }),
            image: Some(ImageSpec {
                image: IMAGE.into(),
                user_specified_image: IMAGE.into(),
                ..Default::default()
            }),
            command: text(&["/bin/busybox", "sleep", "1000000"]),
            envs: vec![KeyValue { key: "KUBERNETES_SERVICE_HOST".into(), value: "10.96.0.1".into() }],
            log_path: "c.log".into(),
            labels: [(LABEL.to_owned(), "1".to_owned())].into(),
            linux: Some(LinuxContainerConfig {
                resources: Some(resources),
                security_context: Some(security),
            }),
            ..Default::default()
        }
    }
}

/// Where the pods log.
pub(super) fn logs() -> PathBuf {
    std::env::temp_dir().join(format!("berth-bench-logs-{}", std::process::id()))
}

/// As a kubelet asks for them: a user namespace has ids of its own.
fn namespaces(network: Network, serial: u64) -> NamespaceOption {
    let host_id = 65_536 * (16 + u32::try_from(serial % 10_000).expect("it is below that"));
    let ids = vec![api::IdMapping { host_id, container_id: 0, length: 65_536 }];
    let user = api::UserNamespace { mode: NamespaceMode::Pod.into(), uids: ids.clone(), gids: ids };
    let userns_options = (network == Network::PodOfUsers).then_some(user);
    let network = match network {
        Network::Host => NamespaceMode::Node,
        Network::Pod | Network::PodOfUsers => NamespaceMode::Pod,
    };
    NamespaceOption {
        userns_options,
        network: network.into(),
        pid: NamespaceMode::Container.into(),
        ipc: NamespaceMode::Pod.into(),
        ..Default::default()
    }
}

fn seccomp(hardening: Hardening) -> SecurityProfile {
    let kind = match hardening {
        Hardening::Hardened => security_profile::ProfileType::RuntimeDefault,
        Hardening::Plain => security_profile::ProfileType::Unconfined,
    };
    SecurityProfile { profile_type: kind.into(), ..Default::default() }
}

/// Removes every pod of an earlier run that was broken off.
pub(super) async fn sweep(client: &mut Client) -> Result<()> {
    let filter = api::PodSandboxFilter {
        label_selector: [(LABEL.to_owned(), "1".to_owned())].into(),
        ..Default::default()
    };
    let request = api::ListPodSandboxRequest { filter: Some(filter) };
    let pods = client.runtime.list_pod_sandbox(request).await.context("ListPodSandbox")?.into_inner();
    for pod in pods.items {
        let stop = StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() };
        client.runtime.stop_pod_sandbox(stop).await.context("StopPodSandbox")?;
        let remove = RemovePodSandboxRequest { pod_sandbox_id: pod.id };
        client.runtime.remove_pod_sandbox(remove).await.context("RemovePodSandbox")?;
    }
    Ok(())
}
