//! The files that arguments of `berth play` and `berth down` mean.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The most files at a time: a manifest may have no more documents.
const MAX_FILES: usize = 100;
/// The most entries of a directory that are looked at.
const MAX_ENTRIES: usize = 10_000;

/// The paths, and in the place of a directory its manifests by name; what is in its directories is not read.
pub(super) fn expand(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(of_dir(path)?);
        } else {
            files.push(path.clone());
        }
    }
    if files.len() > MAX_FILES {
        bail!("{} are files, {MAX_FILES} are allowed", files.len());
    }
    let input = Path::new("-");
    if files.iter().filter(|path| *path == input).count() > 1 {
        bail!("standard input is given twice");
    }
    Ok(files)
}

fn of_dir(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let failed = || format!("read the directory {}", dir.display());
    let mut files = Vec::new();
    for (index, entry) in std::fs::read_dir(dir).with_context(failed)?.enumerate() {
        if index >= MAX_ENTRIES {
            bail!("{} has more than {MAX_ENTRIES} entries", dir.display());
        }
        let path = entry.with_context(failed)?.path();
        let end = path.extension().and_then(|end| end.to_str());
        if end.is_some_and(|end| ["yaml", "yml", "json"].contains(&end)) && path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() {
        bail!("{} has no manifest: *.yaml, *.yml or *.json", dir.display());
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests;
