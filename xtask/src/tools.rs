//! The testkit's program, which does what needs the testkit.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::run::{cargo, must, target};

#[derive(Debug, clap::Args)]
pub(crate) struct LeakOptions {
    /// Take the snapshot now
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
    build(profile, "berth-testkit")
}

/// Builds Berth.
pub(crate) fn berth(profile: Profile) -> Result<PathBuf> {
    build(profile, "berth")
}

/// All programs of the workspace are built together, with the features that its tests are built
/// with: the same selection makes cargo build every dependency once and not twice.
fn build(profile: Profile, program: &str) -> Result<PathBuf> {
    let mut command =
        cargo(&["build", "--workspace", "--exclude", "xtask", "--bins", "--features", FEATURES]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    must(&mut command)?;
    Ok(target().join(profile.dir()).join(program))
}

/// What the tests and the tools need beyond the default.
pub(crate) const FEATURES: &str = "berth-testkit/cri";

/// Words in the names of processes and cgroups that are Berth's.
const OURS: [&str; 2] = ["berth", "busybox"];

/// Takes a snapshot of the machine.
pub(crate) fn take_snapshot(testkit: &Path, file: &Path) -> Result<()> {
    must(Command::new(testkit).args(["leaks", "--take"]).arg(file))
}

/// Fails when there is more on the machine than in the snapshot, after listing it.
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
    if options.take { take_snapshot(&testkit, &file) } else { compare_with(&testkit, &file) }
}
