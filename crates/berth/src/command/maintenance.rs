//! `berth doctor`, `berth purge`, `berth version`.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use berth_engine::Engine;
use berth_types::{Classify, Kind};
use serde_json::json;

use crate::api;
use crate::client::{Reach, told};
use crate::output::{Format, line, note};
use crate::serve::engine_config;
use crate::serve::settings::{Given, Layers, Settings};

/// `berth doctor`
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 when nothing is left behind, 1 with findings.")]
pub(crate) struct Doctor {
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Doctor {
    /// Lists the findings.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let findings = client.doctor(api::DoctorRequest {}).await.map_err(told)?.into_inner().findings;
        let object = |f: &api::Finding| json!({ "thing": f.thing, "name": f.name, "explanation": f.explanation, "remedy": f.remedy });
        if !self.output.shows(&json!(findings.iter().map(object).collect::<Vec<_>>()), None)? {
            for f in &findings {
                line(format_args!("{} {}: {}\n  remedy: {}", f.thing, f.name, f.explanation, f.remedy))?;
            }
            match findings.len() {
                0 => line("nothing is left behind")?,
                n => line(format_args!("{n} finding{}", if n == 1 { "" } else { "s" }))?,
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

/// How long a daemon that was asked to end may take.
const END: Duration = Duration::from_secs(15);
/// How often that is checked.
const LOOK: Duration = Duration::from_millis(20);

impl Purge {
    /// Ends the instance's daemon if one runs, and removes everything of the instance.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let flags = Given {
            instance: reach.instance.clone(),
            root: self.root.clone(),
            state: self.state.clone(),
            ..Given::default()
        };
        let mut settings = Layers::read(&flags, None)?.resolve()?;
        let mut daemon = reach.running().await?;
        if let Some(client) = &mut daemon {
            let info = client.info(api::InfoRequest {}).await.map_err(told)?.into_inner();
            self.adopt(&mut settings, info)?;
        } else if let Some(socket) = reach.named_socket() {
            // Only the daemon behind it knows its directories.
            bail!("no daemon is listening on {socket} (hint: name the instance, or its --root and --state)");
        } else {
            self.look_elsewhere(&mut settings);
        }
        ours("root", &settings.root, "images/lock", &["images", "network", "pods", "snapshots"])?;
        ours("state", &settings.state, "boot", &["pods", "daemon.log"])?;
        if !self.yes
            && !confirmed(&settings.root.display().to_string(), &settings.state.display().to_string())?
        {
            note("nothing was removed");
            return Ok(ExitCode::FAILURE);
        }
        if let Some(client) = &mut daemon {
            client.shutdown(api::ShutdownRequest {}).await.map_err(told)?;
            drop(daemon);
            gone(&reach).await?;
        } else if !settings.root.exists() && !settings.state.exists() {
            let left = traces(&settings);
            let shown = format!("{} and {}", settings.root.display(), settings.state.display());
            if left.is_empty() {
                note(format_args!(
                    "there is nothing of this instance: neither {shown}, nor the bridge {}, nor cgroups",
                    settings.bridge
                ));
                return Ok(ExitCode::SUCCESS);
            }
            note(format_args!(
                "{shown} do not exist: {} are removed with what runs in them; images and files of pods in other directories are not found (hint: berth purge --root DIR --state DIR)",
                left.join(", ")
            ));
        }
        let failures = alone(&settings).await?.purge().await;
        for failure in &failures {
            note(format_args!("berth: {}", berth_types::error::chain(failure)));
        }
        Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Directories that a daemon which has ended had by flags, as what it left tells them.
    fn look_elsewhere(&self, settings: &mut Settings) {
        if self.root.is_none()
            && !settings.root.exists()
            && let Some(root) = root_of(&settings.bridge)
        {
            note(format_args!(
                "{} does not exist, and the bridge {} is of a daemon with the root directory {}: that is purged",
                settings.root.display(),
                settings.bridge,
                root.display()
            ));
            settings.root = root;
        }
        if self.state.is_none()
            && let Some(state) = state_of(&settings.root).filter(|state| *state != settings.state)
        {
            note(format_args!(
                "pods of {} have the state directory {}: that is purged",
                settings.root.display(),
                state.display()
            ));
            settings.state = state;
        }
    }

    /// What the daemon runs with is what is removed; flags that name something else are a mistake.
    fn adopt(&self, settings: &mut Settings, info: api::InfoResponse) -> anyhow::Result<()> {
        for (flag, given, real) in [("root", &self.root, &info.root), ("state", &self.state, &info.state)] {
            if given.as_ref().is_some_and(|given| given != Path::new(real)) {
                bail!(
                    "--{flag}: the running daemon uses {real} (hint: --instance or --host names another one)"
                );
            }
        }
        settings.instance = info.instance;
        settings.root = info.root.into();
        settings.state = info.state.into();
        settings.cgroups.adopt(&info.cgroup_driver, info.cgroup_root);
        settings.bridge = info.bridge;
        settings.table = info.table;
        settings.pod_cidr = info.pod_cidr;
        Ok(())
    }
}

/// The root directory of the daemon that made a bridge, which the bridge's alias tells.
fn root_of(bridge: &str) -> Option<PathBuf> {
    let alias = std::fs::read_to_string(Path::new("/sys/class/net").join(bridge).join("ifalias")).ok()?;
    let dir = Path::new(alias.trim_end().strip_prefix("berth pod network ")?);
    // One that is cut off tells nothing.
    (dir.is_absolute() && dir.ends_with("network")).then(|| dir.parent().map(Path::to_owned))?
}

/// The state directory of pods whose records are below `root`, by what is mounted for them: a daemon that has ended had it by a flag.
fn state_of(root: &Path) -> Option<PathBuf> {
    let records = std::fs::read_dir(root.join("sandboxes")).ok()?;
    let pods: HashSet<OsString> = records.flatten().map(|entry| entry.file_name()).collect();
    let mounted = berth_sys::mount::mounted().ok()?;
    mounted.iter().find_map(|mount| {
        let pod = mount.point.parent()?;
        let above = pod.parent().filter(|above| above.ends_with("pods"))?;
        pods.contains(pod.file_name()?).then(|| above.parent().map(Path::to_owned))?
    })
}

/// What of an instance is on the machine beside its directories.
fn traces(settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    if Path::new("/sys/class/net").join(&settings.bridge).exists() {
        found.push(format!("the bridge {} with the table {}", settings.bridge, settings.table));
    }
    let group = settings.cgroups.root.trim_start_matches('/');
    let mounted =
        std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut places = mounted.chain([PathBuf::from("/sys/fs/cgroup")]);
    if places.any(|place| place.join(group).is_dir()) {
        found.push(format!("the cgroups {}", settings.cgroups.root));
    }
    found
}

/// Refuses a directory that is not a daemon's: everything in it would be removed. What is left of one has the `mark`, or
/// nothing but `known` names.
fn ours(flag: &str, dir: &Path, mark: &str, known: &[&str]) -> anyhow::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("read {}", dir.display()))?,
    };
    let foreign = entries.flatten().find(|entry| known.iter().all(|name| entry.file_name() != *name));
    match foreign {
        Some(entry) if !dir.join(mark).exists() => bail!(
            "--{flag} {}: not a directory of Berth, since it contains {}: nothing was removed",
            dir.display(),
            entry.path().display()
        ),
        Some(_) | None => Ok(()),
    }
}

/// Waits until the daemon has released its socket.
async fn gone(reach: &Reach) -> anyhow::Result<()> {
    let begun = Instant::now();
    // One that is shutting down may accept connections but no longer answer.
    while !matches!(reach.running().await, Ok(None)) {
        if begun.elapsed() > END {
            bail!("the daemon did not stop (hint: stop it, then purge again)");
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// The engine, as soon as the daemon that ends has released its directories.
async fn alone(settings: &Settings) -> anyhow::Result<Engine> {
    for dir in [&settings.root, &settings.state] {
        crate::serve::private_dir(dir)?;
    }
    let begun = Instant::now();
    loop {
        match Engine::open(engine_config(settings)).await {
            Err(e) if e.kind() == Kind::Precondition && begun.elapsed() < END => {
                tokio::time::sleep(LOOK).await;
            }
            opened => return Ok(opened?),
        }
    }
}

fn confirmed(root: &str, state: &str) -> anyhow::Result<bool> {
    if !crate::terminal::is_interactive() {
        anyhow::bail!(
            "purge removes all pods, images, volumes and claims in {root} and {state} (hint: confirm with --yes)"
        );
    }
    note(format_args!(
        "This stops and removes all pods, and removes all images, volumes and claims with their data, in {root} and {state}. Type yes to continue:"
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
        let object = daemon.as_ref().map(|d| {
            json!({
                "version": d.version, "pid": d.pid, "instance": d.instance, "root": d.root, "state": d.state,
                "cgroupRoot": d.cgroup_root, "cgroupDriver": d.cgroup_driver,
            })
        });
        if !self.output.shows(&json!({ "version": own, "cri": "v1", "daemon": object }), None)? {
            line(format_args!("berth {own}, CRI v1"))?;
            match daemon {
                Some(d) => line(format_args!(
                    "daemon {}, pid {}, root {}, state {}",
                    d.version, d.pid, d.root, d.state
                ))?,
                None => line("daemon: not running")?,
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
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
