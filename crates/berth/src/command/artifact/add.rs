//! `berth artifact add`: an artifact of files that are here.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use berth_types::Digest;
use sha2::Digest as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::api::{self, artifact_input::Input};
use crate::client::{Reach, told};
use crate::output::line;

/// Bytes of a piece that is sent to the daemon.
const PIECE: usize = 256 << 10;
/// Pieces on their way.
const QUEUE: usize = 8;

/// `berth artifact add`
#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// What the artifact is
    #[arg(long, value_name = "MEDIA-TYPE", default_value = "application/vnd.unknown.artifact.v1")]
    r#type: String,
    /// What each file is
    #[arg(long, value_name = "MEDIA-TYPE", default_value = "application/octet-stream")]
    file_type: String,
    /// An annotation of each file; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// Take the name from what has it
    #[arg(long)]
    replace: bool,
    /// The artifact's name; one without a registry is localhost's
    name: String,
    /// Files; each is called as the last part of its path
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

impl Add {
    /// Sends the files and prints the digest of the artifact.
    pub(super) async fn run(self, reach: &Reach) -> anyhow::Result<ExitCode> {
        let annotation = |text: &String| match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => bail!("invalid --annotation {text:?}: expected KEY=VALUE"),
        };
        let annotations: std::collections::BTreeMap<_, _> =
            self.annotation.iter().map(annotation).collect::<anyhow::Result<_>>()?;
        let mut files = Vec::new();
        let mut sources = Vec::new();
        for path in &self.files {
            let (file, digest, size) = summed(path)?;
            let name = path.file_name().and_then(|name| name.to_str());
            let title = name.with_context(|| format!("{}: its name is no UTF-8 text", path.display()))?;
            files.push(api::NewFile {
                title: title.to_owned(),
                digest: digest.to_string(),
                size,
                media_type: self.file_type.clone(),
                annotations: annotations.clone(),
            });
            sources.push((file, path.clone()));
        }
        let begin = api::NewArtifact { name: self.name, r#type: self.r#type, files, replace: self.replace };
        let mut client = reach.client().await?;
        let (sender, pieces) = mpsc::channel(QUEUE);
        let feed = tokio::task::spawn_blocking(move || feed(begin, sources, &sender));
        let made = client.make_artifact(ReceiverStream::new(pieces)).await;
        // What went wrong here made the daemon miss the end.
        if made.is_err() && feed.is_finished() {
            feed.await.context("read the files")??;
        }
        line(made.map_err(told)?.into_inner().digest)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A file with the digest and the bytes of its content.
fn summed(path: &Path) -> anyhow::Result<(File, Digest, u64)> {
    let at = || format!("read {}", path.display());
    let mut file = File::open(path).with_context(at)?;
    if !file.metadata().with_context(at)?.is_file() {
        bail!("{}: it is no regular file (hint: pack a directory with tar)", path.display());
    }
    let (mut sum, mut size, mut buffer) = (sha2::Sha256::new(), 0, vec![0; PIECE]);
    loop {
        match file.read(&mut buffer).with_context(at)? {
            0 => break,
            read => {
                sum.update(&buffer[..read]);
                size += read as u64;
            }
        }
    }
    file.rewind().with_context(at)?;
    Ok((file, Digest::from_sha256(sum.finalize().into()), size))
}

fn feed(
    begin: api::NewArtifact,
    sources: Vec<(File, PathBuf)>,
    sender: &mpsc::Sender<api::ArtifactInput>,
) -> anyhow::Result<()> {
    let send = |input| sender.blocking_send(api::ArtifactInput { input: Some(input) }).is_ok();
    // A daemon that does not take more says why in its answer.
    if !send(Input::Begin(begin)) {
        return Ok(());
    }
    for (mut file, path) in sources {
        loop {
            let mut data = Vec::with_capacity(PIECE);
            let read = file.by_ref().take(PIECE as u64).read_to_end(&mut data);
            let last = read.with_context(|| format!("read {}", path.display()))? == 0;
            if !send(Input::Chunk(api::Chunk { data, last })) {
                return Ok(());
            }
            if last {
                break;
            }
        }
    }
    Ok(())
}
