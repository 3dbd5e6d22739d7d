//! `berth commit`, `berth export` and `berth import`: roots of containers and images.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::ArgAction;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::archive::{Out, feed, open};
use crate::api::{self, import_input::Input};
use crate::client::{Reach, told};
use crate::output::line;

/// Pieces on their way.
const QUEUE: usize = 8;

/// `berth commit`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The image is that of the container, with what it wrote as one more layer. What is in volumes and other mounts is not in it.\n\nExamples:\n  berth commit web my/web:1\n  berth commit -m 'with curl' -c 'CMD [\"curl\", \"--help\"]' -c 'ENV DEBUG=1' tools my/tools"
)]
pub(crate) struct Commit {
    /// Who made it
    #[arg(short, long, default_value = "", hide_default_value = true)]
    author: String,
    /// Change the configuration, as in a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// A remark for the history
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// Pause the container meanwhile
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    pause: bool,
    /// Do not pause the container, as --pause=false
    #[arg(long)]
    no_pause: bool,
    /// Print nothing but the image's id, as without it
    #[arg(short, long)]
    quiet: bool,
    /// A container (POD/CONTAINER, or an id or its beginning), or a pod that has only one
    container: String,
    /// The image's name; one without a registry is localhost's
    #[arg(value_name = "NAME[:TAG]", default_value = "", hide_default_value = true)]
    name: String,
}

impl Commit {
    /// Makes the image and prints its id.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let words = api::ImageWords {
            name: self.name,
            author: self.author,
            message: self.message,
            changes: self.change,
        };
        let pause = self.pause && !self.no_pause;
        let request = api::CommitRequest { container: self.container, words: Some(words), pause };
        line(client.commit(request).await.map_err(told)?.into_inner().id)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// `berth export`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is in volumes and other mounts is not in it. berth commit and berth save keep the image's settings.\n\nExamples:\n  berth export -o web.tar web\n  berth export web | tar -t"
)]
pub(crate) struct Export {
    /// The tar; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// A container (POD/CONTAINER, or an id or its beginning), or a pod that has only one; it need not run
    container: String,
}

impl Export {
    /// Writes the tar.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut out = Out::open(&self.output)?;
        let mut client = reach.client().await?;
        let request = api::ExportRequest { container: self.container };
        let mut pieces = client.export(request).await.map_err(told)?.into_inner();
        while let Some(piece) = pieces.message().await.map_err(told)? {
            out.write(&piece.data)?;
        }
        out.finish()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// `berth import`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The tar has the files of a root file system, and may be compressed by gzip or zstd. For archives of images there is berth load.\n\nExamples:\n  berth import -c 'CMD [\"/bin/sh\"]' root.tar my/root:1\n  curl -L https://example.org/root.tar.gz | berth import - my/root:1"
)]
pub(crate) struct Import {
    /// Set the configuration, as in a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// A remark for the history
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// Print nothing but the image's id, as without it
    #[arg(short, long)]
    quiet: bool,
    /// The tar; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The image's name; one without a registry is localhost's
    #[arg(value_name = "NAME[:TAG]", default_value = "", hide_default_value = true)]
    name: String,
}

impl From<api::Chunk> for api::ImportInput {
    fn from(chunk: api::Chunk) -> Self {
        Self { input: Some(Input::Chunk(chunk)) }
    }
}

/// What is no file of this machine.
fn refuse_url(file: &Path) -> anyhow::Result<()> {
    let text = file.to_string_lossy();
    if text.starts_with("http://") || text.starts_with("https://") {
        bail!("import does not fetch files (hint: curl -fL {text} | berth import - NAME)");
    }
    Ok(())
}

impl Import {
    /// Sends the tar and prints the image's id.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        refuse_url(&self.file)?;
        let (name, tar) = open(&self.file)?;
        let mut client = reach.client().await?;
        let (sender, pieces) = mpsc::channel(QUEUE);
        let message = if self.message.is_empty() { format!("Imported from {name}") } else { self.message };
        let words = api::ImageWords { name: self.name, author: String::new(), message, changes: self.change };
        sender.send(api::ImportInput { input: Some(Input::Words(words)) }).await.ok();
        let from = name.clone();
        let feed = tokio::task::spawn_blocking(move || feed(tar, &from, &sender));
        match client.import(ReceiverStream::new(pieces)).await {
            Ok(made) => line(made.into_inner().id)?,
            Err(status) => {
                // What went wrong here made the daemon miss the end.
                if feed.is_finished() {
                    feed.await.context("read the tar")??;
                }
                return Err(told(status).context(format!("import {name}")));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
