//! What a container changed in its root: what its writable layer has, and what it hides of the layers below.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use berth_types::ContainerId;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::lookup::{OPAQUE, Stack};
use super::{Images, blocking};
use crate::error::StoreError;

/// The most changes, and the deepest path.
const MAX_CHANGES: usize = 500_000;
const MAX_DEPTH: usize = 256;

/// How a path was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// The image has none.
    Added,
    /// The image has another, or something below it was changed.
    Changed,
    /// It is no longer there.
    Deleted,
}

/// An open directory of the writable layer.
struct Level {
    entries: Dir,
    path: PathBuf,
    /// The names that it has, where it hides the directory below.
    names: Option<HashSet<Vec<u8>>>,
}

impl Images {
    /// What a container changed, by path.
    ///
    /// # Errors
    /// There is no writable layer, or too much in it.
    pub async fn changes(&self, container: &ContainerId) -> Result<Vec<(PathBuf, Change)>, StoreError> {
        let lowers = {
            let state = self.state();
            let record = state.snapshots.get(container);
            let record = record.ok_or_else(|| StoreError::NoSnapshot(container.clone()))?;
            let volumes = record.volumes.is_empty();
            let stored = state.images.get(&record.image);
            // An image that was removed left its layers with the snapshot.
            match stored {
                Some(stored) => stored.record.lowers(),
                None if volumes => record.layers.clone(),
                None => return Err(StoreError::NotFound(record.image.to_string())),
            }
        };
        let lowers = self.lower_dirs(&lowers);
        let upper = self.layout().snapshot(container).join("upper");
        blocking(move || {
            let failed = StoreError::io("look for changes in", &upper);
            let mut found = look(&upper, &lowers).map_err(failed)?;
            found.sort();
            Ok(found)
        })
        .await
    }
}

fn look(upper: &Path, lowers: &[PathBuf]) -> std::io::Result<Vec<(PathBuf, Change)>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(upper, flags, Mode::empty())?;
    let below = Stack::new(lowers);
    let mut found = Vec::new();
    let mut stack = vec![Level { entries: Dir::new(root)?, path: PathBuf::from("/"), names: None }];
    loop {
        let depth = stack.len();
        let Some(level) = stack.last_mut() else { break };
        let Some(entry) = level.entries.next() else {
            if let Some(Level { path, names: Some(names), .. }) = stack.pop() {
                hidden(&below, &path, &names, &mut found)?;
            }
            continue;
        };
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        if let Some(names) = &mut level.names {
            names.insert(name.to_vec());
        }
        let path = level.path.join(OsStr::from_bytes(name));
        let dir = level.entries.fd()?;
        let stat = match rustix::fs::statat(dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            // Gone meanwhile.
            Err(Errno::NOENT) => continue,
            stat => stat?,
        };
        let was = below.find(&path, false)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let change = match (kind == FileType::CharacterDevice && stat.st_rdev == 0, &was) {
            (true, Some(_)) => Change::Deleted,
            (true, None) => continue,
            (false, Some(_)) => Change::Changed,
            (false, None) => Change::Added,
        };
        found.push((path.clone(), change));
        if found.len() > MAX_CHANGES || depth > MAX_DEPTH {
            return Err(std::io::Error::other("there are too many changes, or too deep ones"));
        }
        if kind == FileType::Directory {
            let Ok(next) = open_in(dir, entry.file_name()) else { continue };
            let hides = was.is_some_and(|was| was.kind() == FileType::Directory) && is_opaque(next.as_fd());
            stack.push(Level { entries: Dir::new(next)?, path, names: hides.then(HashSet::new) });
        }
    }
    Ok(found)
}

/// What of the directory below is not in the one that hides it.
fn hidden(
    below: &Stack<'_>,
    path: &Path,
    names: &HashSet<Vec<u8>>,
    found: &mut Vec<(PathBuf, Change)>,
) -> std::io::Result<()> {
    let Some(was) = below.find(path, false)? else { return Ok(()) };
    let mut seen = HashSet::new();
    for layer in &was.merged {
        for entry in Dir::new(open_in(layer.as_fd(), c".")?)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let here = path.join(OsStr::from_bytes(name));
            let new = name != b"." && name != b".." && !names.contains(name) && seen.insert(name.to_vec());
            // What a layer between removed was not there either.
            if new && below.find(&here, false)?.is_some() {
                found.push((here, Change::Deleted));
            }
        }
    }
    Ok(())
}

fn is_opaque(dir: BorrowedFd<'_>) -> bool {
    let mut value = [0u8; 8];
    rustix::fs::fgetxattr(dir, OPAQUE, &mut value[..]).is_ok_and(|length| value[..length] == *b"y")
}

fn open_in(dir: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve)
}
