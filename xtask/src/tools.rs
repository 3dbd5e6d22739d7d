//! The testkit's program, which does what needs the testkit.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::run::{cargo, must, target};

#[derive(Debug, clap::Args)]
pub(crate) struct LeakOptions {
    /// Take the picture now
    #[arg(long)]
    take: bool,
}

/// How much a program is optimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

impl Profile {
    fn dir(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// Builds the testkit's program.
pub(crate) fn testkit(profile: Profile) -> Result<PathBuf> {
    build(profile, "berth-testkit", &["--features", "cri"])
}

/// Builds Berth.
pub(crate) fn berth(profile: Profile) -> Result<PathBuf> {
    build(profile, "berth", &[])
}

fn build(profile: Profile, package: &str, more: &[&str]) -> Result<PathBuf> {
    let mut command = cargo(&["build", "--package", package, "--bin", package]);
    command.args(more);
    if profile == Profile::Release {
        command.arg("--release");
    }
    must(&mut command)?;
    Ok(target().join(profile.dir()).join(package))
}

/// Words in the names of processes and cgroups that are Berth's.
const OURS: [&str; 2] = ["berth", "busybox"];

/// Takes a picture of the machine.
pub(crate) fn take_picture(testkit: &Path, file: &Path) -> Result<()> {
    must(Command::new(testkit).args(["leaks", "--take"]).arg(file))
}

/// Fails when there is more on the machine than in the picture, after listing it.
pub(crate) fn compare_with(testkit: &Path, file: &Path) -> Result<()> {
    let mut command = Command::new(testkit);
    command.arg("leaks").arg(file);
    for word in OURS {
        command.args(["--only", word]);
    }
    must(&mut command)
}

/// The verb.
pub(crate) fn leaks(options: &LeakOptions) -> Result<()> {
    let testkit = testkit(Profile::Dev)?;
    let file = target().join("machine.json");
    if options.take { take_picture(&testkit, &file) } else { compare_with(&testkit, &file) }
}
