//! `berth prune` and `berth system`: what nobody needs any more, and what is used.

use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::json;

use super::{done, outcomes};
use crate::api;
use crate::client::{Client, Reach, told};
use crate::output::{Format, bytes, line, note, table};

/// `berth prune`
#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// Also images and artifacts that no container uses
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long, alias = "yes")]
    force: bool,
}

/// `berth system`
#[derive(Debug, clap::Args)]
pub(crate) struct System {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// What images and containers take on the disk
    Df {
        /// Form of the answer
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Remove pods that have ended, and with -a unused images
    Prune(Prune),
    /// Show what the daemon runs with
    Info(super::info::Info),
}

impl System {
    /// Does it.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Df { output } => df(&reach, output).await,
            Command::Prune(prune) => prune.run(reach).await,
            Command::Info(info) => info.run(reach).await,
        }
    }
}

/// Whether nothing of a pod runs or will run. A kubelet removes its own.
fn has_ended(pod: &api::Pod) -> bool {
    let over = |container: &api::Container| container.state == "exited" && !container.again;
    pod.owner == "local"
        && pod.state != "starting"
        && !pod.containers.is_empty()
        && pod.containers.iter().all(over)
}

async fn pods(client: &mut Client) -> anyhow::Result<Vec<api::Pod>> {
    Ok(client.list(api::ListRequest {}).await.map_err(told)?.into_inner().pods)
}

async fn images(client: &mut Client) -> anyhow::Result<Vec<api::Image>> {
    Ok(client.images(api::ImagesRequest {}).await.map_err(told)?.into_inner().images)
}

impl Prune {
    /// Removes pods that have ended, then images.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        if !self.force {
            ask(if self.all {
                "all pods that have ended and all images that no container uses"
            } else {
                "all pods that have ended"
            })?;
        }
        let mut client = reach.client().await?;
        let targets: Vec<_> =
            pods(&mut client).await?.iter().filter(|pod| has_ended(pod)).map(|pod| pod.id.clone()).collect();
        let mut failed = false;
        if !targets.is_empty() {
            // Without force: one that was started meanwhile stays.
            let request = api::RemoveRequest { targets, force: false, volumes: false };
            let removed = client.remove(request).await.map_err(told)?.into_inner().outcomes;
            failed |= outcomes(removed)? != ExitCode::SUCCESS;
        }
        if self.all {
            let before = usage(&mut client).await?.images_bytes;
            let unused =
                images(&mut client).await?.into_iter().filter(|image| !image.in_use && !image.pinned);
            let names = unused.map(|image| image.id);
            let request = api::RemoveImageRequest { images: names.collect(), force: false };
            let removed = client.remove_image(request).await.map_err(told)?.into_inner().outcomes;
            failed |= outcomes(removed)? != ExitCode::SUCCESS;
            let after = usage(&mut client).await?.images_bytes;
            note(format_args!("images: {} are free again", bytes(before.saturating_sub(after))));
        }
        Ok(done(failed))
    }
}

pub(super) fn ask(what: &str) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!("standard input is not a terminal on which to ask (hint: --force)");
    }
    write!(std::io::stderr(), "Remove {what}? [y/N] ").context("write output")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("read the answer")?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { bail!("nothing was removed") }
}

async fn usage(client: &mut Client) -> anyhow::Result<api::DiskUsageResponse> {
    Ok(client.disk_usage(api::DiskUsageRequest {}).await.map_err(told)?.into_inner())
}

async fn df(reach: &Reach, output: Format) -> anyhow::Result<ExitCode> {
    let mut client = reach.client().await?;
    let (images, pods) = (images(&mut client).await?, pods(&mut client).await?);
    let usage = usage(&mut client).await?;
    let used = images.iter().filter(|image| image.in_use).count();
    let containers: Vec<_> = pods.iter().flat_map(|pod| &pod.containers).collect();
    let run = containers.iter().filter(|container| container.state == "running").count();
    if output == Format::Json {
        line(json!([
            { "type": "images", "total": images.len(), "active": used, "bytes": usage.images_bytes,
              "reclaimable": usage.images_reclaimable },
            { "type": "containers", "total": containers.len(), "active": run, "bytes": usage.containers_bytes },
            { "type": "disk", "bytes": usage.disk_capacity, "available": usage.disk_available },
        ]))?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |name: &str, total: usize, active: usize, size: u64, free: String| {
        vec![name.to_owned(), total.to_string(), active.to_string(), bytes(size), free]
    };
    // What prune -a gives back, and what of containers goes with their pods.
    let rows = [
        row("Images", images.len(), used, usage.images_bytes, bytes(usage.images_reclaimable)),
        row("Containers", containers.len(), run, usage.containers_bytes, "-".to_owned()),
    ];
    table::print(&["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"], &rows)?;
    Ok(ExitCode::SUCCESS)
}
