//! `berth workloads`

use std::process::ExitCode;

use serde_json::json;

use crate::api;
use crate::client::{Reach, told};
use crate::output::{ListFormat, age, line, table, yaml};

/// `berth workloads`
#[derive(Debug, clap::Args)]
pub(crate) struct Workloads {
    /// Only KIND/NAME
    #[arg(short, long)]
    quiet: bool,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: ListFormat,
}

impl Workloads {
    /// Lists them.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let all = client.workloads(api::WorkloadsRequest {}).await.map_err(told)?.into_inner().workloads;
        if self.quiet {
            all.iter().try_for_each(|one| line(format!("{}/{}", one.kind.to_lowercase(), one.name)))?;
        } else if self.output != ListFormat::Table {
            let all = json!(all.iter().map(as_json).collect::<Vec<_>>());
            if self.output == ListFormat::Yaml { yaml(&all)? } else { line(all)? }
        } else {
            let rows: Vec<_> = all.iter().map(row).collect();
            table::print(&["KIND", "NAME", "NAMESPACE", "READY", "STATE", "AGE", "MESSAGE"], &rows)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn row(of: &api::Workload) -> Vec<String> {
    let ready = match of.kind.as_str() {
        "PersistentVolumeClaim" => "-".to_owned(),
        "CronJob" => format!("{} running", of.done),
        _ => format!("{}/{}", of.done, of.wanted),
    };
    vec![
        of.kind.clone(),
        of.name.clone(),
        of.namespace.clone(),
        ready,
        of.state.clone(),
        if of.created_at == 0 { "-".to_owned() } else { age(of.created_at) },
        table::cut(&of.message, 80),
    ]
}

fn as_json(of: &api::Workload) -> serde_json::Value {
    json!({
        "kind": of.kind, "name": of.name, "namespace": of.namespace, "uid": of.uid, "createdAt": of.created_at,
        "wanted": of.wanted, "done": of.done, "current": of.current, "state": of.state, "message": of.message,
        "nextAt": of.next_at,
    })
}
