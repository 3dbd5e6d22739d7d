//! `berth ps`, `berth pods` and `berth inspect`.

mod filter;
pub(crate) mod template;

use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::json;

use super::{about, done};
use crate::api;
use crate::client::{Reach, told};
use crate::output::{Format, age, complain, line, short_id, table, text_of, yaml};
use filter::Filter;
use template::Template;

/// `berth ps`
#[derive(Debug, clap::Args)]
pub(crate) struct Ps {
    /// Also show those that have ended
    #[arg(short, long)]
    all: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Only some: name=, id=, pod=, status=, label=, ancestor= or exited=; repeatable
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// A line for each, such as '{{.ID}} {{.Names}}'; keys are those of -o json
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "quiet")]
    format: Option<Template>,
    /// Whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// `berth pods`
#[derive(Debug, clap::Args)]
pub(crate) struct Pods {
    /// Only these, by name or id
    names: Vec<String>,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// A line for each, such as '{{.Name}} {{.Status}}'; keys are those of -o json
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "quiet")]
    format: Option<Template>,
    /// Form of the answer; yaml is what `kubectl get pod -o yaml` shows
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// `berth inspect`
#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// A line for each, such as '{{.State}}'; keys are those of the JSON
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<Template>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
    /// A pod, container or image
    #[arg(required = true)]
    targets: Vec<String>,
}

/// The form of what is inspected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    #[default]
    Json,
    Yaml,
}

async fn pods(reach: &Reach) -> anyhow::Result<Vec<api::Pod>> {
    let mut client = reach.client().await?;
    Ok(client.list(api::ListRequest {}).await.map_err(told)?.into_inner().pods)
}

/// Whether a container has ended for good.
fn still(container: &api::Container) -> bool {
    !container.again && matches!(container.state.as_str(), "exited" | "being removed" | "gone")
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
        let all = self.all || self.filter.iter().any(Filter::wants_ended);
        let mut wanted = pods
            .iter()
            .flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)))
            .filter(|(_, container)| all || !still(container))
            .filter(|(pod, container)| Filter::all_take(&self.filter, pod, container));
        if let Some(template) = &self.format {
            formatted(template, wanted.map(|(pod, container)| shown(pod, container)))?;
        } else if self.quiet {
            wanted.try_for_each(|(_, container)| line(&container.id))?;
        } else {
            let wanted: Vec<_> = wanted.collect();
            let all = wanted.iter().map(|(pod, container)| container_json(pod, container));
            let name = |of: &serde_json::Value| format!("{}/{}", text_of(of, "pod"), text_of(of, "name"));
            if !self.output.shows(&json!(all.collect::<Vec<_>>()), Some(name))? {
                self.table(&wanted)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Ps {
    fn table(&self, wanted: &[(&api::Pod, &api::Container)]) -> anyhow::Result<()> {
        let wide = self.output == Format::Wide;
        let mut head = vec!["CONTAINER ID", "POD", "NAME", "IMAGE", "COMMAND", "AGE", "STATUS", "PORTS"];
        if wide {
            head.extend(["NAMESPACE", "ATTEMPT", "PID", "IMAGE ID"]);
        }
        let one = |(pod, container): &(&api::Pod, &api::Container)| {
            let mut cells = row(pod, container, self.no_trunc || wide);
            if wide {
                let id = short_id(&container.image_id).to_owned();
                let (attempt, pid) = (container.attempt.to_string(), container.pid.to_string());
                cells.extend([pod.namespace.clone(), attempt, pid, id]);
            }
            cells
        };
        self.output.table(&head, &wanted.iter().map(one).collect::<Vec<_>>())
    }
}

/// A line for each object.
pub(super) fn formatted(
    template: &Template,
    objects: impl Iterator<Item = serde_json::Value>,
) -> anyhow::Result<()> {
    let lines = objects.map(|object| template.text(&object)).collect::<anyhow::Result<Vec<_>>>()?;
    if !template.table {
        return lines.into_iter().try_for_each(line);
    }
    let cells = |text: &str| text.split('\t').map(str::to_owned).collect::<Vec<_>>();
    let head = template.head();
    let rows: Vec<_> = lines.iter().map(|text| cells(text)).collect();
    table::print(&head.split('\t').collect::<Vec<_>>(), &rows)
}

/// What templates of docker's users ask for, too.
fn shown(pod: &api::Pod, container: &api::Container) -> serde_json::Value {
    let mut object = container_json(pod, container);
    object["names"] = json!(container.name);
    object["status"] = json!(status(container));
    object["labels"] = json!(pod.labels);
    object["runningFor"] = json!(age(container.created_at));
    object
}

fn row(pod: &api::Pod, container: &api::Container, whole: bool) -> Vec<String> {
    vec![
        if whole { container.id.clone() } else { short_id(&container.id).to_owned() },
        pod.name.clone(),
        container.name.clone(),
        container.image.clone(),
        table::cut(&container.command, if whole { usize::MAX } else { 24 }),
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
        let mut pods = pods(&reach).await?;
        if !self.names.is_empty() {
            pods = named(pods, &self.names)?;
        }
        if let Some(template) = &self.format {
            formatted(template, pods.iter().map(pod_json))?;
        } else if self.quiet {
            pods.iter().try_for_each(|pod| line(&pod.id))?;
        } else if self.output == Format::Yaml {
            yaml(&objects(&reach, &pods, self.names.len() == 1).await?)?;
        } else {
            let all = json!(pods.iter().map(pod_json).collect::<Vec<_>>());
            if !self.output.shows(&all, Some(|of| text_of(of, "name")))? {
                self.table(&pods)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn table(&self, pods: &[api::Pod]) -> anyhow::Result<()> {
        let wide = self.output == Format::Wide;
        let mut head = vec![
            "POD ID",
            "NAME",
            "NAMESPACE",
            "OWNER",
            "READY",
            "STATUS",
            "RESTARTS",
            "AGE",
            "ADDRESS",
            "PORTS",
        ];
        if wide {
            head.extend(["UID", "HANDLER"]);
        }
        let one = |pod: &api::Pod| {
            let mut cells = pod_row(pod);
            if wide {
                cells.extend([pod.uid.clone(), pod.handler.clone()]);
            }
            cells
        };
        self.output.table(&head, &pods.iter().map(one).collect::<Vec<_>>())
    }
}

/// The pods of these names, each of which there must be.
fn named(pods: Vec<api::Pod>, names: &[String]) -> anyhow::Result<Vec<api::Pod>> {
    let is = |pod: &api::Pod, name: &String| {
        pod.name == *name
            || format!("{}/{}", pod.namespace, pod.name) == *name
            || (!name.is_empty() && pod.id.starts_with(name.as_str()))
    };
    if let Some(missing) = names.iter().find(|name| !pods.iter().any(|pod| is(pod, name))) {
        anyhow::bail!("no pod {missing:?} (hint: berth pods lists them)");
    }
    Ok(pods.into_iter().filter(|pod| names.iter().any(|name| is(pod, name))).collect())
}

/// The pods as kubectl shows them: one alone, or a list.
async fn objects(reach: &Reach, pods: &[api::Pod], alone: bool) -> anyhow::Result<serde_json::Value> {
    let mut client = reach.client().await?;
    let mut items = Vec::new();
    for pod in pods {
        let asked = api::InspectRequest { target: pod.id.clone(), object: true };
        match client.inspect(asked).await {
            Ok(answer) => items.push(serde_json::from_str(&answer.into_inner().json)?),
            // It was removed meanwhile.
            Err(status) if status.code() == tonic::Code::NotFound => {}
            Err(status) => return Err(told(status)),
        }
    }
    Ok(match (alone, items.len()) {
        (true, 1) => items.remove(0),
        _ => json!({ "apiVersion": "v1", "kind": "List", "items": items }),
    })
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
            match client.inspect(api::InspectRequest { target: target.clone(), object: false }).await {
                Ok(answer) => {
                    all.push(serde_json::from_str::<serde_json::Value>(&answer.into_inner().json)?);
                }
                Err(status) => {
                    complain(&about(&target, &told(status).to_string()));
                    failed = true;
                }
            }
        }
        match (&self.format, self.output) {
            (Some(template), _) => formatted(template, all.into_iter())?,
            (None, Form::Json) => line(serde_json::to_string_pretty(&all)?)?,
            (None, Form::Yaml) => yaml(&json!(all))?,
        }
        Ok(done(failed))
    }
}
