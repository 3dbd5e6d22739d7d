//! `berth logs`: the log file of a container, read where it is. It needs no daemon while it
//! follows: the shim goes on writing, and this goes on reading.

mod file;
mod find;
mod line;
mod since;

use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::api;
use crate::client::Reach;
use file::Log;
pub(super) use find::find;
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
  berth logs -f -n 10 shared/reader  the last lines of container reader of pod shared, and what follows
  berth logs -f --all-containers shared   what all containers of pod shared write")]
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
    /// All containers of the pod, one after the other; with -f as they write
    #[arg(long, conflicts_with = "of_pod")]
    all_containers: bool,
    /// The pod and the container before each line; on a terminal so with --all-containers, unless --prefix=false
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    prefix: Option<bool>,
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

/// The log of a container, and what stands before its lines.
struct Shown {
    id: String,
    log: Log,
    prefix: String,
    /// What was written before this is left out; none once something is shown.
    since: Option<Moment>,
}

/// Colours of prefixes, which go round.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

impl Logs {
    /// Prints the logs.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut all = self.logs(&reach).await?;
        let mut printer = Printer {
            since: None,
            timestamps: self.timestamps,
            prefix: String::new(),
            out: BufWriter::new(std::io::stdout()),
            err: BufWriter::new(std::io::stderr()),
        };
        all.iter_mut().try_for_each(|one| one.print(&mut printer))?;
        if self.follow {
            Self::follow(&reach, all, &mut printer).await?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The logs that are meant, at the places where they are to be read from.
    async fn logs(&self, reach: &Reach) -> anyhow::Result<Vec<Shown>> {
        let mut client = reach.client().await?;
        let mut containers = if self.all_containers {
            find::all(&mut client, &self.container).await?
        } else {
            let name = super::in_pod(&self.container, self.of_pod.as_deref());
            vec![find(&mut client, &name).await?]
        };
        if self.previous {
            let mut older = Vec::new();
            for container in &containers {
                match find::before(&mut client, container).await {
                    // Of several only some were run before.
                    Err(_) if self.all_containers => {}
                    found => older.push(found?),
                }
            }
            containers = older;
        }
        let terminal = std::io::stdout().is_terminal();
        let prefixed = self.prefix.unwrap_or(self.all_containers && terminal && containers.len() > 1);
        let colours = terminal && std::env::var_os("NO_COLOR").is_none();
        let mut shown = Vec::new();
        for (container, colour) in containers.into_iter().zip(COLOURS.into_iter().cycle()) {
            // One of several that has not begun has none yet.
            if self.all_containers && !Path::new(&container.log_path).exists() {
                continue;
            }
            if container.log_path.is_empty() {
                bail!("container {} has no log", container.name);
            }
            let mut log = Log::open(Path::new(&container.log_path))?;
            if let Some(Tail(lines)) = self.tail {
                log.skip_to_last(lines)?;
            }
            let prefix = match (prefixed, colours) {
                (false, _) => String::new(),
                (true, false) => format!("[{}] ", self.name_of(&container)),
                (true, true) => format!("\x1b[{colour}m[{}]\x1b[0m ", self.name_of(&container)),
            };
            shown.push(Shown { id: container.id, log, prefix, since: self.since });
        }
        Ok(shown)
    }

    /// As kubectl has it: `pod/NAME/CONTAINER`.
    fn name_of(&self, container: &api::Container) -> String {
        let pod = self.container.split_once('/').map_or(self.container.as_str(), |(pod, _)| pod);
        format!("pod/{pod}/{}", container.name)
    }

    async fn follow(
        reach: &Reach,
        mut all: Vec<Shown>,
        printer: &mut Printer<impl Write, impl Write>,
    ) -> anyhow::Result<()> {
        let ids: Vec<String> = all.iter().map(|one| one.id.clone()).collect();
        let all_ended = async {
            for id in &ids {
                ended(reach, id).await;
            }
        };
        let mut ended = std::pin::pin!(all_ended);
        loop {
            tokio::select! {
                () = &mut ended => {
                    // Everything was written before the end was reported.
                    return all.iter_mut().try_for_each(|one| one.print(printer));
                }
                () = tokio::time::sleep(LOOK) => all.iter_mut().try_for_each(|one| one.print(printer))?,
            }
        }
    }
}

impl Shown {
    fn print(&mut self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<()> {
        printer.prefix.clone_from(&self.prefix);
        printer.since = self.since;
        let printed = self.log.print(printer);
        self.since = printer.since;
        printed
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
    /// What stands before each line.
    prefix: String,
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
        let before = self.prefix.as_bytes();
        // On a terminal both are one, and the order of the lines is kept.
        match line.stream {
            Stream::Stdout => {
                self.err.flush().and_then(|()| write_line(&mut self.out, before, &line, self.timestamps))
            }
            Stream::Stderr => {
                self.out.flush().and_then(|()| write_line(&mut self.err, before, &line, self.timestamps))
            }
        }
        .context("write output")
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.out.flush().and_then(|()| self.err.flush()).context("write output")
    }
}

fn write_line(
    to: &mut impl Write,
    before: &[u8],
    line: &line::Line<'_>,
    timestamps: bool,
) -> std::io::Result<()> {
    to.write_all(before)?;
    if timestamps {
        to.write_all(line.time)?;
        to.write_all(b" ")?;
    }
    to.write_all(line.text)?;
    if line.complete || timestamps || !before.is_empty() {
        to.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
