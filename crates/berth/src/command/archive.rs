//! `berth load` and `berth save`: images in archives.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::ValueEnum;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::api::{self, load_event::Event};
use crate::client::{Reach, told};
use crate::output::pull::Pulls;
use crate::output::{bytes, line, note};

/// Bytes of a piece that is sent to the daemon.
const PIECE: usize = 256 << 10;
/// Pieces on their way.
const QUEUE: usize = 8;

/// `berth load`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "An archive is what berth save, docker save, podman save or skopeo wrote: an OCI image layout or a docker archive, in one tar file.\n\nExample:\n  docker save my/image:1 | berth load"
)]
pub(crate) struct Load {
    /// The archive; - is standard input
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    input: PathBuf,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
}

impl Load {
    /// Sends the archive and prints what it held.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let (name, archive) = open(&self.input)?;
        let mut client = reach.client().await?;
        let (sender, pieces) = mpsc::channel(QUEUE);
        let from = name.clone();
        let feed = tokio::task::spawn_blocking(move || feed(archive, &from, &sender));
        let mut pulls = Pulls::new(self.quiet);
        let loaded = async {
            let mut events = client.load(ReceiverStream::new(pieces)).await?.into_inner();
            while let Some(event) = events.message().await? {
                match event.event {
                    Some(Event::Layer(layer)) => pulls.show(&api::PullEvent {
                        image: name.clone(),
                        layers: vec![layer],
                        note: "loading".to_owned(),
                        ..api::PullEvent::default()
                    }),
                    Some(Event::Loaded(loaded)) => return Ok(loaded.images),
                    None => {}
                }
            }
            Err(tonic::Status::aborted("the daemon did not report the result of the load"))
        };
        let loaded = loaded.await;
        pulls.clear();
        let images = match loaded {
            Ok(images) => images,
            Err(status) => {
                // What went wrong here made the daemon miss the end.
                if feed.is_finished() {
                    feed.await.context("read the archive")??;
                }
                return Err(told(status).context(format!("load {name}")));
            }
        };
        for image in images {
            match image.tags.as_slice() {
                [] => line(&image.id)?,
                tags => tags.iter().try_for_each(line)?,
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

pub(super) fn open(input: &Path) -> anyhow::Result<(String, Box<dyn Read + Send>)> {
    if input == Path::new("-") {
        if std::io::stdin().is_terminal() {
            bail!("cannot read an archive from a terminal (hint: name a file with -i)");
        }
        return Ok(("standard input".to_owned(), Box::new(std::io::stdin())));
    }
    let file = File::open(input).with_context(|| format!("open the archive {}", input.display()))?;
    Ok((input.display().to_string(), Box::new(file)))
}

pub(super) fn feed<T: From<api::Chunk>>(
    mut archive: impl Read,
    name: &str,
    sender: &mpsc::Sender<T>,
) -> anyhow::Result<()> {
    loop {
        let mut data = Vec::with_capacity(PIECE);
        let read = archive.by_ref().take(PIECE as u64).read_to_end(&mut data);
        let last = read.with_context(|| format!("read the archive {name}"))? == 0;
        // A daemon that does not take more says why in its answer.
        if sender.blocking_send(T::from(api::Chunk { data, last })).is_err() || last {
            return Ok(());
        }
    }
}

/// The form of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    #[value(alias = "oci-archive")]
    Oci,
    #[value(alias = "docker-archive")]
    Docker,
}

/// `berth save`
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  berth save docker.io/library/busybox:latest | ssh HOST berth load")]
pub(crate) struct Save {
    /// The archive; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Who is to read it; every archive is both at once, so this changes nothing
    #[arg(long, value_enum)]
    format: Option<Form>,
    /// Do not print how much was written
    #[arg(short, long)]
    quiet: bool,
    /// Images, by name or id
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Save {
    /// Writes the archive.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut out = Out::open(&self.output)?;
        let mut client = reach.client().await?;
        let mut pieces =
            client.save(api::SaveRequest { images: self.images }).await.map_err(told)?.into_inner();
        let mut written = 0;
        while let Some(piece) = pieces.message().await.map_err(told)? {
            out.write(&piece.data)?;
            written += piece.data.len() as u64;
        }
        out.finish()?;
        if !self.quiet {
            note(format_args!("{}: {}", self.output.display(), bytes(written)));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Where an archive goes. A file appears under its name only when it is complete.
pub(super) enum Out {
    Stream { file: Box<dyn Write>, name: String },
    File { file: File, partial: PathBuf, path: PathBuf, done: bool },
}

impl Out {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        if path == Path::new("-") {
            if std::io::stdout().is_terminal() {
                bail!("cannot write an archive to a terminal (hint: name a file with -o, or use a pipe)");
            }
            return Ok(Self::Stream {
                file: Box::new(std::io::stdout()),
                name: "standard output".to_owned(),
            });
        }
        let opened = || format!("write {name}");
        if path.metadata().is_ok_and(|found| !found.is_file()) {
            let file = File::options().write(true).open(path).with_context(opened)?;
            return Ok(Self::Stream { file: Box::new(file), name });
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(format!(".partial-{}", std::process::id()));
        let partial = PathBuf::from(partial);
        let file = File::options().write(true).create_new(true).open(&partial).with_context(opened)?;
        Ok(Self::File { file, partial, path: path.to_owned(), done: false })
    }

    pub(super) fn write(&mut self, data: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Stream { file, name } => file.write_all(data).with_context(|| format!("write {name}")),
            Self::File { file, path, .. } => {
                file.write_all(data).with_context(|| format!("write {}", path.display()))
            }
        }
    }

    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        match &mut self {
            Self::Stream { file, name } => file.flush().with_context(|| format!("write {name}")),
            Self::File { partial, path, done, .. } => {
                std::fs::rename(&*partial, &*path).with_context(|| format!("write {}", path.display()))?;
                *done = true;
                Ok(())
            }
        }
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        if let Self::File { partial, done: false, .. } = self {
            // A partial archive is useless; if it cannot be removed, its name says that it is partial.
            std::fs::remove_file(partial).ok();
        }
    }
}
