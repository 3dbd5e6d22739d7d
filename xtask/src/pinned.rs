//! Programs of others that are pinned as Go modules: `tests/NAME/go.mod`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::run::{go, has, headline, must, root, target};

/// Builds these packages of `tests/NAME/go.mod`, once for each state of it; the directory with the programs.
pub(crate) fn build(name: &str, packages: &[&str]) -> Result<PathBuf> {
    if !has("go") {
        bail!("tests/{name} is built with Go 1.26, which is not on the PATH");
    }
    let module = root().join("tests").join(name);
    let dir = target().join(name).join(state_of(&module)?);
    if !packages.iter().all(|package| dir.join(name_of(package)).exists()) {
        headline(&format!("building what tests/{name} pins"));
        let made = dir.with_extension("new");
        std::fs::create_dir_all(&made)?;
        // Without debugging information: half the size, and less to link.
        must(go(&module).args(["build", "-ldflags", "-s -w", "-o"]).arg(&made).args(packages))?;
        std::fs::rename(&made, &dir).with_context(|| format!("rename {}", made.display()))?;
    }
    Ok(dir)
}

/// Builds gVisor's runsc; the directory with it.
pub(crate) fn gvisor() -> Result<PathBuf> {
    build("gvisor", &["gvisor.dev/gvisor/runsc"])
}

/// gVisor's runsc as a handler of a daemon, as `--handler` takes it.
pub(crate) fn runsc_handler() -> Result<String> {
    Ok(format!("runsc={}", gvisor()?.join("runsc").display()))
}

/// A name for what the module pins.
fn state_of(module: &Path) -> Result<String> {
    let mut sum = Sha256::new();
    for name in ["go.mod", "go.sum"] {
        let path = module.join(name);
        sum.update(std::fs::read(&path).with_context(|| format!("read {}", path.display()))?);
    }
    Ok(sum.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn name_of(package: &str) -> &str {
    package.rsplit('/').next().unwrap_or(package)
}
