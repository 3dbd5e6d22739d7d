//! `cargo xtask bench`: builds the programs with optimisation and runs the testkit's bench.

use std::process::Command;

use anyhow::Result;

use crate::run::must;
use crate::tools::{Profile, berth, testkit};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Measure only the runtimes given with --against
    #[arg(long)]
    without_berth: bool,
    /// Passed on: --berth LABEL=PROGRAM (another build beside this one), --against LABEL=unix:///PATH,
    /// --listen ADDRESS, --steps host,lifecycle,users,exec,throughput,list,restart,memory,pull,
    /// crowd,
    /// --rounds N, --pods N, --profile, --plain, --json FILE
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<String>,
}

/// The verb.
pub(crate) fn run(options: &Options) -> Result<()> {
    let testkit = testkit(Profile::Release)?;
    let mut command = Command::new(testkit);
    command.arg("bench");
    if !options.without_berth {
        command.arg("--berth").arg(berth(Profile::Release)?);
    }
    must(command.args(&options.flags))
}
