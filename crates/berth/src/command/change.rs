//! `berth stop`, `berth rm` and `berth wait`.

use std::process::ExitCode;

use super::outcomes;
use crate::api;
use crate::client::{Reach, told};
use crate::output::line;

/// `berth stop`
#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    /// Seconds between the stop signal and the kill [default: 10, or the pod's own]
    #[arg(short, long, value_name = "SECONDS")]
    time: Option<u32>,
    /// Pods or containers, by name or id
    #[arg(required = true)]
    targets: Vec<String>,
}

impl Stop {
    /// Stops each target.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let request =
            api::StopRequest { targets: self.targets, grace_seconds: self.time.map_or(-1, i64::from) };
        let mut client = reach.client().await?;
        outcomes(client.stop(request).await.map_err(told)?.into_inner().outcomes)
    }
}

/// `berth rm`
#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    /// Also remove what is running
    #[arg(short, long)]
    force: bool,
    /// Also volumes of it that nobody gave a name
    #[arg(short, long)]
    volumes: bool,
    /// Pods or containers, by name or id
    #[arg(required = true)]
    targets: Vec<String>,
}

impl Rm {
    /// Removes each target.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let request = api::RemoveRequest { targets: self.targets, force: self.force, volumes: self.volumes };
        outcomes(client.remove(request).await.map_err(told)?.into_inner().outcomes)
    }
}

/// `berth wait`
#[derive(Debug, clap::Args)]
pub(crate) struct Wait {
    /// Containers (POD/CONTAINER, or an id or its beginning), or pods that have only one
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Wait {
    /// Waits for one after another, and prints each exit status.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        for container in self.containers {
            let end = client.wait(api::WaitRequest { container }).await.map_err(told)?.into_inner();
            line(end.exit_code)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
