//! `berth oci run`: an OCI bundle without a daemon, as `runc run` does it.

use std::path::PathBuf;
use std::process::ExitCode;

use berth_container::bundle;

use super::exit_code;
use crate::output::{error, note};

/// `berth oci`
#[derive(Debug, clap::Args)]
pub(crate) struct Oci {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Run a bundle with this terminal's streams until it ends; its exit status is ours
    Run {
        /// Names the container's cgroup where the bundle does not [default: berth-PID]
        #[arg(long)]
        id: Option<String>,
        /// Directory with config.json and the root file system
        bundle: PathBuf,
    },
}

impl Oci {
    /// Runs the bundle.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let Verb::Run { id, bundle } = self.verb;
        // Executes this program again from a sealed memory file, so that the container never sees a file of the host.
        bundle::seal_program()?;
        let id = id.unwrap_or_else(|| format!("berth-{}", std::process::id()));
        let options = bundle::Options { id, cgroup_parent: String::new() };
        match bundle::run(&bundle, &options) {
            Ok(finished) => {
                finished.notes.iter().for_each(|text| note(format_args!("berth: note: {text}")));
                Ok(exit_code(finished.code))
            }
            Err(failure) => {
                let code = failure.exit_code();
                error(&failure.into());
                Ok(exit_code(code))
            }
        }
    }
}
