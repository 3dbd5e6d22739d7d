//! The directory of configurations: the first file, by name, that holds a network is the one of all pods.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use berth_sys::fs::read_bounded_from;
use rustix::fs::OFlags;

use super::list::{List, ListError, Plugin};

/// The most bytes of a file.
const MAX_FILE: u64 = 1 << 20;
/// The most files that are looked at.
const MAX_FILES: usize = 256;

/// What a directory holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Found {
    /// The network, with its file.
    pub(super) network: Option<(PathBuf, List)>,
    /// Files before it that hold none, and why.
    pub(super) refused: Vec<(PathBuf, String)>,
}

/// Why a file holds no network.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("{0}")]
    Read(#[from] io::Error),
    #[error(transparent)]
    List(#[from] ListError),
    #[error("{path}: {source}")]
    Plugin { path: PathBuf, source: Box<FileError> },
}

/// Reads the directory, which need not exist.
pub(super) fn read(dir: &Path) -> Found {
    let mut found = Found::default();
    let files = match files(dir, &["conflist", "conf", "json"]) {
        Ok(files) => files,
        Err(error) => {
            found.refused.push((dir.to_owned(), error.to_string()));
            return found;
        }
    };
    for path in files {
        match list(&path) {
            Ok(list) => {
                found.network = Some((path, list));
                return found;
            }
            Err(error) => found.refused.push((path, error.to_string())),
        }
    }
    found
}

fn list(path: &Path) -> Result<List, FileError> {
    let bytes = bytes(path)?;
    let is_list = path.extension().is_some_and(|extension| extension == "conflist");
    let mut list = if is_list { List::parse(&bytes)? } else { List::parse_single(&bytes)? };
    if !list.only_inlined {
        let dir = path.with_file_name(&list.name);
        for path in files(&dir, &["conf"])? {
            let plugin = self::bytes(&path).and_then(|bytes| Ok(Plugin::parse(&bytes)?));
            list.plugins.push(plugin.map_err(|source| FileError::Plugin { path, source: Box::new(source) })?);
        }
    }
    list.check()?;
    Ok(list)
}

/// The files of a directory with one of these extensions, by name.
fn files(dir: &Path, extensions: &[&str]) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted)) && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    files.truncate(MAX_FILES);
    Ok(files)
}

fn bytes(path: &Path) -> Result<Vec<u8>, FileError> {
    // A pipe or device must not be waited for.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file").into());
    }
    Ok(read_bounded_from(file, MAX_FILE)?)
}

#[cfg(test)]
mod tests;
