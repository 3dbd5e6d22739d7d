//! Files of this machine's Debian packages, for the stand-in images.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Layer;
use crate::{Error, Result};

/// The first of these files that exists, or an error that names the package to install.
pub fn file(candidates: &[&str], package: &str) -> Result<PathBuf> {
    candidates
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .ok_or_else(|| Error::Missing { path: candidates.join(" or "), package: package.to_owned() })
}

/// The names of busybox's applets.
pub fn applets(busybox: &Path) -> Result<Vec<String>> {
    let listing = output(std::process::Command::new(busybox).arg("--list"))?;
    let mut names: Vec<_> = listing.lines().map(str::to_owned).filter(|name| name != "busybox").collect();
    names.sort();
    Ok(names)
}

/// The shared libraries a program is linked with, its loader included.
pub fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let listing = output(std::process::Command::new("ldd").arg(program))?;
    Ok(listing.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

/// Adds the program as `path` and its libraries under their own names, with the directories that
/// they need.
pub fn with_libraries(layer: Layer, path: &str, mode: u32, program: &Path) -> Result<Layer> {
    let mut files: Vec<(String, u32, PathBuf)> = vec![(path.to_owned(), mode, program.to_owned())];
    for library in libraries(program)? {
        let name = library.to_string_lossy().trim_start_matches('/').to_owned();
        files.push((name, 0o755, library));
    }
    let mut dirs = BTreeSet::new();
    for (name, ..) in &files {
        let mut parent = Path::new(name).parent();
        while let Some(dir) = parent.filter(|dir| !dir.as_os_str().is_empty()) {
            dirs.insert(dir.to_string_lossy().into_owned());
            parent = dir.parent();
        }
    }
    let layer = layer.dirs(dirs.iter().map(String::as_str));
    Ok(files.into_iter().fold(layer, |layer, (name, mode, source)| layer.copy(name, mode, source)))
}

fn output(command: &mut std::process::Command) -> Result<String> {
    let about = format!("run {command:?}");
    let output = command.output().map_err(Error::io(about))?;
    String::from_utf8(output.stdout).map_err(|_| Error::Other(format!("{command:?}: output is not UTF-8")))
}
