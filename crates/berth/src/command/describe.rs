//! `berth describe` and `berth explain`: a pod in words.

use std::process::ExitCode;

use anyhow::{Context, bail};

use super::services;
use crate::api;
use crate::client::{Client, Reach, told};
use crate::output::{age, line, short_id, table};

/// `berth describe`
#[derive(Debug, clap::Args)]
pub(crate) struct Describe {
    /// Pods, or containers, which stand for their pods, by name or id; services by name or service/NAME
    #[arg(required = true)]
    targets: Vec<String>,
}

/// `berth explain`
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// A pod, or a container, which stands for its pod, by name or id; a service by name or service/NAME
    pod: String,
}

/// The pod that a name means, and its status as the Kubernetes API has it.
async fn with_status(client: &mut Client, name: &str) -> anyhow::Result<(api::Pod, serde_json::Value)> {
    let pod = find(client, name).await?;
    let asked = api::InspectRequest { target: pod.id.clone(), object: true };
    let json = client.inspect(asked).await.map_err(told)?.into_inner().json;
    let mut object: serde_json::Value = serde_json::from_str(&json)?;
    Ok((pod, object["status"].take()))
}

/// The pod that a name means.
async fn find(client: &mut Client, name: &str) -> anyhow::Result<api::Pod> {
    let json =
        client.inspect(api::InspectRequest { target: name.to_owned(), object: false }).await.map_err(told)?;
    let found: serde_json::Value = serde_json::from_str(&json.into_inner().json)?;
    let id = match found["kind"].as_str() {
        Some("Pod") => found["id"].as_str(),
        Some("Container") => found["pod"].as_str(),
        _ => bail!("{name} is an image (hint: berth inspect {name})"),
    };
    let pods = client.list(api::ListRequest {}).await.map_err(told)?.into_inner().pods;
    pods.into_iter()
        .find(|pod| Some(pod.id.as_str()) == id)
        .with_context(|| format!("pod {name} was removed"))
}

impl Describe {
    /// Shows each target's pod.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        for (index, name) in self.targets.iter().enumerate() {
            let lines = match with_status(&mut client, name).await {
                Ok((pod, status)) => described(&pod, &status),
                Err(missing) => match services::find(&mut client, name).await? {
                    Some(service) => services::described(&service),
                    None => return Err(missing),
                },
            };
            if index > 0 {
                line("")?;
            }
            lines.into_iter().try_for_each(line)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn described(pod: &api::Pod, status: &serde_json::Value) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |depth: usize, key: &str, value: String| {
        if !value.is_empty() {
            lines.push(format!("{:depth$}{:<width$} {value}", "", format!("{key}:"), width = 13));
        }
    };
    add(0, "Name", pod.name.clone());
    add(0, "Namespace", pod.namespace.clone());
    add(0, "Id", pod.id.clone());
    add(0, "Owner", pod.owner.clone());
    add(0, "Handler", pod.handler.clone());
    add(0, "Status", pod.status.clone());
    add(0, "Phase", phase(status));
    add(0, "Ready", format!("{}/{}", pod.ready, pod.total));
    add(0, "QoS class", text(&status["qosClass"]));
    add(0, "Restarts", pod.restarts.to_string());
    add(0, "Age", age(pod.created_at));
    add(0, "Addresses", pod.addresses.join(", "));
    add(0, "Ports", pod.ports.join(", "));
    let labels: std::collections::BTreeMap<_, _> = pod.labels.iter().collect();
    add(
        0,
        "Labels",
        labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", "),
    );
    add(0, "Message", table::cut(&pod.message, 500));
    for container in current(pod) {
        add(0, "Container", container.name.clone());
        add(2, "Id", short_id(&container.id).to_owned());
        add(2, "Image", container.image.clone());
        add(2, "Command", table::cut(&container.command, 200));
        add(2, "State", state(container));
        add(
            2,
            "Started",
            if container.started_at > 0 {
                format!("{} ago", age(container.started_at))
            } else {
                String::new()
            },
        );
        add(2, "Restarts", container.attempt.to_string());
        add(2, "Ready", container.ready.map_or_else(String::new, |ready| ready.to_string()));
        add(2, "Probe", table::cut(&container.probe, 500));
        add(2, "Message", table::cut(&container.message, 500));
        add(2, "Log", container.log_path.clone());
    }
    lines.extend(conditions(status));
    lines
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// `Failed (DeadlineExceeded)`
fn phase(status: &serde_json::Value) -> String {
    match status["reason"].as_str() {
        Some(reason) => format!("{} ({reason})", text(&status["phase"])),
        None => text(&status["phase"]),
    }
}

/// A line for each condition, with why it does not hold.
fn conditions(status: &serde_json::Value) -> Vec<String> {
    let all = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let one = |condition: &serde_json::Value| {
        let why: Vec<_> = ["reason", "message"].iter().filter_map(|key| condition[key].as_str()).collect();
        let why = if why.is_empty() { String::new() } else { format!(": {}", why.join(": ")) };
        let (name, since) = (text(&condition["type"]), text(&condition["lastTransitionTime"]));
        let line = format!("  {name:<26} {:<5} since {since}{why}", text(&condition["status"]));
        table::cut(&line, 500)
    };
    let title = (!all.is_empty()).then(|| "Conditions:".to_owned());
    title.into_iter().chain(all.iter().map(one)).collect()
}

/// The newest attempt of each container.
fn current(pod: &api::Pod) -> Vec<&api::Container> {
    let newer =
        |one: &api::Container, other: &api::Container| one.name == other.name && one.attempt < other.attempt;
    let newest = |one: &&api::Container| !pod.containers.iter().any(|other| newer(one, other));
    let mut all: Vec<_> = pod.containers.iter().filter(newest).collect();
    all.sort_by_key(|container| container.created_at);
    all
}

fn state(container: &api::Container) -> String {
    if container.state != "exited" {
        return container.state.clone();
    }
    let again = if container.again { ", will be run again" } else { "" };
    format!(
        "exited with {} ({}) {} ago{again}",
        container.exit_code,
        container.reason,
        age(container.finished_at)
    )
}

impl Explain {
    /// Shows the pod's times, and why it is not ready.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let pod = match find(&mut client, &self.pod).await {
            Ok(pod) => pod,
            Err(missing) => {
                let Some(service) = services::find(&mut client, &self.pod).await? else {
                    return Err(missing);
                };
                let pods = client.list(api::ListRequest {}).await.map_err(told)?.into_inner().pods;
                services::explained(&service, &pods).into_iter().try_for_each(line)?;
                return Ok(ExitCode::SUCCESS);
            }
        };
        let works = client.stages(api::StagesRequest {}).await.map_err(told)?.into_inner().work;
        let own: Vec<_> = works.iter().filter(|work| work.sandbox == pod.id).collect();
        for text in times(&pod, &own) {
            line(text)?;
        }
        line("")?;
        reasons(&pod).into_iter().try_for_each(line)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What happened, each with the time since the pod was made.
fn times(pod: &api::Pod, works: &[&api::Stages]) -> Vec<String> {
    let since = |at: i64| {
        let millis = at.saturating_sub(pod.created_at).max(0) / 1_000_000;
        format!("{:>8}.{:03} s", millis / 1000, millis % 1000)
    };
    let mut all = vec![(pod.created_at, format!("pod {} is being made", pod.name))];
    for container in &pod.containers {
        let name = format!("{} (attempt {})", container.name, container.attempt);
        all.push((container.created_at, format!("container {name} is made, of {}", container.image)));
        if container.started_at > 0 {
            all.push((container.started_at, format!("container {name} starts")));
        }
        if container.finished_at > 0 {
            all.push((
                container.finished_at,
                format!("container {name} ends with {} ({})", container.exit_code, container.reason),
            ));
        }
    }
    all.sort_by_key(|(at, _)| *at);
    let mut lines: Vec<_> = all.into_iter().map(|(at, text)| format!("{}  {text}", since(at))).collect();
    for work in works {
        let stage = |stage: &api::Stage| format!("{} {}", stage.name, millis(stage.ns));
        let stages: Vec<_> = work.stages.iter().map(stage).collect();
        lines.push(format!("took {} for {}: {}", millis(work.total_ns), work.verb, stages.join(", ")));
    }
    lines
}

fn millis(ns: u64) -> String {
    format!("{}.{} ms", ns / 1_000_000, ns / 100_000 % 10)
}

/// Why the pod is not ready, or that it is.
fn reasons(pod: &api::Pod) -> Vec<String> {
    let mut all = Vec::new();
    if !pod.message.is_empty() {
        all.push(format!("the pod says: {}", table::cut(&pod.message, 500)));
    }
    if pod.state != "ready" {
        all.push(format!("the pod is {} (berth start {} runs it anew)", pod.state, pod.name));
    }
    for container in current(pod) {
        let name = format!("{}/{}", pod.name, container.name);
        let logs = format!("berth logs {name} shows what it wrote");
        match container.state.as_str() {
            "running" if container.ready == Some(false) => {
                let probe = table::cut(&container.probe, 500);
                let why =
                    if probe.is_empty() { "its probes have not succeeded yet".to_owned() } else { probe };
                all.push(format!("{name} runs and is not ready: {why}"));
            }
            "exited" if container.again => all.push(format!("{name} {}: {logs}", state(container))),
            "exited" if container.exit_code != 0 => {
                let message = table::cut(&container.message, 500);
                let said = if message.is_empty() { logs } else { message };
                all.push(format!("{name} {}: {said}", state(container)));
            }
            "paused" => all.push(format!("{name} is paused (berth unpause {name} lets it go on)")),
            "created" | "being created" | "starting" => {
                all.push(format!("{name} has not started: it is {}", container.state))
            }
            _ => {}
        }
    }
    if all.is_empty() {
        all.push(match pod.status.as_str() {
            "Running" => {
                format!("pod {} is ready: {}/{} containers can serve", pod.name, pod.ready, pod.total)
            }
            status => format!("pod {} is {status}, and nothing failed", pod.name),
        });
    }
    all
}
