//! `berth volume`: volumes that outlive pods.

use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::list::formatted;
use super::list::template::Template;
use super::{done, outcomes, prune};
use crate::api;
use crate::client::{Client, Reach, told};
use crate::output::{Format, age, complain, line, note, text_of};

/// `berth volume`
#[derive(Debug, clap::Args)]
pub(crate) struct Volume {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a volume; one that is there stays as it is
    Create(Create),
    /// List volumes
    #[command(alias = "list")]
    Ls(Ls),
    /// Remove volumes with all that is in them
    #[command(alias = "remove")]
    Rm {
        /// What is not there is no error
        #[arg(short, long)]
        force: bool,
        /// Volumes, by name
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Show everything known of volumes, as JSON
    Inspect {
        /// A line for each, such as '{{.Mountpoint}}'; keys are those of the JSON
        #[arg(short, long, value_name = "TEMPLATE")]
        format: Option<Template>,
        /// Volumes, by name
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Remove volumes that no pod has and nobody gave a name
    Prune {
        /// Also those with names
        #[arg(short, long)]
        all: bool,
        /// Do not ask
        #[arg(short, long, alias = "yes")]
        force: bool,
    },
}

/// `berth volume create`
#[derive(Debug, clap::Args)]
struct Create {
    /// Label; repeatable
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Driver; there is one, local
    #[arg(short, long, value_name = "NAME", default_value = "local")]
    driver: String,
    /// Option of the driver; it takes none
    #[arg(short, long, value_name = "NAME=VALUE")]
    opt: Vec<String>,
    /// Name [default: made up]
    name: Option<String>,
}

/// `berth volume ls`
#[derive(Debug, clap::Args)]
struct Ls {
    /// Only names
    #[arg(short, long)]
    quiet: bool,
    /// Only some: name= (a part), label= or dangling=true|false (that no pod has); repeatable
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// A line for each, such as '{{.Name}}'; keys are those of -o json
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "quiet")]
    format: Option<Template>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Which volumes are listed.
#[derive(Debug, Clone)]
enum Filter {
    Name(String),
    Label(String, Option<String>),
    Dangling(bool),
}

impl std::str::FromStr for Filter {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (key, value) = text.split_once('=').context("expected KEY=VALUE")?;
        Ok(match (key, value) {
            ("name", part) => Self::Name(part.to_owned()),
            ("label", label) => match label.split_once('=') {
                Some((key, value)) => Self::Label(key.to_owned(), Some(value.to_owned())),
                None => Self::Label(label.to_owned(), None),
            },
            ("dangling", "true" | "1") => Self::Dangling(true),
            ("dangling", "false" | "0") => Self::Dangling(false),
            ("dangling", other) => bail!("dangling={other}: expected true or false"),
            (other, _) => bail!("{other:?} is not supported: only name, label and dangling are"),
        })
    }
}

impl Filter {
    fn takes(&self, volume: &api::Volume) -> bool {
        match self {
            Self::Name(part) => volume.name.contains(part),
            Self::Label(key, value) => {
                let own = volume.labels.get(key);
                own.is_some_and(|own| value.as_ref().is_none_or(|value| value == own))
            }
            Self::Dangling(wanted) => volume.used_by.is_empty() == *wanted,
        }
    }
}

async fn all(client: &mut Client) -> anyhow::Result<Vec<api::Volume>> {
    Ok(client.volumes(api::VolumesRequest {}).await.map_err(told)?.into_inner().volumes)
}

fn object(volume: &api::Volume) -> Value {
    json!({
        "name": volume.name, "driver": "local", "scope": "local", "mountpoint": volume.path,
        "createdAt": volume.created_at, "labels": volume.labels, "anonymous": volume.anonymous,
        "usedBy": volume.used_by,
    })
}

impl Volume {
    /// Does it.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Create(create) => create.run(&reach).await,
            Command::Ls(ls) => ls.run(&reach).await,
            Command::Rm { force, names } => remove(&mut reach.client().await?, names, force).await,
            Command::Inspect { format, names } => inspect(&reach, format.as_ref(), &names).await,
            Command::Prune { all, force } => clear(&reach, all, force).await,
        }
    }
}

impl Create {
    async fn run(self, reach: &Reach) -> anyhow::Result<ExitCode> {
        if self.driver != "local" {
            bail!("--driver {}: there are no drivers of volumes but local", self.driver);
        }
        if let Some(option) = self.opt.first() {
            bail!(
                "--opt {option}: nothing is mounted for a volume (hint: mount it on a directory, and give run that: -v /DIR:/PATH)"
            );
        }
        let label = |text: &String| match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (text.clone(), String::new()),
        };
        let labels = self.label.iter().map(label).collect();
        let request = api::MakeVolumeRequest { name: self.name.unwrap_or_default(), labels };
        let made = reach.client().await?.make_volume(request).await.map_err(told)?.into_inner();
        line(made.name)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Ls {
    async fn run(self, reach: &Reach) -> anyhow::Result<ExitCode> {
        let mut volumes = all(&mut reach.client().await?).await?;
        volumes.retain(|volume| self.filter.iter().all(|filter| filter.takes(volume)));
        if let Some(template) = &self.format {
            formatted(template, volumes.iter().map(object))?;
        } else if self.quiet {
            volumes.iter().try_for_each(|volume| line(&volume.name))?;
        } else if !self
            .output
            .shows(&json!(volumes.iter().map(object).collect::<Vec<_>>()), Some(|of| text_of(of, "name")))?
        {
            let row = |volume: &api::Volume| {
                vec![volume.name.clone(), age(volume.created_at), volume.used_by.join(",")]
            };
            let rows: Vec<_> = volumes.iter().map(row).collect();
            self.output.table(&["NAME", "AGE", "USED BY"], &rows)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn remove(client: &mut Client, names: Vec<String>, force: bool) -> anyhow::Result<ExitCode> {
    let request = api::RemoveVolumesRequest { names, force };
    outcomes(client.remove_volumes(request).await.map_err(told)?.into_inner().outcomes)
}

async fn inspect(reach: &Reach, format: Option<&Template>, names: &[String]) -> anyhow::Result<ExitCode> {
    let volumes = all(&mut reach.client().await?).await?;
    let (mut found, mut failed) = (Vec::new(), false);
    for name in names {
        match volumes.iter().find(|volume| volume.name == *name) {
            Some(volume) => found.push(object(volume)),
            None => {
                complain(&format!("no volume {name:?} (hint: berth volume ls lists them)"));
                failed = true;
            }
        }
    }
    match format {
        Some(template) => formatted(template, found.into_iter())?,
        None => line(serde_json::to_string_pretty(&found)?)?,
    }
    Ok(done(failed))
}

/// Removes what no pod has.
async fn clear(reach: &Reach, with_names: bool, force: bool) -> anyhow::Result<ExitCode> {
    if !force {
        prune::ask(if with_names {
            "all volumes that no pod has"
        } else {
            "all volumes that no pod has and nobody gave a name"
        })?;
    }
    let mut client = reach.client().await?;
    let unused = all(&mut client).await?.into_iter().filter(|volume| volume.used_by.is_empty());
    let names: Vec<_> =
        unused.filter(|volume| with_names || volume.anonymous).map(|volume| volume.name).collect();
    if names.is_empty() {
        note("no volume is unused");
        return Ok(ExitCode::SUCCESS);
    }
    // One that a pod got meanwhile is refused.
    remove(&mut client, names, true).await
}
