//! `berth push`.

use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::api;
use crate::client::{Reach, told};
use crate::credentials::Reader;
use crate::output::pull::Pulls;
use crate::output::{line, note};

/// `berth push`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  berth tag web registry.example/team/web:2
  berth push registry.example/team/web:2
  berth push web registry.example/team/web:2    the same without the name here

Private registries: berth login first. The digest that the image has there is printed.")]
pub(crate) struct Push {
    /// No progress
    #[arg(short, long)]
    quiet: bool,
    /// The image, by the name that it is to have there, or by any name or id with a destination
    image: String,
    /// The name that it is to have there
    destination: Option<String>,
}

impl Push {
    /// Pushes the image and prints its digest.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let to = self.destination.unwrap_or_else(|| self.image.clone());
        let to = to.strip_prefix("docker://").unwrap_or(&to).to_owned();
        let images = client.images(api::ImagesRequest {}).await.map_err(told)?.into_inner().images;
        let reader = Reader::of(&reach);
        let mut sources = Vec::new();
        // What is not there any more compressed is fetched from where it came.
        let meant = |image: &&api::Image| {
            image.id.contains(&self.image) || image.tags.iter().any(|tag| tag.contains(&self.image))
        };
        for name in images.iter().filter(meant).flat_map(|image| &image.repo_digests) {
            sources.extend(reader.image(name).await);
        }
        let auth = reader.image(&to).await;
        let request = api::PushRequest { image: self.image, to: to.clone(), auth, sources };
        let mut pulls = Pulls::new(self.quiet);
        let mut events = client.push(request).await.map_err(told)?.into_inner();
        let mut last = None;
        while let Some(event) = events.message().await.map_err(told)? {
            if event.digest.is_empty() {
                let layers = event.layers;
                pulls.show(&api::PullEvent {
                    image: to.clone(),
                    layers,
                    note: "pushing".to_owned(),
                    ..api::PullEvent::default()
                });
            } else {
                last = Some((event.digest, event.changed));
            }
        }
        pulls.clear();
        let (digest, changed) = last.context("the daemon did not report the result of the push")?;
        if digest.is_empty() {
            bail!("the daemon did not report the result of the push");
        }
        if changed {
            note(
                "berth: layers were compressed anew, since no registry was reached that has them: the image has another digest there",
            );
        }
        line(digest)?;
        Ok(ExitCode::SUCCESS)
    }
}
