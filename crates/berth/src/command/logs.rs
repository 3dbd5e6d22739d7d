//! `berth logs`: the log file of a container, read where it is. It needs no daemon while it
//! follows: the shim goes on writing, and this goes on reading.

mod line;

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::api;
use crate::client::{Client, Reach, told};
use line::{Stream, parse};

/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How often a daemon that is away is asked again.
const ASK: Duration = Duration::from_millis(500);

/// `berth logs`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  berth logs web                     all that the only container of pod web wrote
  berth logs -f -n 10 shared/reader  the last lines of container reader of pod shared, and what follows")]
pub(crate) struct Logs {
    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<usize>,
    /// The time before each line
    #[arg(short, long)]
    timestamps: bool,
    /// A container (POD/CONTAINER, or an id or its beginning), or a pod that has only one
    container: String,
}

/// The container that a name means: the newest attempt.
pub(super) async fn find(client: &mut Client, name: &str) -> anyhow::Result<api::Container> {
    let json = client
        .inspect(api::InspectRequest { target: name.to_owned() })
        .await
        .map_err(told)?
        .into_inner()
        .json;
    let found: serde_json::Value = serde_json::from_str(&json)?;
    let id = match found["kind"].as_str() {
        Some("Container") => found["id"].as_str().map(str::to_owned),
        Some("Pod") => only(&found, name)?,
        _ => bail!("{name} is not a container"),
    };
    let id = id.with_context(|| format!("pod {name} has no container"))?;
    let pods = client.list(api::ListRequest {}).await.map_err(told)?.into_inner().pods;
    let container = pods.into_iter().flat_map(|pod| pod.containers).find(|c| c.id == id);
    container.with_context(|| format!("container {name} was removed"))
}

/// The newest attempt of the only container of a pod.
fn only(pod: &serde_json::Value, name: &str) -> anyhow::Result<Option<String>> {
    let containers = pod["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name_of =
        |c: &serde_json::Value| c["config"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut names: Vec<String> = containers.iter().map(name_of).collect();
    names.sort();
    names.dedup();
    if names.len() > 1 {
        let full: Vec<_> = names.iter().map(|n| format!("{name}/{n}")).collect();
        bail!("pod {name} has several containers (hint: name one of {})", full.join(", "));
    }
    let newest = containers.iter().max_by_key(|c| c["config"]["metadata"]["attempt"].as_u64());
    Ok(newest.and_then(|c| c["id"].as_str()).map(str::to_owned))
}

impl Logs {
    /// Prints the log.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let container = find(&mut client, &self.container).await?;
        if container.log_path.is_empty() {
            bail!("container {} keeps no log", self.container);
        }
        let path = Path::new(&container.log_path);
        let mut log = Log::open(path)?;
        if let Some(lines) = self.tail {
            log.skip_to_last(lines)?;
        }
        let mut printer = Printer {
            timestamps: self.timestamps,
            out: BufWriter::new(std::io::stdout()),
            err: BufWriter::new(std::io::stderr()),
        };
        log.print(&mut printer)?;
        if self.follow {
            self.follow(&reach, &container.id, log, &mut printer).await?;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn follow(
        &self,
        reach: &Reach,
        id: &str,
        mut log: Log,
        printer: &mut Printer<impl Write, impl Write>,
    ) -> anyhow::Result<()> {
        let mut ended = std::pin::pin!(ended(reach, id));
        loop {
            tokio::select! {
                () = &mut ended => {
                    // Everything was written before the end was told.
                    return log.print(printer);
                }
                () = tokio::time::sleep(LOOK) => log.print(printer)?,
            }
        }
    }
}

/// Waits for the end of the container, across restarts of the daemon.
async fn ended(reach: &Reach, id: &str) {
    loop {
        if let Ok(Some(mut client)) = reach.running().await {
            match client.wait(api::WaitRequest { container: id.to_owned() }).await {
                Ok(_) => return,
                Err(status) if status.code() == tonic::Code::NotFound => return,
                Err(_) => {}
            }
        }
        tokio::time::sleep(ASK).await;
    }
}

/// A log file that may be rotated while it is read.
struct Log {
    path: std::path::PathBuf,
    reader: BufReader<File>,
    inode: u64,
    /// A line that is not complete yet.
    partial: Vec<u8>,
}

impl Log {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("open the log {}", path.display());
        let file = File::open(path).with_context(what)?;
        let inode = file.metadata().with_context(what)?.ino();
        Ok(Self { path: path.to_owned(), reader: BufReader::new(file), inode, partial: Vec::new() })
    }

    /// Prints what is there, here and in the files that came after.
    fn print(&mut self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<()> {
        self.drain(printer)?;
        let replaced = std::fs::metadata(&self.path).is_ok_and(|now| now.ino() != self.inode);
        if replaced {
            // Between the two looks something may have come to the old one.
            self.drain(printer)?;
            let partial = std::mem::take(&mut self.partial);
            *self = Self { partial, ..Self::open(&self.path)? };
            self.drain(printer)?;
        }
        Ok(())
    }

    fn drain(&mut self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<()> {
        loop {
            let read = self.reader.read_until(b'\n', &mut self.partial).context("read the log")?;
            if read == 0 {
                return printer.flush();
            }
            if self.partial.ends_with(b"\n") {
                printer.line(&self.partial)?;
                self.partial.clear();
            }
        }
    }

    /// Goes to where the last `lines` lines begin.
    fn skip_to_last(&mut self, lines: usize) -> anyhow::Result<()> {
        const BLOCK: u64 = 64 << 10;
        let file = self.reader.get_mut();
        let end = file.seek(SeekFrom::End(0)).context("read the log")?;
        let (mut at, mut left) = (end, lines + 1);
        let mut start = if lines == 0 { end } else { 0 };
        'back: while at > 0 && lines > 0 {
            let from = at.saturating_sub(BLOCK);
            let mut block = vec![0; usize::try_from(at - from).unwrap_or(0)];
            file.seek(SeekFrom::Start(from)).context("read the log")?;
            file.read_exact(&mut block).context("read the log")?;
            for (offset, byte) in block.iter().enumerate().rev() {
                if *byte == b'\n' {
                    left -= 1;
                    if left == 0 {
                        start = from + offset as u64 + 1;
                        break 'back;
                    }
                }
            }
            at = from;
        }
        self.reader.seek(SeekFrom::Start(start)).context("read the log")?;
        Ok(())
    }
}

/// Writes lines to where the container wrote them.
struct Printer<O, E> {
    timestamps: bool,
    out: O,
    err: E,
}

impl<O: Write, E: Write> Printer<O, E> {
    fn line(&mut self, raw: &[u8]) -> anyhow::Result<()> {
        let line = parse(raw);
        // On a terminal both are one, and the order of the lines is kept.
        match line.stream {
            Stream::Stdout => {
                self.err.flush().and_then(|()| write_line(&mut self.out, &line, self.timestamps))
            }
            Stream::Stderr => {
                self.out.flush().and_then(|()| write_line(&mut self.err, &line, self.timestamps))
            }
        }
        .context("write output")
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.out.flush().and_then(|()| self.err.flush()).context("write output")
    }
}

fn write_line(to: &mut impl Write, line: &line::Line<'_>, timestamps: bool) -> std::io::Result<()> {
    if timestamps {
        to.write_all(line.time)?;
        to.write_all(b" ")?;
    }
    to.write_all(line.text)?;
    if line.complete || timestamps {
        to.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
