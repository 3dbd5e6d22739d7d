//! For each call whose request is converted: a request that is full, and what the conversion makes of one.

use std::fmt::Debug;

use berth_engine::image::pull::PullRequest;
use berth_engine::model::{NamespaceMode, Namespaces, Network, PidMode};
use berth_types::{ContainerId, SandboxId};
use prost::Message;
use prost_reflect::Value;
use tonic::Status;

use crate::api;
use crate::convert::{container, filter, image, sandbox, seconds, streaming};
use crate::error::FieldError;

/// How one call's request is asked about.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) call: &'static str,
    /// An encoded request in which the field at the path can be changed.
    pub(super) request: fn(&str) -> Vec<u8>,
    /// What the conversion makes of an encoded request, as text.
    pub(super) convert: fn(&[u8]) -> Result<String, Status>,
}

impl Probe {
    /// What the field is set to, where the next value would not do.
    pub(super) fn value(&self, path: &str) -> Option<Value> {
        match path.rsplit('.').next() {
            Some("host_ip") => Some(Value::String("10.0.0.2".into())),
            Some("network" | "ipc") if self.call == "RunPodSandbox" => {
                Some(Value::EnumNumber(api::NamespaceMode::Node as i32))
            }
            _ => None,
        }
    }
}

pub(super) fn all() -> Vec<Probe> {
    let probe = |call, request, convert| Probe { call, request, convert };
    vec![
        probe(
            "RunPodSandbox",
            |_| run_pod_sandbox().encode_to_vec(),
            |bytes| {
                let asked: api::RunPodSandboxRequest = decode(bytes);
                told(sandbox::from_api(&asked.config.unwrap(), &asked.runtime_handler))
            },
        ),
        probe("CreateContainer", create_container, |bytes| {
            let asked: api::CreateContainerRequest = decode(bytes);
            let pod = Namespaces {
                network: Network::Pod,
                pid: PidMode::Container,
                ipc: NamespaceMode::Pod,
                user: None,
            };
            told(container::from_api(&asked.config.unwrap(), &pod))
        }),
        probe(
            "UpdateContainerResources",
            |_| update().encode_to_vec(),
            |bytes| told(container::update(&decode(bytes))),
        ),
        probe(
            "StopContainer",
            |_| Vec::new(),
            |bytes| told(seconds("timeout", decode::<api::StopContainerRequest>(bytes).timeout)),
        ),
        probe(
            "ExecSync",
            |_| exec_sync().encode_to_vec(),
            |bytes| {
                let asked: api::ExecSyncRequest = decode(bytes);
                told(crate::runtime::exec_timeout(&asked).map(|limit| (asked.cmd, limit)))
            },
        ),
        probe(
            "Exec",
            |_| exec().encode_to_vec(),
            |bytes| told(streaming::exec(container_id(), decode(bytes))),
        ),
        probe(
            "Attach",
            |_| attach().encode_to_vec(),
            |bytes| told(streaming::attach(container_id(), &decode(bytes))),
        ),
        probe(
            "PortForward",
            |_| Vec::new(),
            |bytes| {
                let asked: api::PortForwardRequest = decode(bytes);
                told(streaming::port_forward(SandboxId::from_random([2; 32]), &asked.port))
            },
        ),
        probe(
            "ListPodSandbox",
            |_| Vec::new(),
            |bytes| told(filter::Sandboxes::from_api(decode::<api::ListPodSandboxRequest>(bytes).filter)),
        ),
        probe(
            "ListContainers",
            |_| Vec::new(),
            |bytes| told(filter::Containers::from_api(decode::<api::ListContainersRequest>(bytes).filter)),
        ),
        probe(
            "ListContainerStats",
            |_| Vec::new(),
            |bytes| {
                told(Ok(filter::Containers::of_stats(decode::<api::ListContainerStatsRequest>(bytes).filter)))
            },
        ),
        probe(
            "StreamContainerStats",
            |_| Vec::new(),
            |bytes| {
                told(Ok(filter::Containers::of_stats(
                    decode::<api::StreamContainerStatsRequest>(bytes).filter,
                )))
            },
        ),
        probe(
            "ListPodSandboxStats",
            |_| Vec::new(),
            |bytes| {
                told(Ok(filter::Sandboxes::of_stats(decode::<api::ListPodSandboxStatsRequest>(bytes).filter)))
            },
        ),
        probe(
            "StreamPodSandboxStats",
            |_| Vec::new(),
            |bytes| {
                told(Ok(filter::Sandboxes::of_stats(
                    decode::<api::StreamPodSandboxStatsRequest>(bytes).filter,
                )))
            },
        ),
        probe(
            "StreamPodSandboxes",
            |_| Vec::new(),
            |bytes| told(filter::Sandboxes::from_api(decode::<api::StreamPodSandboxesRequest>(bytes).filter)),
        ),
        probe(
            "StreamContainers",
            |_| Vec::new(),
            |bytes| told(filter::Containers::from_api(decode::<api::StreamContainersRequest>(bytes).filter)),
        ),
        probe(
            "StreamImages",
            |_| Vec::new(),
            |bytes| told(image::filter(decode::<api::StreamImagesRequest>(bytes).filter)),
        ),
        probe(
            "UpdatePodSandboxResources",
            |_| Vec::new(),
            |bytes| told(crate::runtime::resized(&decode(bytes))),
        ),
        probe("PullImage", |_| pull().encode_to_vec(), |bytes| pull_told(image::pull(decode(bytes)))),
        probe(
            "ImageStatus",
            |_| api::ImageStatusRequest { image: spec(), verbose: false }.encode_to_vec(),
            |bytes| told(image::named(decode::<api::ImageStatusRequest>(bytes).image)),
        ),
        probe(
            "RemoveImage",
            |_| api::RemoveImageRequest { image: spec() }.encode_to_vec(),
            |bytes| told(image::named(decode::<api::RemoveImageRequest>(bytes).image)),
        ),
        probe(
            "ListImages",
            |_| Vec::new(),
            |bytes| told(image::filter(decode::<api::ListImagesRequest>(bytes).filter)),
        ),
    ]
}

fn decode<M: Message + Default>(bytes: &[u8]) -> M {
    M::decode(bytes).unwrap()
}

fn told<T: Debug>(model: Result<T, FieldError>) -> Result<String, Status> {
    model.map(|model| format!("{model:?}")).map_err(Status::from)
}

/// Secrets are not shown by their Debug.
fn pull_told(model: Result<PullRequest, FieldError>) -> Result<String, Status> {
    let secrets = model.as_ref().ok().and_then(|pull| pull.keyring.request.as_ref()).map(|auth| {
        [&auth.password, &auth.auth, &auth.identity_token, &auth.registry_token]
            .map(|secret| secret.expose().to_owned())
    });
    told(model).map(|text| format!("{text} {secrets:?}"))
}

fn spec() -> Option<api::ImageSpec> {
    Some(api::ImageSpec { image: "a.io/x".into(), ..Default::default() })
}

fn pull() -> api::PullImageRequest {
    let auth = api::AuthConfig { username: "u".into(), password: "p".into(), ..Default::default() };
    api::PullImageRequest { image: spec(), auth: Some(auth), sandbox_config: None }
}

fn exec_sync() -> api::ExecSyncRequest {
    api::ExecSyncRequest { cmd: vec!["true".into()], ..Default::default() }
}

fn container_id() -> ContainerId {
    ContainerId::from_random([1; 32])
}

fn exec() -> api::ExecRequest {
    api::ExecRequest { cmd: vec!["true".into()], stdin: true, stdout: true, ..Default::default() }
}

fn attach() -> api::AttachRequest {
    api::AttachRequest { stdin: true, stdout: true, ..Default::default() }
}

fn update() -> api::UpdateContainerResourcesRequest {
    let linux = api::LinuxContainerResources::default();
    api::UpdateContainerResourcesRequest { linux: Some(linux), ..Default::default() }
}

/// Namespaces of a pod, with the host's user namespace.
fn namespaces(pid: api::NamespaceMode) -> Option<api::NamespaceOption> {
    let user = api::UserNamespace { mode: api::NamespaceMode::Node as i32, ..Default::default() };
    Some(api::NamespaceOption { pid: pid as i32, userns_options: Some(user), ..Default::default() })
}

fn id_map() -> Vec<api::IdMapping> {
    vec![api::IdMapping { host_id: 100_000, container_id: 0, length: 65_536 }]
}

fn run_pod_sandbox() -> api::RunPodSandboxRequest {
    let user = api::UserNamespace { mode: api::NamespaceMode::Pod as i32, uids: id_map(), gids: id_map() };
    let options = namespaces(api::NamespaceMode::Pod).unwrap();
    let context = api::LinuxSandboxSecurityContext {
        namespace_options: Some(api::NamespaceOption { userns_options: Some(user), ..options }),
        ..Default::default()
    };
    let linux = api::LinuxPodSandboxConfig { security_context: Some(context), ..Default::default() };
    let port =
        api::PortMapping { container_port: 80, host_port: 8080, host_ip: "10.0.0.1".into(), protocol: 0 };
    let config = api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata { name: "p".into(), ..Default::default() }),
        log_directory: "/l".into(),
        port_mappings: vec![port],
        linux: Some(linux),
        ..Default::default()
    };
    api::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() }
}

/// The request, without what could not stand beside the field at the path.
fn create_container(path: &str) -> Vec<u8> {
    let localhost = |file: &str| {
        let profile_type = api::security_profile::ProfileType::Localhost as i32;
        Some(api::SecurityProfile { profile_type, localhost_ref: file.into() })
    };
    let mut context = api::LinuxContainerSecurityContext {
        namespace_options: namespaces(api::NamespaceMode::Container),
        run_as_user: Some(api::Int64Value { value: 1000 }),
        run_as_group: Some(api::Int64Value { value: 1000 }),
        seccomp: localhost("/p"),
        apparmor: localhost("a"),
        ..Default::default()
    };
    #[expect(deprecated, reason = "older kubelets send them")]
    match path.strip_prefix("config.linux.security_context.") {
        Some("namespace_options.target_id") => {
            let options = context.namespace_options.as_mut().unwrap();
            (options.pid, options.target_id) = (api::NamespaceMode::Target as i32, "c".into());
        }
        Some("run_as_username") => (context.run_as_user, context.run_as_group) = (None, None),
        Some("seccomp.profile_type") => context.seccomp = Some(api::SecurityProfile::default()),
        Some("apparmor.profile_type") => context.apparmor = Some(api::SecurityProfile::default()),
        Some("seccomp_profile_path") => {
            (context.seccomp, context.seccomp_profile_path) = (None, "localhost//p".into());
        }
        Some("apparmor_profile") => context.apparmor = None,
        _ => {}
    }
    let mut mount = api::Mount {
        container_path: "/c".into(),
        host_path: "/h".into(),
        readonly: true,
        uid_mappings: id_map(),
        gid_mappings: id_map(),
        ..Default::default()
    };
    if path.starts_with("config.mounts.image") {
        (mount.host_path, mount.image) = (String::new(), spec());
    }
    let config = api::ContainerConfig {
        metadata: Some(api::ContainerMetadata { name: "c".into(), attempt: 0 }),
        image: spec(),
        envs: vec![api::KeyValue { key: "K".into(), value: b"v".to_vec() }],
        mounts: vec![mount],
        linux: Some(api::LinuxContainerConfig { resources: None, security_context: Some(context) }),
        ..Default::default()
    };
    api::CreateContainerRequest { config: Some(config), ..Default::default() }.encode_to_vec()
}
