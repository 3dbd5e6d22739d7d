//! Where runtimes are: which names are looked for in which directories, and which file is the one. Looking is one `stat` for
//! each place; nothing is started.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::handler::NATIVE;

/// What is looked for without being configured.
pub(crate) const KNOWN: [&str; 3] = ["crun", "runc", "runsc"];

/// What a runtime is driven as. The names say it, of the handler and of its program, so that it is the same before a
/// runtime was asked anything and after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// By runc's command line: a container is processes of the host.
    Runc,
    /// gVisor's runsc: a pod is one sandbox with a kernel of its own.
    Gvisor,
}

impl Kind {
    /// Of a handler with this name and program.
    pub(crate) fn of(name: &str, program: &Path) -> Self {
        let file = program.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
        if [name, &file].iter().any(|text| text.contains("runsc") || text.contains("gvisor")) {
            Kind::Gvisor
        } else {
            Kind::Runc
        }
    }

    /// In one word, for users.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Runc => "oci",
            Kind::Gvisor => "gvisor",
        }
    }
}

/// Where runtimes are looked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Search {
    /// Searched in order for [`KNOWN`]; absolute.
    pub(crate) dirs: Vec<PathBuf>,
    /// Handlers whose program is given.
    pub(crate) configured: BTreeMap<String, PathBuf>,
}

impl Search {
    /// Every name that is looked for.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let known = KNOWN.into_iter().filter(|name| !self.configured.contains_key(*name));
        known.chain(self.configured.keys().map(String::as_str)).filter(|name| *name != NATIVE)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// The places of a name, the first to be preferred.
    pub(crate) fn places(&self, name: &str) -> Vec<PathBuf> {
        match self.configured.get(name) {
            Some(path) => vec![path.clone()],
            None => self.dirs.iter().filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).collect(),
        }
    }

    /// Looks for a name's program.
    pub(crate) fn look(&self, name: &str) -> Result<Binary, Missing> {
        let places = self.places(name);
        let seen = places.iter().map(|place| (place.clone(), stat(place)));
        choose(seen).map_err(|why| why.unwrap_or(Missing::Nowhere(places)))
    }
}

/// A runtime's program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binary {
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
}

/// What tells a file from one that has replaced it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    /// Of its content, and of its mode and owner, which also count: seconds and nanoseconds.
    times: [(i64, i64); 2],
}

/// What is at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) is_file: bool,
    pub(crate) is_executable: bool,
    pub(crate) identity: Identity,
}

/// Why a name has no program, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    #[error("there is none at {}", listed(.0))]
    Nowhere(Vec<PathBuf>),
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    #[error("{} is not executable (hint: chmod +x)", .0.display())]
    NotExecutable(PathBuf),
    #[error("{} cannot be looked at: {}", .0.display(), .1)]
    Unreadable(PathBuf, String),
}

fn listed(places: &[PathBuf]) -> String {
    if places.is_empty() {
        return "any directory: none is searched".to_owned();
    }
    places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The first that can be executed, as a shell searches. Else why the first that there is cannot be; None when there is
/// nothing.
fn choose(
    seen: impl IntoIterator<Item = (PathBuf, io::Result<Option<Seen>>)>,
) -> Result<Binary, Option<Missing>> {
    let mut first = None;
    for (path, seen) in seen {
        let why = match seen {
            Ok(None) => continue,
            Ok(Some(Seen { is_file: true, is_executable: true, identity })) => {
                return Ok(Binary { path, identity });
            }
            Ok(Some(Seen { is_file: true, .. })) => Missing::NotExecutable(path),
            Ok(Some(_)) => Missing::NotAFile(path),
            Err(error) => Missing::Unreadable(path, error.to_string()),
        };
        first.get_or_insert(why);
    }
    Err(first)
}

fn stat(path: &Path) -> io::Result<Option<Seen>> {
    match std::fs::metadata(path) {
        Ok(meta) => Ok(Some(Seen {
            is_file: meta.is_file(),
            is_executable: meta.mode() & 0o111 != 0,
            identity: Identity {
                device: meta.dev(),
                inode: meta.ino(),
                size: meta.size(),
                times: [(meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec())],
            },
        })),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
