//! Other versions of Berth for the tests of upgrades: those that landed, from the project's own history, and
//! today's with raised versions.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::run::{cargo, headline, must, root, target};
use crate::test::cargo_tests;
use crate::test::count::Counts;

/// Where the tests find the programs of landed revisions, as in PATH.
const FROM: &str = "BERTH_UPGRADE_FROM";
/// Where the tests find today's program with raised versions.
const RAISED: &str = "BERTH_UPGRADE_RAISED";
/// How many crash rounds the tests go through.
const ROUNDS: &str = "BERTH_CRASH_ROUNDS";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Crash rounds to go through
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Only the tests with this in their name
    filter: Option<String>,
}

/// The environment that hands other versions to the tests.
pub(crate) type Programs = Vec<(&'static str, std::ffi::OsString)>;

/// The verb: 0 when nothing failed.
pub(crate) fn run(options: &Options) -> ExitCode {
    let mut counts = Counts::default();
    let programs = build(&mut counts);
    headline("upgrade: the tests");
    let mut command = cargo(&["test", "--package", "berth", "--test", "upgrade"]);
    command.envs(programs).env(ROUNDS, options.rounds.to_string()).arg("--");
    command.args(&options.filter).arg("--show-output");
    cargo_tests::run_one(&mut command, "cargo test", &mut counts);
    counts.close()
}

/// Builds what is missing. What cannot be built is a failure; a revision that this clone does not have is a skip.
pub(crate) fn build(counts: &mut Counts) -> Programs {
    headline("upgrade: building other versions");
    let mut programs = Programs::new();
    let mut landed = Vec::new();
    for revision in revisions() {
        if !in_history(revision) {
            counts.skip(&format!("upgrade from {revision}"), "this clone does not have that revision");
            continue;
        }
        match build_landed(revision) {
            Ok(program) => landed.push(program),
            Err(error) => counts.fail(format!("build {revision}: {error:#}")),
        }
    }
    match std::env::join_paths(landed) {
        Ok(paths) if paths.is_empty() => {}
        Ok(paths) => programs.push((FROM, paths)),
        Err(error) => counts.fail(format!("the target directory: {error}")),
    }
    match build_raised() {
        Ok(program) => programs.push((RAISED, program.into())),
        Err(error) => counts.fail(format!("build with raised versions: {error:#}")),
    }
    programs
}

/// The revisions of the list.
fn revisions() -> impl Iterator<Item = &'static str> {
    let lines = include_str!("../../tests/upgrade/versions.txt").lines();
    lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_whitespace().next())
}

fn in_history(revision: &str) -> bool {
    let mut command = Command::new("git");
    command.current_dir(root()).args(["cat-file", "-e", &format!("{revision}^{{commit}}")]);
    command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The program of a revision. It never changes, so it is built once.
fn build_landed(revision: &str) -> Result<PathBuf> {
    let dir = target().join("upgrade").join(revision);
    let (source, built) = (dir.join("src"), dir.join("target"));
    let program = built.join("debug/berth");
    if !program.exists() {
        check_out(revision, &source)?;
        let mut command = cargo(&["build", "--locked", "--package", "berth"]);
        must(command.current_dir(&source).env("CARGO_TARGET_DIR", &built))?;
    }
    Ok(program)
}

fn check_out(revision: &str, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    let mut archive = Command::new("git");
    archive.current_dir(root()).args(["archive", revision]).stdout(Stdio::piped());
    let mut archive = archive.spawn().context("run git archive")?;
    let files = archive.stdout.take().context("git archive has an output")?;
    let unpacked = must(Command::new("tar").arg("-xC").arg(to).stdin(files));
    if !archive.wait()?.success() {
        bail!("git archive {revision} failed");
    }
    unpacked
}

/// Today's program, which says that it is of the next version.
fn build_raised() -> Result<PathBuf> {
    let built = target().join("upgrade/raised");
    let mut command = cargo(&["build", "--package", "berth", "--features", "raised-versions"]);
    must(command.env("CARGO_TARGET_DIR", &built))?;
    Ok(built.join("debug/berth"))
}
