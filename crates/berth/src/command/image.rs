//! `berth pull`, `berth images` and `berth rmi`.

use std::process::ExitCode;

use anyhow::bail;
use serde_json::json;

use super::outcomes;
use crate::api;
use crate::client::{Reach, told};
use crate::credentials::Reader;
use crate::output::pull::Pulls;
use crate::output::{Format, age, bytes, line, note, short_id, table};

/// `berth pull`
#[derive(Debug, clap::Args)]
pub(crate) struct Pull {
    /// No progress
    #[arg(short, long)]
    quiet: bool,
    /// Platform [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// The image
    image: String,
}

impl Pull {
    /// Pulls the image and prints its id.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        self.pull(reach, false).await
    }

    /// The same, which an image fails where only an artifact will do.
    pub(crate) async fn pull(self, reach: Reach, artifact: bool) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let mut pulls = Pulls::new(self.quiet);
        let auth = Reader::of(&reach).image(&self.image).await;
        let request = api::PullRequest {
            image: self.image,
            auth,
            platform: self.platform.unwrap_or_default(),
            artifact,
        };
        let mut events = client.pull(request).await.map_err(told)?.into_inner();
        let mut id = String::new();
        while let Some(event) = events.message().await.map_err(told)? {
            pulls.show(&event);
            id = event.image_id;
        }
        if id.is_empty() {
            bail!("the daemon did not report the result of the pull");
        }
        line(id)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// `berth images`
#[derive(Debug, clap::Args)]
pub(crate) struct Images {
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Images {
    /// Lists the images, without artifacts.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let mut images = client.images(api::ImagesRequest {}).await.map_err(told)?.into_inner().images;
        // What cannot be run is in a list of its own: berth artifact ls.
        images.retain(|image| image.artifact.is_empty());
        if self.quiet {
            images.iter().try_for_each(|image| line(&image.id))?;
        } else if self.output == Format::Json {
            let all: Vec<_> = images.iter().map(as_json).collect();
            line(json!(all))?;
        } else {
            let rows: Vec<_> = images.iter().flat_map(rows).collect();
            table::print(&["REPOSITORY", "TAG", "IMAGE ID", "AGE", "SIZE"], &rows)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn as_json(image: &api::Image) -> serde_json::Value {
    json!({
        "id": image.id, "tags": image.tags, "repoDigests": image.repo_digests, "size": image.size,
        "createdAt": image.created_at, "pinned": image.pinned, "inUse": image.in_use,
    })
}

/// One row for each name.
fn rows(image: &api::Image) -> Vec<Vec<String>> {
    let row = |repository: &str, tag: &str| {
        let id = short_id(&image.id).to_owned();
        vec![repository.to_owned(), tag.to_owned(), id, age(image.created_at), bytes(image.size)]
    };
    if image.tags.is_empty() {
        let repository = image.repo_digests.first().and_then(|d| d.split('@').next()).unwrap_or("<none>");
        return vec![row(repository, "<none>")];
    }
    image
        .tags
        .iter()
        .map(|name| {
            let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "<none>"));
            row(repository, tag)
        })
        .collect()
}

/// When it is said what is waited for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// `berth rmi`
#[derive(Debug, clap::Args)]
pub(crate) struct Rmi {
    /// Also remove images that containers use
    #[arg(short, long)]
    force: bool,
    /// Images, by name or id
    #[arg(required = true)]
    images: Vec<String>,
}

impl Rmi {
    /// Removes each image.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let shown = self.images.join(", ");
        let request = api::RemoveImageRequest { images: self.images, force: self.force };
        let mut work = std::pin::pin!(client.remove_image(request));
        let removed = tokio::select! {
            removed = &mut work => removed,
            () = tokio::time::sleep(PATIENCE) => {
                note(format_args!("removing {shown}: waiting for pulls and containers that use its layers, and for the disk"));
                work.await
            }
        };
        outcomes(removed.map_err(told)?.into_inner().outcomes)
    }
}

/// `berth tag`
#[derive(Debug, clap::Args)]
pub(crate) struct Tag {
    /// An image, by name or id
    image: String,
    /// Names that it gets; one without a registry is localhost's
    #[arg(required = true, value_name = "NAME[:TAG]")]
    names: Vec<String>,
}

impl Tag {
    /// Gives the image its names.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        for name in self.names {
            client.tag(api::TagRequest { image: self.image.clone(), name }).await.map_err(told)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
