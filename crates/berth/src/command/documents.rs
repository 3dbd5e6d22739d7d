//! `berth completion`, and what a package carries beside the program: manual and configuration.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Arg, ArgAction, Args, Subcommand};

use crate::output::line;
use crate::serve::settings::{CONFIG, Given};

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
            Document::Config => line(configuration().trim_end())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// berth(1), and a page for each command that is shown.
fn manual(tree: clap::Command, dir: &Path) -> anyhow::Result<()> {
    clap_mangen::generate_to(tree, dir).with_context(|| format!("write the manual into {}", dir.display()))
}

/// The configuration as a package installs it: all keys, commented out.
fn configuration() -> String {
    let mut text = format!(
        "# {CONFIG}: the settings of the Berth daemon, see berth-serve(1).\n\
         # Every key is also a flag of `berth serve`, which overrides this file. Without changes the\n\
         # defaults apply. Restart the daemon after a change: pods keep running.\n"
    );
    key(&mut text, "instance", "A second daemon beside the first, under this name", "\"\"");
    for flag in Given::augment_args(clap::Command::new("keys")).get_arguments() {
        let Some(name) = flag.get_long() else { continue };
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        key(&mut text, name, &help, &example(flag));
    }
    text
}

fn key(text: &mut String, name: &str, help: &str, value: &str) {
    write!(text, "\n# {help}\n#{name} = {value}\n").expect("writing to a String does not fail");
}

/// A value of the right form: of several the first, of a list the empty one.
fn example(flag: &Arg) -> String {
    if matches!(flag.get_action(), ArgAction::Append) {
        return "[]".to_owned();
    }
    if flag.get_id() == "stream_port" {
        return "0".to_owned();
    }
    match flag.get_possible_values().first() {
        Some(value) => format!("{:?}", value.get_name()),
        None => "\"\"".to_owned(),
    }
}
