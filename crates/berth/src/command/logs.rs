//! `berth logs`: the log file of a container, read where it is. It needs no daemon while it
//! follows: the shim goes on writing, and this goes on reading.

mod file;
mod line;
mod since;

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::api;
use crate::client::{Client, Reach, told};
use file::Log;
use line::{Stream, parse};
use since::Moment;

/// How often a log that is followed is read.
const LOOK: Duration = Duration::from_millis(50);
/// How often a daemon that does not run is tried again.
const ASK: Duration = Duration::from_millis(500);

/// `berth logs`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  berth logs web                     all that the only container of pod web wrote
  berth logs -f -n 10 shared/reader  the last lines of container reader of pod shared, and what follows")]
pub(crate) struct Logs {
    /// Follow the log until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines [default: all]
    #[arg(short = 'n', long, value_name = "LINES", allow_negative_numbers = true)]
    tail: Option<Tail>,
    /// Only what was written after a time, such as 2026-01-31T12:00:00Z, or in the last period, such as 10m
    #[arg(long, value_name = "TIME|AGO")]
    since: Option<Moment>,
    /// The time before each line
    #[arg(short, long)]
    timestamps: bool,
    /// The container of the pod, as POD/CONTAINER says it, too
    #[arg(short = 'c', long = "container", value_name = "NAME")]
    of_pod: Option<String>,
    /// The attempt before the last one
    #[arg(short, long, conflicts_with = "follow")]
    previous: bool,
    /// A container (POD/CONTAINER, or an id or its beginning), or a pod that has only one
    container: String,
}

/// How many lines at most.
#[derive(Debug, Clone, Copy)]
struct Tail(usize);

impl std::str::FromStr for Tail {
    type Err = String;

    /// All lines are `all` to docker, and -1 to kubectl.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" | "-1" => Ok(Self(usize::MAX)),
            text => text.parse().map(Self).map_err(|_| "expected a number of lines, or all".to_owned()),
        }
    }
}

/// The container that a name means: the newest attempt.
pub(super) async fn find(client: &mut Client, name: &str) -> anyhow::Result<api::Container> {
    let json = client
        .inspect(api::InspectRequest { target: name.to_owned(), object: false })
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

/// The attempt before this one.
async fn before(client: &mut Client, of: &api::Container) -> anyhow::Result<api::Container> {
    let pods = client.list(api::ListRequest {}).await.map_err(told)?.into_inner().pods;
    let all = pods.into_iter().flat_map(|pod| pod.containers);
    let older = all.filter(|c| c.pod_id == of.pod_id && c.name == of.name && c.attempt < of.attempt);
    older.max_by_key(|c| c.attempt).with_context(|| format!("container {} was not run before", of.name))
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
        let name = super::in_pod(&self.container, self.of_pod.as_deref());
        let mut container = find(&mut client, &name).await?;
        if self.previous {
            container = before(&mut client, &container).await?;
        }
        if container.log_path.is_empty() {
            bail!("container {} has no log", self.container);
        }
        let path = Path::new(&container.log_path);
        let mut log = Log::open(path)?;
        if let Some(Tail(lines)) = self.tail {
            log.skip_to_last(lines)?;
        }
        let mut printer = Printer {
            since: self.since,
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
                    // Everything was written before the end was reported.
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

/// Writes lines to where the container wrote them.
struct Printer<O, E> {
    /// What was written before this is left out.
    since: Option<Moment>,
    timestamps: bool,
    out: O,
    err: E,
}

impl<O: Write, E: Write> Printer<O, E> {
    fn line(&mut self, raw: &[u8]) -> anyhow::Result<()> {
        let line = parse(raw);
        if let Some(since) = self.since {
            let time = std::str::from_utf8(line.time).ok().and_then(Moment::of);
            if time.is_some_and(|time| time < since) {
                return Ok(());
            }
            // Lines stand in the order of their times.
            self.since = None;
        }
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
