//! `berth doctor`, `berth purge`, `berth version`.

use std::path::PathBuf;
use std::process::ExitCode;

use berth_engine::Engine;
use serde_json::json;

use crate::api;
use crate::client::{Reach, told};
use crate::output::{Format, line, note};
use crate::serve::engine_config;
use crate::serve::settings::Given;

/// `berth doctor`
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 when nothing is left behind, 1 with findings.")]
pub(crate) struct Doctor {
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Doctor {
    /// Looks and explains.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let findings = client.doctor(api::DoctorRequest {}).await.map_err(told)?.into_inner().findings;
        if self.output == Format::Json {
            let all: Vec<_> = findings
                .iter()
                .map(|f| json!({ "thing": f.thing, "name": f.name, "explanation": f.explanation, "remedy": f.remedy }))
                .collect();
            line(json!(all));
        } else {
            for f in &findings {
                line(format_args!("{} {}: {}\n  remedy: {}", f.thing, f.name, f.explanation, f.remedy));
            }
            match findings.len() {
                0 => line("nothing is left behind"),
                n => line(format_args!("{n} finding{}", if n == 1 { "" } else { "s" })),
            }
        }
        Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// `berth purge`
#[derive(Debug, clap::Args)]
pub(crate) struct Purge {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// The root directory of the instance
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// The state directory of the instance
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl Purge {
    /// Removes everything of the instance, through its daemon if one runs.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let flags = Given {
            instance: reach.instance.clone(),
            root: self.root.clone(),
            state: self.state.clone(),
            ..Given::default()
        };
        let settings = flags.over(Given::read(None)?).resolve()?;
        if !self.yes
            && !confirmed(&settings.root.display().to_string(), &settings.state.display().to_string())?
        {
            note("nothing was removed");
            return Ok(ExitCode::FAILURE);
        }
        let errors = match reach.running().await? {
            Some(mut client) => {
                client.shutdown(api::ShutdownRequest { purge: true }).await.map_err(told)?.into_inner().errors
            }
            None if settings.root.exists() || settings.state.exists() => {
                for dir in [&settings.root, &settings.state] {
                    crate::serve::private_dir(dir)?;
                }
                let failures = Engine::open(engine_config(&settings)).await?.purge().await;
                failures.iter().map(|e| berth_types::error::chain(e)).collect()
            }
            None => Vec::new(),
        };
        for error in &errors {
            note(format_args!("berth: {error}"));
        }
        Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn confirmed(root: &str, state: &str) -> anyhow::Result<bool> {
    if !crate::terminal::is_interactive() {
        anyhow::bail!(
            "purge removes all pods and images in {root} and {state} (hint: --yes says that you mean it)"
        );
    }
    note(format_args!(
        "This stops and removes all pods, and removes all images, in {root} and {state}. Type yes to go on:"
    ));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

/// `berth version`
#[derive(Debug, clap::Args)]
pub(crate) struct Version {
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Version {
    /// Shows the version of this program and of the daemon that runs, if one does.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let daemon = match reach.running().await {
            Ok(Some(mut client)) => Some(client.info(api::InfoRequest {}).await.map_err(told)?.into_inner()),
            Ok(None) | Err(_) => None,
        };
        let own = env!("CARGO_PKG_VERSION");
        if self.output == Format::Json {
            let daemon = daemon.map(|d| {
                json!({
                    "version": d.version, "pid": d.pid, "instance": d.instance, "root": d.root, "state": d.state,
                    "cgroupRoot": d.cgroup_root, "cgroupDriver": d.cgroup_driver,
                })
            });
            line(json!({ "version": own, "cri": "v1", "daemon": daemon }));
        } else {
            line(format_args!("berth {own}, CRI v1"));
            match daemon {
                Some(d) => line(format_args!(
                    "daemon {}, pid {}, root {}, state {}",
                    d.version, d.pid, d.root, d.state
                )),
                None => line("daemon: none runs"),
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// `berth stages`
#[derive(Debug, clap::Args)]
pub(crate) struct Stages {}

impl Stages {
    /// Prints one JSON object a line for each piece of work.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        for work in client.stages(api::StagesRequest {}).await.map_err(told)?.into_inner().work {
            let stages: Vec<_> = work.stages.iter().map(|s| json!([s.name, s.ns])).collect();
            line(
                json!({ "sandbox": work.sandbox, "verb": work.verb, "totalNs": work.total_ns, "stages": stages }),
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}
