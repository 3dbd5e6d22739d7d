//! `berth history` and `berth diff`: what is in layers.

use std::process::ExitCode;

use serde_json::json;

use crate::api;
use crate::client::{Reach, told};
use crate::output::{Format, bytes, line, table};

/// The most characters of a step in a table.
const SHOWN: usize = 45;

/// `berth history`
#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// Whole commands
    #[arg(long)]
    no_trunc: bool,
    /// Only the image's id
    #[arg(short, long)]
    quiet: bool,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// The image, by name or id
    image: String,
}

impl History {
    /// Shows the steps that made an image, the last first.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let request = api::HistoryRequest { image: self.image };
        let answer = client.history(request).await.map_err(told)?.into_inner();
        let object = |step: &api::Step| {
            json!({
                "created": step.created, "createdBy": step.created_by, "size": step.size, "comment": step.comment,
            })
        };
        if self.quiet {
            line(answer.image_id)?;
        } else if !self.output.shows(&json!(answer.steps.iter().map(object).collect::<Vec<_>>()), None)? {
            let row = |step: &api::Step| {
                let most = if self.no_trunc || self.output == Format::Wide { usize::MAX } else { SHOWN };
                // Of its time, the day and the second.
                let created: String = step.created.chars().take(19).collect();
                vec![
                    if created.is_empty() { "-".to_owned() } else { created.replace('T', " ") },
                    table::cut(&step.created_by, most),
                    step.size.map_or_else(|| "-".to_owned(), bytes),
                    table::cut(&step.comment, most),
                ]
            };
            let rows: Vec<_> = answer.steps.iter().map(row).collect();
            self.output.table(&["CREATED", "CREATED BY", "SIZE", "COMMENT"], &rows)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// `berth diff`
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// A container (POD/CONTAINER, or an id or its beginning), or a pod that has only one
    container: String,
}

impl Diff {
    /// Shows what the container changed, a path a line.
    pub(crate) async fn run(self, reach: Reach) -> anyhow::Result<ExitCode> {
        let mut client = reach.client().await?;
        let request = api::DiffRequest { container: self.container };
        let changes = client.diff(request).await.map_err(told)?.into_inner().changes;
        for change in changes {
            line(format_args!("{} {}", change.kind, change.path))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
