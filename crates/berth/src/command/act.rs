//! `berth kill`, `berth pause`, `berth unpause`, `berth restart` and `berth top`.

use std::process::ExitCode;

use serde_json::json;

use super::outcomes;
use crate::api;
use crate::client::{Reach, told};
use crate::output::{Format, bytes, table};

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

/// `berth pause`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Its processes keep their memory, files and connections, and get no processor time. exec is refused
meanwhile; stop, kill and rm -f let it go on for its end."
)]
pub(crate) struct Pause {
    /// Pods or containers, by name or id; of a pod, all containers that run
    #[arg(required = true)]
    targets: Vec<String>,
}

impl Pause {
    /// Stops the processes of each target where they are.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        pause(reach, api::PauseRequest { targets: self.targets, unpause: false }).await
    }
}

/// `berth unpause`
#[derive(Debug, clap::Args)]
pub(crate) struct Unpause {
    /// Pods or containers, by name or id
    #[arg(required = true)]
    targets: Vec<String>,
}

impl Unpause {
    /// Lets each target go on.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        pause(reach, api::PauseRequest { targets: self.targets, unpause: true }).await
    }
}

async fn pause(reach: Reach, request: api::PauseRequest) -> anyhow::Result<ExitCode> {
    let mut client = reach.client().await?;
    outcomes(client.pause(request).await.map_err(told)?.into_inner().outcomes)
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
        let request =
            api::RestartRequest { targets: self.targets, grace_seconds, stopped: false, hold: false };
        let mut client = reach.client().await?;
        outcomes(client.restart(request).await.map_err(told)?.into_inner().outcomes)
    }
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
        let object = |p: &api::Process| {
            json!({
                "pid": p.pid, "parent": p.parent, "uid": p.uid, "cpuMs": p.cpu_ms, "resident": p.resident,
                "command": p.command,
            })
        };
        if self.output.shows(&json!(processes.iter().map(object).collect::<Vec<_>>()), None)? {
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
