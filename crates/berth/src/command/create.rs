//! `berth create` and `berth start`: a container that is made now and runs later.

use std::process::ExitCode;

use anyhow::bail;

use super::outcomes;
use super::run::{Foreground, Run};
use crate::api;
use crate::client::{Reach, told};
use crate::output::line;
use crate::terminal;

/// `berth create`
#[derive(Debug, clap::Args)]
#[command(after_help = "The flags are those of berth run. The pod has its address and ports from now on.
  berth create --name web -p 8080:80 docker.io/library/nginx
  berth start web

Exit status: 0, or 125 when Berth failed.")]
pub(crate) struct Create {
    #[command(flatten)]
    run: Run,
}

impl Create {
    /// Makes the container and prints its id.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        if self.run.detach {
            bail!("create takes no --detach: it starts nothing (hint: berth run -d does both)");
        }
        let (_, container) = self.run.make(&reach, true).await?;
        line(&container.id)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// `berth start`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What berth create made starts. What had run is run anew: its containers are new, and what they wrote to their root
file systems and emptyDir volumes is gone, as after a restart by a kubelet. What is in directories of this machine (-v) is
there again."
)]
pub(crate) struct Start {
    /// Show what the container writes until it ends, whose exit status is ours then
    #[arg(short, long)]
    attach: bool,
    /// Give it standard input, too; with --attach
    #[arg(short, long, requires = "attach")]
    interactive: bool,
    /// Pods, or containers that are all of their pod, by name or id
    #[arg(required = true)]
    targets: Vec<String>,
}

impl Start {
    /// Runs what is stopped.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let hold = self.attach;
        let request =
            api::RestartRequest { targets: self.targets.clone(), grace_seconds: -1, stopped: true, hold };
        let [target] = self.targets.as_slice() else {
            if hold {
                bail!("start --attach takes one container (hint: start the others without it)");
            }
            let mut client = reach.client().await?;
            return outcomes(client.restart(request).await.map_err(told)?.into_inner().outcomes);
        };
        let mut client = reach.client().await?;
        let done = client.restart(request).await.map_err(told)?.into_inner().outcomes;
        if !hold || done.iter().any(|outcome| !outcome.error.is_empty()) {
            return outcomes(done);
        }
        let container = super::logs::find(&mut client, target).await?;
        let stdin = self.interactive && container.stdin;
        let tty = container.tty && terminal::is_interactive();
        Foreground { container, tty, stdin, remove: false, ours: false }.run(&mut client).await
    }
}
