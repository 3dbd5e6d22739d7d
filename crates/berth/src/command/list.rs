//! `berth ps`, `berth pods` and `berth inspect`.

use std::process::ExitCode;

use serde_json::json;

use super::{about, done};
use crate::api;
use crate::client::{Reach, told};
use crate::output::{Format, age, complain, line, short_id, table};

/// `berth ps`
#[derive(Debug, clap::Args)]
pub(crate) struct Ps {
    /// Also show those that have ended
    #[arg(short, long)]
    all: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// `berth pods`
#[derive(Debug, clap::Args)]
pub(crate) struct Pods {
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// `berth inspect`
#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// A pod, container or image
    #[arg(required = true)]
    targets: Vec<String>,
}

async fn pods(reach: &Reach) -> anyhow::Result<Vec<api::Pod>> {
    let mut client = reach.client().await?;
    Ok(client.list(api::ListRequest {}).await.map_err(told)?.into_inner().pods)
}

/// Whether a container has ended for good.
fn still(pod: &api::Pod, container: &api::Container) -> bool {
    let newer = |other: &api::Container| other.name == container.name && other.attempt > container.attempt;
    if container.again {
        // Of one that is run again and again only the last attempt counts.
        return pod.containers.iter().any(newer);
    }
    matches!(container.state.as_str(), "exited" | "being removed" | "gone")
}

/// `running`, `running (not ready)`, `exited (1)`, `exited (137, OOMKilled)`, `restarting (1)`.
fn status(container: &api::Container) -> String {
    if container.again {
        return format!("restarting ({})", container.exit_code);
    }
    match (container.state.as_str(), container.reason.as_str()) {
        ("exited", "OOMKilled" | "StartError" | "Unknown") => {
            format!("exited ({}, {})", container.exit_code, container.reason)
        }
        ("exited", _) => format!("exited ({})", container.exit_code),
        ("running", _) if container.ready == Some(false) => "running (not ready)".to_owned(),
        (state, _) => state.to_owned(),
    }
}

impl Ps {
    /// Lists containers.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let pods = pods(&reach).await?;
        let mut wanted = pods
            .iter()
            .flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)))
            .filter(|(pod, container)| self.all || !still(pod, container));
        if self.quiet {
            wanted.try_for_each(|(_, container)| line(&container.id))?;
        } else if self.output == Format::Json {
            let all: Vec<_> = wanted.map(|(pod, container)| container_json(pod, container)).collect();
            line(json!(all))?;
        } else {
            let rows: Vec<_> = wanted.map(|(pod, container)| row(pod, container)).collect();
            table::print(
                &["CONTAINER ID", "POD", "NAME", "IMAGE", "COMMAND", "AGE", "STATUS", "PORTS"],
                &rows,
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn row(pod: &api::Pod, container: &api::Container) -> Vec<String> {
    vec![
        short_id(&container.id).to_owned(),
        pod.name.clone(),
        container.name.clone(),
        container.image.clone(),
        table::cut(&container.command, 24),
        age(container.created_at),
        status(container),
        pod.ports.join(","),
    ]
}

fn container_json(pod: &api::Pod, container: &api::Container) -> serde_json::Value {
    json!({
        "id": container.id, "pod": pod.name, "podId": container.pod_id, "namespace": pod.namespace, "owner": pod.owner,
        "name": container.name, "attempt": container.attempt, "image": container.image, "imageId": container.image_id,
        "command": container.command, "state": container.state, "createdAt": container.created_at,
        "startedAt": container.started_at, "finishedAt": container.finished_at, "exitCode": container.exit_code,
        "reason": container.reason, "message": container.message, "logPath": container.log_path, "pid": container.pid,
        "ports": pod.ports, "ready": container.ready, "probe": container.probe, "restarting": container.again,
    })
}

impl Pods {
    /// Lists pods.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let pods = pods(&reach).await?;
        if self.quiet {
            pods.iter().try_for_each(|pod| line(&pod.id))?;
        } else if self.output == Format::Json {
            let all: Vec<_> = pods.iter().map(pod_json).collect();
            line(json!(all))?;
        } else {
            let rows: Vec<_> = pods.iter().map(pod_row).collect();
            table::print(
                &["POD ID", "NAME", "NAMESPACE", "OWNER", "READY", "STATUS", "RESTARTS", "AGE", "ADDRESS", "PORTS"],
                &rows,
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn pod_row(pod: &api::Pod) -> Vec<String> {
    vec![
        short_id(&pod.id).to_owned(),
        pod.name.clone(),
        pod.namespace.clone(),
        pod.owner.clone(),
        format!("{}/{}", pod.ready, pod.total),
        pod.status.clone(),
        pod.restarts.to_string(),
        age(pod.created_at),
        pod.addresses.join(","),
        pod.ports.join(","),
    ]
}

fn pod_json(pod: &api::Pod) -> serde_json::Value {
    json!({
        "id": pod.id, "name": pod.name, "namespace": pod.namespace, "uid": pod.uid, "attempt": pod.attempt,
        "owner": pod.owner, "state": pod.state, "createdAt": pod.created_at, "addresses": pod.addresses,
        "ports": pod.ports, "labels": pod.labels, "message": pod.message,
        "handler": pod.handler, "status": pod.status, "readyContainers": pod.ready, "totalContainers": pod.total,
        "restarts": pod.restarts,
        "containers": pod.containers.iter().map(|c| container_json(pod, c)).collect::<Vec<_>>(),
    })
}

impl Inspect {
    /// Shows everything known.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let mut all = Vec::new();
        let mut failed = false;
        for target in self.targets {
            match client.inspect(api::InspectRequest { target: target.clone() }).await {
                Ok(answer) => {
                    all.push(serde_json::from_str::<serde_json::Value>(&answer.into_inner().json)?);
                }
                Err(status) => {
                    complain(&about(&target, &told(status).to_string()));
                    failed = true;
                }
            }
        }
        line(serde_json::to_string_pretty(&all)?)?;
        Ok(done(failed))
    }
}
