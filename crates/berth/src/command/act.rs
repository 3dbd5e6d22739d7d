//! `berth kill`, `berth start`, `berth restart` and `berth top`.

use std::process::ExitCode;

use serde_json::json;

use super::outcomes;
use crate::api;
use crate::client::{Reach, told};
use crate::output::{Format, bytes, line, table};

/// `berth kill`
#[derive(Debug, clap::Args)]
pub(crate) struct Kill {
    /// The signal, by name or number; KILL ends a container for good
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    /// Containers, or pods that have only one, by name or id
    #[arg(required = true)]
    targets: Vec<String>,
}

impl Kill {
    /// Signals each target.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let request = api::KillRequest { targets: self.targets, signal: self.signal };
        let mut client = reach.client().await?;
        outcomes(client.kill(request).await.map_err(told)?.into_inner().outcomes)
    }
}

/// `berth start`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Its containers are new: what they wrote to their root file systems and emptyDir volumes is gone,
as after a restart by a kubelet. What is in directories of this machine (-v) is there again."
)]
pub(crate) struct Start {
    /// Pods, or containers that are all of their pod, by name or id
    #[arg(required = true)]
    targets: Vec<String>,
}

impl Start {
    /// Runs what is stopped anew.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        anew(reach, api::RestartRequest { targets: self.targets, grace_seconds: -1, stopped: true }).await
    }
}

/// `berth restart`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Its containers are new: what they wrote to their root file systems and emptyDir volumes is gone,
as after a restart by a kubelet. What is in directories of this machine (-v) is there again."
)]
pub(crate) struct Restart {
    /// Seconds between the stop signal and the kill [default: the pod's own]
    #[arg(short, long, value_name = "SECONDS")]
    time: Option<u32>,
    /// Pods, or containers that are all of their pod, by name or id
    #[arg(required = true)]
    targets: Vec<String>,
}

impl Restart {
    /// Ends each pod and runs it anew.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let grace_seconds = self.time.map_or(-1, i64::from);
        anew(reach, api::RestartRequest { targets: self.targets, grace_seconds, stopped: false }).await
    }
}

async fn anew(reach: Reach, request: api::RestartRequest) -> anyhow::Result<ExitCode> {
    let mut client = reach.client().await?;
    outcomes(client.restart(request).await.map_err(told)?.into_inner().outcomes)
}

/// `berth top`
#[derive(Debug, clap::Args)]
pub(crate) struct Top {
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// A container (POD/CONTAINER, or an id or its beginning), or a pod that has only one
    container: String,
}

impl Top {
    /// Lists the processes of a container.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let request = api::ProcessesRequest { container: self.container };
        let processes = client.processes(request).await.map_err(told)?.into_inner().processes;
        if self.output == Format::Json {
            let object = |p: &api::Process| {
                json!({
                    "pid": p.pid, "parent": p.parent, "uid": p.uid, "cpuMs": p.cpu_ms, "resident": p.resident,
                    "command": p.command,
                })
            };
            line(json!(processes.iter().map(object).collect::<Vec<_>>()))?;
            return Ok(ExitCode::SUCCESS);
        }
        let row = |p: &api::Process| {
            let seconds = p.cpu_ms / 1000;
            vec![
                p.pid.to_string(),
                p.parent.to_string(),
                p.uid.to_string(),
                format!("{}:{:02}.{:02}", seconds / 60, seconds % 60, p.cpu_ms % 1000 / 10),
                bytes(p.resident),
                table::cut(&p.command, 100),
            ]
        };
        let rows: Vec<_> = processes.iter().map(row).collect();
        table::print(&["PID", "PPID", "UID", "CPU TIME", "MEMORY", "COMMAND"], &rows)?;
        Ok(ExitCode::SUCCESS)
    }
}
