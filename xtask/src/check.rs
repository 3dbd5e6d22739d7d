//! Everything that does not change the machine.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::run::{cargo, has, headline, must};
use crate::tidy;

/// The verb: stops at the first that fails.
pub(crate) fn run() -> Result<()> {
    headline("check: formatting");
    must(&mut cargo(&["fmt", "--all", "--check"]))?;
    headline("check: the rules of the project");
    tidy::run()?;
    headline("check: clippy");
    must(&mut cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))?;
    headline("check: documentation");
    must(cargo(&["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    aarch64()?;
    headline("check: licences and bans");
    if has("cargo-deny") {
        must(&mut cargo(&["deny", "--all-features", "check", "bans", "licenses", "sources"]))
    } else {
        println!("skipped: cargo-deny: not installed (cargo install cargo-deny)");
        Ok(())
    }
}

/// The other architecture that production nodes have.
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// Debian's cross compiler: it builds the C parts of dependencies, and links.
const COMPILER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64-static";
/// Where Debian has the C library of that architecture.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";
/// Crates whose unit tests decide and compute, and make no calls of the kernel that an emulator does not know.
const PURE: [&str; 2] = ["berth-types", "berth-pod"];

/// Checks everything for aarch64, and runs the unit tests of pure code where an emulator is at hand. What is missing for it
/// is said, and skipped.
fn aarch64() -> Result<()> {
    headline("check: aarch64");
    let lacking = |what: &str, remedy: &str| {
        println!("skipped: aarch64: {what} ({remedy})");
        Ok(())
    };
    if !has_target() {
        return lacking("its standard library is not installed", &format!("rustup target add {TARGET}"));
    }
    if !has(COMPILER) {
        return lacking("its C compiler is not installed", "apt-get install gcc-aarch64-linux-gnu");
    }
    let cross = |arguments: &[&str]| {
        let mut command = cargo(arguments);
        command
            .args(["--quiet", "--target", TARGET])
            .env("CC_aarch64_unknown_linux_gnu", COMPILER)
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", COMPILER)
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", format!("{EMULATOR} -L {LIBRARIES}"));
        command
    };
    must(&mut cross(&["check", "--workspace", "--all-targets"]))?;
    if !has(EMULATOR) || !Path::new(LIBRARIES).exists() {
        return lacking(
            "nothing to run its tests with",
            "apt-get install qemu-user-static libc6-dev-arm64-cross",
        );
    }
    let mut test = cross(&["test", "--lib"]);
    test.args(PURE.iter().flat_map(|name| ["--package", name]));
    must(&mut test)?;
    // These are of a crate that makes calls, too.
    let plans = ["plan", "cgroup::plan", "cgroup::convert"];
    let mut test = cross(&["test", "--lib"]);
    must(test.args(["--package", "berth-container", "--package", "berth-sys", "--"]).args(plans))
}

/// Whether the standard library of the other architecture is there.
fn has_target() -> bool {
    let asked = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    let Ok(asked) = asked else { return false };
    let dir = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    !dir.is_empty() && Path::new(&dir).exists()
}
