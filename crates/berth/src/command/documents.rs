//! `berth completion`, and what a package carries beside the program: manual and configuration.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

use crate::output::line;

/// `berth completion`
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell that reads it
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Completion {
    /// Writes the completions of `tree` to standard output.
    pub(crate) fn run(&self, mut tree: clap::Command) -> anyhow::Result<ExitCode> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut tree, "berth", &mut text);
        line(String::from_utf8(text)?.trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// `berth documents`, for packagers
#[derive(Debug, Args)]
pub(crate) struct Documents {
    #[command(subcommand)]
    document: Document,
}

#[derive(Debug, Subcommand)]
enum Document {
    /// Write the manual pages into a directory
    Manual {
        /// The directory
        dir: PathBuf,
    },
    /// Show a configuration file with every key, commented out
    Config,
}

impl Documents {
    /// Writes the document.
    pub(crate) fn run(self, tree: clap::Command) -> anyhow::Result<ExitCode> {
        match self.document {
            Document::Manual { dir } => manual(tree, &dir)?,
            Document::Config => line(super::config::commented().trim_end())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// berth(1), and a page for each command that is shown.
fn manual(tree: clap::Command, dir: &Path) -> anyhow::Result<()> {
    clap_mangen::generate_to(tree, dir).with_context(|| format!("write the manual into {}", dir.display()))
}
