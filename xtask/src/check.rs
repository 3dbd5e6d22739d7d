//! Everything that does not change the machine.

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
    headline("check: licences and bans");
    if has("cargo-deny") {
        must(&mut cargo(&["deny", "--all-features", "check", "bans", "licenses", "sources"]))
    } else {
        println!("skipped: cargo-deny: not installed (cargo install cargo-deny)");
        Ok(())
    }
}
