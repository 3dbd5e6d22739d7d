//! `berth artifact`: files of any kind in registries.

mod add;
mod extract;

use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::list::formatted;
use super::list::template::Template;
use super::{about, done, image, outcomes, push};
use crate::api;
use crate::client::{Client, Reach, told};
use crate::output::{age, bytes, complain, line, note, short_id, table};

/// `berth artifact`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  berth artifact pull registry.example/models/tiny:1
  berth artifact extract registry.example/models/tiny:1 ./tiny/
  berth artifact add registry.example/models/mine:1 weights.bin README.md --type application/vnd.example.model
  berth artifact push registry.example/models/mine:1

A pod has it as a volume of kind image. An artifact is in the same store as images: tag, push, rmi and inspect take it too, and prune -a removes what nobody uses.")]
pub(crate) struct Artifact {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Pull an artifact; an image is refused
    Pull(image::Pull),
    /// List artifacts
    #[command(alias = "list")]
    Ls(Ls),
    /// Show everything known of artifacts, with their manifests
    Inspect(Inspect),
    /// Remove artifacts
    #[command(alias = "remove")]
    Rm(Rm),
    /// Write the files of an artifact into a directory, or one into a file
    Extract(extract::Extract),
    /// Make an artifact of files
    Add(add::Add),
    /// Send an artifact to a registry
    Push(push::Push),
}

/// The form of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    #[default]
    Table,
    Json,
    Yaml,
}

/// `berth artifact ls`
#[derive(Debug, clap::Args)]
struct Ls {
    /// Only digests
    #[arg(short, long)]
    quiet: bool,
    /// A line for each, such as '{{.Repository}} {{.Type}}'; keys are those of -o json
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "quiet")]
    format: Option<Template>,
    /// Whole digests
    #[arg(long)]
    no_trunc: bool,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
}

/// `berth artifact inspect`
#[derive(Debug, clap::Args)]
struct Inspect {
    /// A line for each, such as '{{.Digest}}'; keys are those of the JSON
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<Template>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value = "json")]
    output: Shown,
    /// Artifacts, by name, digest or id
    #[arg(required = true)]
    artifacts: Vec<String>,
}

/// The form of what is inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shown {
    Json,
    Yaml,
}

/// `berth artifact rm`
#[derive(Debug, clap::Args)]
struct Rm {
    /// All of them
    #[arg(short, long, conflicts_with = "artifacts")]
    all: bool,
    /// Also those that containers have as volumes
    #[arg(short, long)]
    force: bool,
    /// What is not there is no error
    #[arg(short, long)]
    ignore: bool,
    /// Artifacts, by name, digest or id
    #[arg(required_unless_present = "all")]
    artifacts: Vec<String>,
}

impl Artifact {
    /// Does it.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Pull(pull) => pull.pull(reach, true).await,
            Command::Ls(ls) => ls.run(&reach).await,
            Command::Inspect(inspect) => inspect.run(&reach).await,
            Command::Rm(rm) => rm.run(&reach).await,
            Command::Extract(extract) => extract.run(&reach).await,
            Command::Add(add) => add.run(&reach).await,
            Command::Push(push) => push.run(reach).await,
        }
    }
}

async fn all(client: &mut Client) -> anyhow::Result<Vec<api::Image>> {
    let mut images = client.images(api::ImagesRequest {}).await.map_err(told)?.into_inner().images;
    images.retain(|image| !image.artifact.is_empty());
    Ok(images)
}

/// The names of an artifact as repository and tag; one without a tag has its digest's repository.
fn names(artifact: &api::Image) -> Vec<(String, String)> {
    let none = || "<none>".to_owned();
    if artifact.tags.is_empty() {
        let repository = artifact.repo_digests.first().and_then(|name| name.split('@').next());
        return vec![(repository.map_or_else(none, str::to_owned), none())];
    }
    let name = |name: &String| match name.rsplit_once(':') {
        Some((repository, tag)) => (repository.to_owned(), tag.to_owned()),
        None => (name.clone(), none()),
    };
    artifact.tags.iter().map(name).collect()
}

fn objects(artifact: &api::Image) -> Vec<Value> {
    let object = |(repository, tag): (String, String)| {
        json!({
            "repository": repository, "tag": tag, "type": artifact.artifact, "digest": artifact.manifest,
            "id": artifact.id, "size": artifact.size, "createdAt": artifact.created_at, "pinned": artifact.pinned,
            "inUse": artifact.in_use,
        })
    };
    names(artifact).into_iter().map(object).collect()
}

impl Ls {
    async fn run(self, reach: &Reach) -> anyhow::Result<ExitCode> {
        let artifacts = all(&mut reach.client().await?).await?;
        let objects = artifacts.iter().flat_map(objects);
        if self.quiet {
            artifacts.iter().try_for_each(|artifact| line(&artifact.manifest))?;
        } else if let Some(template) = &self.format {
            formatted(template, objects)?;
        } else {
            match self.output {
                Form::Json => line(json!(objects.collect::<Vec<_>>()))?,
                Form::Yaml => line(serde_saphyr::to_string(&objects.collect::<Vec<_>>())?.trim_end())?,
                Form::Table => {
                    let rows: Vec<_> = artifacts.iter().flat_map(|one| self.rows(one)).collect();
                    table::print(&["REPOSITORY", "TAG", "TYPE", "DIGEST", "AGE", "SIZE"], &rows)?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn rows(&self, artifact: &api::Image) -> Vec<Vec<String>> {
        let digest = if self.no_trunc { artifact.manifest.as_str() } else { short_id(&artifact.manifest) };
        let row = |(repository, tag): (String, String)| {
            vec![
                repository,
                tag,
                artifact.artifact.clone(),
                digest.to_owned(),
                age(artifact.created_at),
                bytes(artifact.size),
            ]
        };
        names(artifact).into_iter().map(row).collect()
    }
}

async fn look(client: &mut Client, name: &str) -> Result<api::ArtifactResponse, tonic::Status> {
    let request = api::ArtifactRequest { name: name.to_owned() };
    client.artifact(request).await.map(tonic::Response::into_inner)
}

impl Inspect {
    async fn run(self, reach: &Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let (mut found, mut failed) = (Vec::new(), false);
        for name in &self.artifacts {
            match look(&mut client, name).await {
                Ok(artifact) => found.push(inspected(&artifact)),
                Err(status) => {
                    complain(&about(name, &told(status).to_string()));
                    failed = true;
                }
            }
        }
        match (&self.format, self.output) {
            (Some(template), _) => formatted(template, found.into_iter())?,
            (None, Shown::Json) => line(serde_json::to_string_pretty(&found)?)?,
            (None, Shown::Yaml) => line(serde_saphyr::to_string(&found)?.trim_end())?,
        }
        Ok(done(failed))
    }
}

/// With podman's keys where it has them: `Manifest`, `Name`, `Digest`.
fn inspected(artifact: &api::ArtifactResponse) -> Value {
    let image = artifact.image.clone().unwrap_or_default();
    let file = |file: &api::ArtifactEntry| {
        json!({
            "Path": file.path, "Digest": file.digest, "Size": file.size, "MediaType": file.media_type,
            "Titled": file.titled,
        })
    };
    json!({
        "Name": image.tags.first().or(image.repo_digests.first()), "Digest": image.manifest, "Id": image.id,
        "Type": image.artifact, "Tags": image.tags, "RepoDigests": image.repo_digests, "Size": image.size,
        "CreatedAt": image.created_at, "Files": artifact.files.iter().map(file).collect::<Vec<_>>(),
        "Manifest": serde_json::from_slice::<Value>(&artifact.manifest).unwrap_or_default(),
    })
}

impl Rm {
    async fn run(self, reach: &Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let mut failed = false;
        let mut names = Vec::new();
        if self.all {
            names.extend(all(&mut client).await?.into_iter().map(|artifact| artifact.id));
        }
        for name in self.artifacts {
            match look(&mut client, &name).await {
                Ok(_) => names.push(name),
                Err(status) if self.ignore && status.code() == tonic::Code::NotFound => {
                    note(format_args!("no artifact {name:?}"));
                }
                Err(status) => {
                    complain(&about(&name, &told(status).to_string()));
                    failed = true;
                }
            }
        }
        if names.is_empty() {
            return Ok(done(failed));
        }
        let request = api::RemoveImageRequest { images: names, force: self.force };
        let removed = client.remove_image(request).await.map_err(told)?.into_inner().outcomes;
        Ok(if outcomes(removed)? == ExitCode::SUCCESS { done(failed) } else { done(true) })
    }
}
