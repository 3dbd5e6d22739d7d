//! From the engine's views to messages and JSON.

use std::sync::Arc;

use berth_engine::image::{Image, ImageConfig};
use berth_engine::model::{ContainerView, Owner, PortMapping, SandboxView};
use berth_engine::seams::NATIVE;
use berth_engine::{Finding, HandlerStatus, Stages};
use berth_pod::termination::message;
use serde_json::{Value, json};

use crate::api;

/// A pod with its containers.
pub(super) fn pod(view: &SandboxView) -> api::Pod {
    let metadata = &view.config.metadata;
    api::Pod {
        id: view.id.to_string(),
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        uid: metadata.uid.clone(),
        attempt: metadata.attempt,
        owner: owner(view.config.owner).to_owned(),
        state: view.state.word().to_owned(),
        created_at: view.created_at,
        addresses: view.addresses.iter().map(ToString::to_string).collect(),
        ports: view.config.ports.iter().filter(|p| p.host_port != 0).map(port).collect(),
        labels: view.config.labels.clone(),
        containers: view.containers.iter().map(|c| container(c)).collect(),
        message: view.message.clone(),
        handler: handler_name(view),
        status: String::new(),
        ready: 0,
        total: 0,
        restarts: 0,
    }
}

/// The empty name is that of Berth's own runtime.
fn handler_name(view: &SandboxView) -> String {
    let name = &view.config.handler;
    if name.is_empty() { NATIVE.to_owned() } else { name.clone() }
}

/// What pods can be run by.
pub(super) fn handler(of: HandlerStatus) -> api::Handler {
    api::Handler {
        kind: of.kind.to_owned(),
        is_default: of.is_default,
        program: of.program.as_ref().map_or_else(String::new, |path| path.display().to_string()),
        version: of.version,
        state: of.state.word().to_owned(),
        reason: of.state.reason().to_owned(),
        recursive_read_only: of.features.recursive_read_only,
        user_namespaces: of.features.user_namespaces,
        checkpoint: of.features.checkpoint,
        name: of.name,
    }
}

fn owner(owner: Owner) -> &'static str {
    match owner {
        Owner::Cri => "cri",
        Owner::Local => "local",
    }
}

/// As docker writes it: `0.0.0.0:8080->80/tcp`.
fn port(port: &PortMapping) -> String {
    let host = port.host_ip.map_or_else(
        || "0.0.0.0".to_owned(),
        |ip| if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() },
    );
    format!(
        "{host}:{}->{}/{}",
        port.host_port,
        port.container_port,
        format!("{:?}", port.protocol).to_lowercase()
    )
}

/// What a container executes, as text: its own command, and where it has none, its image's.
pub(super) fn command(view: &ContainerView, image: Option<&Image>) -> String {
    let config = &view.config;
    let of_image = |words: fn(&ImageConfig) -> &Vec<String>| image.map(|image| words(&image.config).clone());
    let (first, rest) = match (config.command.is_empty(), config.args.is_empty()) {
        (false, _) => (None, Some(config.args.clone())),
        (true, false) => (of_image(|c| &c.entrypoint), Some(config.args.clone())),
        (true, true) => (of_image(|c| &c.entrypoint), of_image(|c| &c.cmd)),
    };
    let words =
        config.command.iter().cloned().chain(first.into_iter().flatten()).chain(rest.into_iter().flatten());
    words.collect::<Vec<_>>().join(" ")
}

/// A container.
pub(super) fn container(view: &ContainerView) -> api::Container {
    let config = &view.config;
    let image = if config.image.user_specified.is_empty() {
        &config.image.image
    } else {
        &config.image.user_specified
    };
    api::Container {
        id: view.id.to_string(),
        pod_id: view.sandbox.to_string(),
        name: config.metadata.name.clone(),
        attempt: config.metadata.attempt,
        image: image.clone(),
        image_id: view.image_id.clone(),
        command: command(view, None),
        state: view.state.word().to_owned(),
        created_at: view.created_at,
        started_at: view.started_at.unwrap_or(0),
        finished_at: view.exit.as_ref().map_or(0, |e| e.finished_at),
        exit_code: view.exit.as_ref().map_or(0, |e| e.code),
        reason: view.exit.as_ref().map_or_else(String::new, |e| e.reason.word().to_owned()),
        message: view.exit.as_ref().map_or_else(String::new, |e| message(view, e)),
        log_path: view.log_path.as_ref().map_or_else(String::new, |p| p.display().to_string()),
        pid: view.pid.unwrap_or(0),
        tty: config.tty,
        stdin: config.stdin,
        ready: None,
        probe: String::new(),
        again: false,
    }
}

/// Everything of a pod.
pub(super) fn inspect_pod(view: &Arc<SandboxView>, state: impl Fn(&ContainerView) -> &'static str) -> Value {
    json!({
        "kind": "Pod",
        "id": view.id.as_str(),
        "state": view.state.word(),
        "createdAt": view.created_at,
        "handler": handler_name(view),
        "interface": view.interface,
        "addresses": view.addresses,
        "networkNamespace": view.netns,
        "shimPid": view.shim_pid,
        "message": view.message,
        "config": &*view.config,
        "containers": view.containers.iter().map(|c| inspect_container(c, state(c))).collect::<Vec<_>>(),
    })
}

/// Everything of a container.
pub(super) fn inspect_container(view: &ContainerView, state: &str) -> Value {
    json!({
        "kind": "Container",
        "id": view.id.as_str(),
        "pod": view.sandbox.as_str(),
        "state": state,
        "createdAt": view.created_at,
        "startedAt": view.started_at,
        "exit": view.exit.as_ref().map(|e| json!({
            "code": e.code, "finishedAt": e.finished_at, "reason": e.reason.word(), "message": message(view, e),
        })),
        "pid": view.pid,
        "cgroup": view.cgroup,
        "imageId": view.image_id,
        "imageRef": view.image_ref,
        "logPath": view.log_path,
        "user": { "uid": view.user.uid, "gid": view.user.gid, "groups": view.user.groups },
        "stopSignal": view.stop_signal,
        "resources": view.resources,
        "config": &*view.config,
    })
}

/// Everything of an image.
pub(super) fn inspect_image(image: &Image) -> Value {
    let config = &image.config;
    json!({
        "kind": if config.artifact.is_empty() { "Image" } else { "Artifact" },
        "artifactType": config.artifact,
        "id": image.id.as_str(),
        "manifest": image.manifest.as_str(),
        "tags": image.tags,
        "repoDigests": image.repo_digests,
        "size": image.size,
        "pinned": image.pinned,
        "createdAt": image.created_at,
        "architecture": config.architecture,
        "os": config.os,
        "config": {
            "user": config.user, "env": config.env, "entrypoint": config.entrypoint, "cmd": config.cmd,
            "workingDir": config.working_dir, "labels": config.labels, "stopSignal": config.stop_signal,
            "volumes": config.volumes, "exposedPorts": config.exposed_ports,
        },
        "layers": config.diff_ids.iter().map(|d| d.as_str()).collect::<Vec<_>>(),
    })
}

/// Something that doctor found.
pub(super) fn finding(finding: Finding) -> api::Finding {
    api::Finding {
        thing: finding.thing.word().to_owned(),
        name: finding.name,
        explanation: finding.explanation,
        remedy: finding.remedy,
    }
}

/// How long a piece of work took.
pub(super) fn stages(work: &Stages) -> api::Stages {
    let ns = |d: std::time::Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
    api::Stages {
        sandbox: work.sandbox.to_string(),
        verb: work.verb.to_owned(),
        total_ns: ns(work.total),
        stages: work
            .stages
            .iter()
            .map(|(name, took)| api::Stage { name: (*name).to_owned(), ns: ns(*took) })
            .collect(),
    }
}
