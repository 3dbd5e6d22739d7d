//! `berth stats` and `berth events`.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::api;
use crate::client::{Client, Reach, told};
use crate::output::{Format, bytes, line, note, table, text_of};

/// How often the table is made anew.
const PERIOD: Duration = Duration::from_secs(1);

/// `berth stats`
#[derive(Debug, clap::Args)]
pub(crate) struct Stats {
    /// One table, and no more
    #[arg(long)]
    no_stream: bool,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Pods or containers, by name or id [default: all]
    targets: Vec<String>,
}

impl Stats {
    /// Shows what containers use: once, or again and again on a terminal.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let request = api::StatsRequest { targets: self.targets.clone() };
        let live = !self.no_stream && self.output == Format::Table && std::io::stdout().is_terminal();
        // Processor time is shown for a second: the first look only begins it.
        let mut usages = ask(&mut client, &request).await?;
        if usages.iter().any(|usage| usage.cpu_nano_cores.is_none()) {
            tokio::time::sleep(PERIOD).await;
            usages = ask(&mut client, &request).await?;
        }
        loop {
            let all = json!(usages.iter().map(object).collect::<Vec<_>>());
            let name = |of: &serde_json::Value| format!("{}/{}", text_of(of, "pod"), text_of(of, "name"));
            if self.output.shows(&all, Some(name))? {
                return Ok(ExitCode::SUCCESS);
            }
            let rows: Vec<_> = usages.iter().map(row).collect();
            let head = ["POD", "NAME", "CPU", "MEMORY / LIMIT", "NET IN / OUT", "PIDS"];
            let lines = table::lines(&head, &rows);
            if !live {
                lines.into_iter().try_for_each(line)?;
                return Ok(ExitCode::SUCCESS);
            }
            // Up to the corner, and what was there before is erased.
            line(format_args!("\x1b[H\x1b[J{}", lines.join("\n")))?;
            tokio::time::sleep(PERIOD).await;
            usages = ask(&mut client, &request).await?;
        }
    }
}

async fn ask(client: &mut Client, request: &api::StatsRequest) -> anyhow::Result<Vec<api::Usage>> {
    Ok(client.stats(request.clone()).await.map_err(told)?.into_inner().usages)
}

fn row(usage: &api::Usage) -> Vec<String> {
    // Tenths of a percent of one processor.
    let cpu = usage.cpu_nano_cores.map(|nanos| nanos / 1_000_000);
    let limit = if usage.memory_limit == 0 { "none".to_owned() } else { bytes(usage.memory_limit) };
    let network = usage.received.zip(usage.sent);
    vec![
        usage.pod.clone(),
        usage.name.clone(),
        cpu.map_or_else(|| "-".to_owned(), |tenths| format!("{}.{}%", tenths / 10, tenths % 10)),
        format!("{} / {limit}", bytes(usage.memory)),
        network.map_or_else(
            || "-".to_owned(),
            |(received, sent)| format!("{} / {}", bytes(received), bytes(sent)),
        ),
        usage.pids.map_or_else(|| "-".to_owned(), |pids| pids.to_string()),
    ]
}

fn object(usage: &api::Usage) -> serde_json::Value {
    json!({
        "id": usage.container_id, "pod": usage.pod, "name": usage.name, "cpuNs": usage.cpu_ns,
        "cpuNanoCores": usage.cpu_nano_cores, "memory": usage.memory, "memoryLimit": usage.memory_limit,
        "received": usage.received, "sent": usage.sent, "pids": usage.pids,
    })
}

/// `berth events`
#[derive(Debug, clap::Args)]
pub(crate) struct Events {
    /// Form of each line
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Events {
    /// Shows what happens from now on, until the daemon ends.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let mut events = client.watch(api::WatchRequest {}).await.map_err(told)?.into_inner();
        while let Some(event) = events.message().await.map_err(told)? {
            if self.output == Format::Yaml {
                line("---")?;
            }
            let object = json!({
                "at": event.at, "kind": event.kind, "id": event.id, "pod": event.pod, "name": event.name,
                "state": event.state, "exitCode": event.exit_code, "reason": event.reason,
            });
            if self.output.shows(&object, None)? {
                // That is all.
            } else if event.state == "missed" {
                note("berth: some events were missed: they came faster than they were read");
            } else {
                line(text(&event))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn text(event: &api::Happened) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(event.at)).unwrap_or_default();
    let name = if event.kind == "pod" { event.pod.clone() } else { format!("{}/{}", event.pod, event.name) };
    let end = match event.state.as_str() {
        "exited" => format!(" ({}, {})", event.exit_code, event.reason),
        _ => String::new(),
    };
    format!("{time:.3} {} {name} {}{end}", event.kind, event.state)
}
