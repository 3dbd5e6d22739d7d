//! A real kubelet for the tests: Kubernetes as a pinned Go module, and the tests that need it.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::pinned;
use crate::run::{cargo, headline};
use crate::test::cargo_tests;
use crate::test::count::Counts;

/// Where the tests find the directory with the programs.
const PROGRAMS: &str = "BERTH_KUBELET";
/// How many rounds the tests go through in which kubelet and daemon are killed.
const ROUNDS: &str = "BERTH_KUBELET_ROUNDS";
/// Feature gates of every kubelet that the tests start.
const GATES: &str = "BERTH_KUBELET_GATES";
/// The programs, by their packages.
const PACKAGES: [&str; 2] = ["k8s.io/kubernetes/cmd/kubelet", "k8s.io/kubernetes/test/images/agnhost"];

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Rounds in which kubelet and daemon are killed
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Feature gates of the kubelet that are switched on, separated by commas, such as EventedPLEG
    #[arg(long, default_value = "")]
    gates: String,
    /// Build the kubelet and run nothing
    #[arg(long)]
    build: bool,
    /// Only the tests with this in their name
    filter: Option<String>,
}

/// The verb: 0 when nothing failed.
pub(crate) fn run(options: &Options) -> ExitCode {
    let mut counts = Counts::default();
    let programs = match build() {
        Ok(programs) => programs,
        Err(error) => {
            counts.fail(format!("kubelet: {error:#}"));
            return counts.close();
        }
    };
    if options.build {
        return ExitCode::SUCCESS;
    }
    headline("kubelet: the tests");
    let mut command: Command = cargo(&["test", "--package", "berth", "--test", "kubelet"]);
    command
        .envs([programs])
        .env(ROUNDS, options.rounds.to_string())
        .env(GATES, &options.gates)
        .arg("--")
        .args(&options.filter);
    cargo_tests::run_one(&mut command, "cargo test", &mut counts);
    counts.close()
}

/// Builds what `tests/kubelet/go.mod` pins; the environment that hands it to the tests.
pub(crate) fn build() -> Result<(&'static str, OsString)> {
    Ok((PROGRAMS, pinned::build("kubelet", &PACKAGES)?.into()))
}
