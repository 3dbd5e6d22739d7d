//! Where runtimes are: which names are looked for in which directories, and which file is the one. Looking is one `stat` for
//! each place; nothing is started.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::foreign;
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
    /// A shim of containerd's protocol.
    Shim,
}

impl Kind {
    /// Of a handler with this name and program.
    pub(crate) fn of(name: &str, program: &Path) -> Self {
        let file = program.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
        if foreign::is_program(&file) || foreign::is_runtime(&program.to_string_lossy()) {
            Kind::Shim
        } else if [name, &file].iter().any(|text| text.contains("runsc") || text.contains("gvisor")) {
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
            Kind::Shim => "shim",
        }
    }
}

/// Where runtimes are looked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Search {
    /// Searched in order for [`KNOWN`] and for shims; absolute.
    pub(crate) dirs: Vec<PathBuf>,
    /// Handlers whose program is given, by its path or by containerd's name of a shim.
    pub(crate) configured: BTreeMap<String, PathBuf>,
}

impl Search {
    /// Every name that is looked for.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let known = KNOWN.into_iter().filter(|name| !self.configured.contains_key(*name));
        known.chain(self.configured.keys().map(String::as_str)).filter(|name| *name != NATIVE)
    }

    /// The same, with the shims that there are: they may have any name.
    pub(crate) fn all(&self) -> Vec<String> {
        let mut all: Vec<String> = self.names().map(str::to_owned).collect();
        let dirs = self.dirs.iter().filter(|dir| dir.is_absolute());
        let files = dirs.filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
        let files = files.filter_map(|file| file.file_name().into_string().ok());
        all.extend(
            files.filter_map(|file| foreign::name_of(&file).map(str::to_owned)).filter(|name| is_name(name)),
        );
        all.sort_unstable();
        all.dedup();
        all
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        let is_shim = || {
            is_name(name)
                && self.in_dirs(&foreign::program(name)).any(|place| matches!(stat(&place), Ok(Some(_))))
        };
        self.names().any(|known| known == name) || is_shim()
    }

    /// Whether a pod may have been made by one of this name: its program may be gone since.
    pub(crate) fn may_have_had(&self, name: &str) -> bool {
        is_name(name) || self.names().any(|known| known == name)
    }

    fn in_dirs(&self, file: &str) -> impl Iterator<Item = PathBuf> {
        self.dirs.iter().filter(|dir| dir.is_absolute()).map(move |dir| dir.join(file))
    }

    /// The places of a name, the first to be preferred.
    pub(crate) fn places(&self, name: &str) -> Vec<PathBuf> {
        match self.configured.get(name) {
            Some(path) => match path.to_str().filter(|text| foreign::is_runtime(text)) {
                Some(runtime) => self.in_dirs(&foreign::program(runtime)).collect(),
                None => vec![path.clone()],
            },
            None => {
                let own = KNOWN.contains(&name).then(|| self.in_dirs(name));
                own.into_iter().flatten().chain(self.in_dirs(&foreign::program(name))).collect()
            }
        }
    }

    /// Looks for a name's program.
    pub(crate) fn look(&self, name: &str) -> Result<Binary, Missing> {
        let places = self.places(name);
        let seen = places.iter().map(|place| (place.clone(), stat(place)));
        choose(seen).map_err(|why| why.unwrap_or(Missing::Nowhere(places)))
    }
}

/// Whether a handler can have this name: a DNS label that is not that of Berth's own.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_label = (1..=63).contains(&name.len()) && name.bytes().all(plain);
    is_label && !name.starts_with('-') && !name.ends_with('-') && name != NATIVE
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
