//! `cargo xtask bench`: builds the programs with optimisation and runs the testkit's bench.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::huge_pages::HugePages;
use crate::pinned;
use crate::run::{go, has, must, root};
use crate::tools::{Profile, berth, testkit};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Measure only the runtimes given with --against
    #[arg(long)]
    without_berth: bool,
    /// A Berth for each of these handlers: native, runc, crun, runsc
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with = "without_berth")]
    handlers: Vec<String>,
    /// Passed on: --berth LABEL=PROGRAM (another build beside this one), --against LABEL=unix:///PATH,
    /// --listen ADDRESS, --steps host,lifecycle,users,exec,throughput,list,restart,memory,pull,
    /// streams,crowd, --crowd N,M, --cni DIR (of CNI plugins), --rounds N, --pods N, --profile, --plain, --json FILE
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<String>,
}

impl Options {
    /// Whether exec and port forwarding by URL are measured.
    fn streams(&self) -> bool {
        let after =
            self.flags.iter().position(|flag| flag == "--steps").and_then(|at| self.flags.get(at + 1));
        let steps =
            after.map(String::as_str).or_else(|| self.flags.iter().find_map(|f| f.strip_prefix("--steps=")));
        steps.is_none_or(|steps| steps.split(',').any(|step| step == "streams"))
    }
}

/// Kubernetes' client of the streaming server.
fn client() -> Result<PathBuf> {
    if !has("go") {
        bail!(
            "the client of the streams is built with Go 1.26, which is not on the PATH; choose other --steps"
        );
    }
    let dir = root().join("tests/streaming");
    let client = dir.join("bin/client");
    must(go(&dir).args(["build", "-o"]).arg(&client).arg("."))?;
    Ok(client)
}

/// The verb.
pub(crate) fn run(options: &Options) -> Result<()> {
    let testkit = testkit(Profile::Release)?;
    let mut command = Command::new(testkit);
    command.arg("bench");
    if options.streams() {
        command.arg("--client").arg(client()?);
    }
    if !options.without_berth {
        command.arg("--berth").arg(berth(Profile::Release)?);
    }
    for handler in &options.handlers {
        command.args(["--handlers", handler]);
    }
    if options.handlers.iter().any(|handler| handler == "runsc") {
        command.arg("--handler").arg(pinned::runsc_handler()?);
    }
    let apart = HugePages::apart()?;
    let measured = must(command.args(&options.flags));
    apart.back()?;
    measured
}
