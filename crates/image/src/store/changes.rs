//! What a container changed in its root: what its writable layer has, and what it hides of the layers below.

use std::collections::HashSet;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use berth_types::{ContainerId, Digest};
use rustix::fs::{Dir, OFlags};

use super::lookup::Stack;
use super::walk::{self, Seen, Visit, is_opaque};
use super::{Images, blocking};
use crate::error::StoreError;

/// The most changes.
const MAX_CHANGES: usize = 500_000;

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

/// The writable layer of a container and the layers below it.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) image: Digest,
    pub(crate) upper: PathBuf,
    /// The uppermost first.
    pub(crate) lowers: Vec<PathBuf>,
}

impl Images {
    /// What a container changed, by path.
    ///
    /// # Errors
    /// There is no writable layer, or too much in it.
    pub async fn changes(&self, container: &ContainerId) -> Result<Vec<(PathBuf, Change)>, StoreError> {
        let Root { upper, lowers, .. } = self.root_of(container)?;
        blocking(move || {
            let failed = StoreError::io("look for changes in", &upper);
            let mut found = look(&upper, &lowers).map_err(failed)?;
            found.sort();
            Ok(found)
        })
        .await
    }

    /// What the root of a container is made of.
    pub(crate) fn root_of(&self, container: &ContainerId) -> Result<Root, StoreError> {
        let (image, lowers) = {
            let state = self.state();
            let record = state.snapshots.get(container);
            let record = record.ok_or_else(|| StoreError::NoSnapshot(container.clone()))?;
            let volumes = record.volumes.is_empty();
            let stored = state.images.get(&record.image);
            // An image that was removed left its layers with the snapshot.
            let lowers = match stored {
                Some(stored) => stored.record.lowers(),
                None if volumes => record.layers.clone(),
                None => return Err(StoreError::NotFound(record.image.to_string())),
            };
            (record.image.clone(), lowers)
        };
        let upper = self.layout().snapshot(container).join("upper");
        Ok(Root { image, upper, lowers: self.lower_dirs(&lowers) })
    }
}

fn look(upper: &Path, lowers: &[PathBuf]) -> std::io::Result<Vec<(PathBuf, Change)>> {
    let mut look = Look { below: Stack::new(lowers), found: Vec::new() };
    walk::walk(walk::root(upper)?, &mut look)?;
    Ok(look.found)
}

/// Compares what is in the writable layer with what is below.
struct Look<'a> {
    below: Stack<'a>,
    found: Vec<(PathBuf, Change)>,
}

impl Look<'_> {
    fn push(&mut self, path: PathBuf, change: Change) -> std::io::Result<()> {
        if self.found.len() >= MAX_CHANGES {
            return Err(std::io::Error::other("there are too many changes"));
        }
        self.found.push((path, change));
        Ok(())
    }
}

impl Visit for Look<'_> {
    fn entry(&mut self, seen: &Seen<'_>) -> std::io::Result<bool> {
        let was = self.below.find(seen.path, false)?.is_some();
        let change = match (seen.is_whiteout(), was) {
            (true, true) => Change::Deleted,
            (true, false) => return Ok(false),
            (false, true) => Change::Changed,
            (false, false) => Change::Added,
        };
        self.push(seen.path.to_owned(), change)?;
        Ok(true)
    }

    /// What of the directory below is not in the one that hides it.
    fn entered(&mut self, path: &Path, dir: BorrowedFd<'_>, names: &[CString]) -> std::io::Result<()> {
        if !is_opaque(dir) {
            return Ok(());
        }
        let Some(was) = self.below.find(path, false)? else { return Ok(()) };
        let mut seen: HashSet<CString> = names.iter().cloned().collect();
        for layer in &was.merged {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            for entry in Dir::new(walk::open_in(layer.as_fd(), c".", flags)?)? {
                let entry = entry?;
                let name = entry.file_name();
                let here = path.join(OsStr::from_bytes(name.to_bytes()));
                let new = name != c"." && name != c".." && seen.insert(name.to_owned());
                // What a layer between removed was not there either.
                if new && self.below.find(&here, false)?.is_some() {
                    self.push(here, Change::Deleted)?;
                }
            }
        }
        Ok(())
    }
}
