//! `berth play` and `berth down`: the pods of a manifest.

mod files;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use berth_sys::fs::{read_bounded, read_bounded_from};
use tokio::signal::unix::{SignalKind, signal};

use super::{about, done, run};
use crate::api;
use crate::client::{Client, Reach, told};
use crate::credentials::Reader;
use crate::output::pull::Pulls;
use crate::output::{complain, line, note, short_id, table};

/// `berth play`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  berth play pod.yaml               run the pods; berth down pod.yaml ends them
  berth play --replace pod.yaml     the same again, after a change
  berth play - < pod.yaml
  berth play pods/ config.yaml      all of them; a pod finds the ConfigMaps and Secrets of every file

A field that Berth does not support is refused by its name, never ignored.")]
pub(crate) struct Play {
    /// Remove pods of the same names first
    #[arg(long)]
    replace: bool,
    /// When images are pulled, whatever the manifest says
    #[arg(long, value_enum)]
    pull: Option<run::PullWhen>,
    /// No progress of pulls
    #[arg(short, long)]
    quiet: bool,
    /// Manifests, YAML or JSON, with one or more pods; - is standard input, a directory stands for its *.yaml, *.yml and *.json
    #[arg(value_name = "FILE", required_unless_present = "filename")]
    manifests: Vec<PathBuf>,
    /// The same, as kubectl has it; repeatable
    #[arg(short = 'f', long, value_name = "FILE")]
    filename: Vec<PathBuf>,
}

/// `berth down`
#[derive(Debug, clap::Args)]
pub(crate) struct Down {
    /// Seconds between the stop signal and the kill [default: the pod's own]
    #[arg(short, long, value_name = "SECONDS")]
    time: Option<u32>,
    /// Also remove the PersistentVolumeClaims of the manifest, with all that is in them
    #[arg(long)]
    volumes: bool,
    /// A pod's name or id, a workload as NAME or KIND/NAME, or the manifest that it was played from (- is standard input, DIR/ all of a directory)
    #[arg(value_name = "POD|FILE", required_unless_present = "filename")]
    targets: Vec<String>,
    /// A manifest, as kubectl has it; repeatable
    #[arg(short = 'f', long, value_name = "FILE")]
    filename: Vec<PathBuf>,
}

/// The exit status of what SIGINT ends.
const INTERRUPTED: u8 = 130;

/// The most bytes read of a manifest; the daemon accepts fewer and reports that.
const MAX: u64 = 2 << 20;

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path == Path::new("-") {
        return read_bounded_from(std::io::stdin(), MAX).context("read the manifest from standard input");
    }
    read_bounded(path, MAX).with_context(|| format!("read the manifest {}", path.display()))
}

impl Play {
    /// Runs the pods and shows them.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let paths = files::expand(&[self.manifests, self.filename].concat())?;
        let texts = paths.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<_>>>()?;
        let mut client = reach.client().await?;
        let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let named: Vec<_> = names.iter().map(String::as_str).zip(texts.iter().map(Vec::as_slice)).collect();
        let auths = Reader::of(&reach).manifests(&named).await;
        // One file is what older daemons know.
        let (manifest, files) = match texts.len() {
            1 => (texts.concat(), Vec::new()),
            _ => (Vec::new(), names.iter().cloned().zip(texts).collect()),
        };
        let request = api::PlayRequest {
            auths,
            manifest,
            files: files.into_iter().map(|(name, text)| api::ManifestFile { name, text }).collect(),
            replace: self.replace,
            hold: String::new(),
            remove: false,
            waits: false,
            pull: self.pull.map_or("", run::PullWhen::word).to_owned(),
        };
        let mut rows = Vec::new();
        let played = follow(&mut client, request, &mut Pulls::new(self.quiet), &mut rows).await;
        if !rows.is_empty() {
            table::print(&["POD", "ID", "ADDRESS", "PORTS"], &rows)?;
        }
        if let Err(error) = &played
            && error.is::<Interrupted>()
        {
            complain(&error.to_string());
            return Ok(ExitCode::from(INTERRUPTED));
        }
        match names.as_slice() {
            [one] => played.with_context(|| one.clone())?,
            // Each fault has its file or its pod.
            _ => played?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn follow(
    client: &mut Client,
    request: api::PlayRequest,
    pulls: &mut Pulls,
    rows: &mut Vec<Vec<String>>,
) -> anyhow::Result<()> {
    use api::play_event::Event;
    let mut events = client.play(request).await.map_err(told)?.into_inner();
    let mut up: Option<Vec<String>> = None;
    let mut interrupted = signal(SignalKind::interrupt()).context("listen for signals")?;
    let result = loop {
        let message = tokio::select! {
            message = events.message() => message,
            _ = interrupted.recv() => break Err(Interrupted.into()),
        };
        match message {
            Err(status) => break Err(told(status)),
            Ok(None) => break Ok(()),
            Ok(Some(event)) => match event.event {
                Some(Event::Pull(pull)) => pulls.show(&pull),
                Some(Event::Pod(pod)) => {
                    // The pod before this one is complete.
                    rows.extend(up.take());
                    up = Some(vec![
                        pod.name,
                        short_id(&pod.id).to_owned(),
                        pod.addresses.join(","),
                        pod.ports.join(","),
                    ]);
                }
                Some(Event::Note(text)) => note(text),
                Some(Event::Container(_)) | None => {}
            },
        }
    };
    if result.is_ok() {
        rows.extend(up);
    }
    result
}

/// Ctrl-C: the daemon goes on, and says nothing more here.
#[derive(Debug, thiserror::Error)]
#[error(
    "interrupted: the daemon goes on with what it has begun, and pods that were made stay (hint: berth pods shows them; berth down with the same files removes them)"
)]
struct Interrupted;

/// Whether a target cannot be a pod's name, and so is a manifest.
fn is_manifest(target: &str) -> bool {
    let end = Path::new(target).extension();
    let named = end.is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known));
    target == "-" || target.starts_with(['/', '.']) || named
}

impl Down {
    /// The targets, with the files of a directory in its place.
    fn targets(&self) -> anyhow::Result<Vec<String>> {
        let mut targets = Vec::new();
        for target in &self.targets {
            let path = Path::new(target);
            if target.contains('/') && path.is_dir() {
                let files = files::expand(&[path.to_owned()])?;
                targets.extend(files.iter().map(|path| path.display().to_string()));
            } else {
                targets.push(target.clone());
            }
        }
        // With a directory before it no name of a file is taken for that of a pod.
        let files = files::expand(&self.filename)?;
        let named = |path: &PathBuf| match path.components().count() {
            1 if path != Path::new("-") => Path::new(".").join(path).display().to_string(),
            _ => path.display().to_string(),
        };
        targets.extend(files.iter().map(named));
        Ok(targets)
    }

    /// Stops the pods and removes them.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let grace = self.time.map_or(-1, i64::from);
        let (mut removed, mut failed) = (0, false);
        for target in &self.targets()? {
            match take_down(&mut client, target, grace, self.volumes).await {
                Ok(names) => {
                    removed += names.len();
                    names.iter().try_for_each(line)?;
                }
                Err(error) => {
                    complain(&about(target, &format!("{error:#}")));
                    failed = true;
                }
            }
        }
        if removed == 0 && !failed {
            note("no such pod is running");
        }
        Ok(done(failed))
    }
}

/// Takes down the pods of a target; the names of the removed pods.
async fn take_down(
    client: &mut Client,
    target: &str,
    grace: i64,
    volumes: bool,
) -> anyhow::Result<Vec<String>> {
    let file = Path::new(target);
    if !is_manifest(target) {
        let pods = vec![target.to_owned()];
        let request = api::DownRequest { pods, manifest: Vec::new(), grace_seconds: grace, volumes: false };
        match client.down(request).await {
            Ok(answer) => return Ok(answer.into_inner().removed),
            Err(status) if status.code() == tonic::Code::NotFound && file.is_file() => {}
            Err(status) => return Err(told(status)),
        }
    }
    let request = api::DownRequest { pods: Vec::new(), manifest: read(file)?, grace_seconds: grace, volumes };
    Ok(client.down(request).await.map_err(told)?.into_inner().removed)
}

/// Removes pods by id.
pub(super) async fn down(client: &mut Client, pods: &[String], grace: i64) -> anyhow::Result<()> {
    let request =
        api::DownRequest { pods: pods.to_vec(), manifest: Vec::new(), grace_seconds: grace, volumes: false };
    client.down(request).await.map_err(told)?;
    Ok(())
}
