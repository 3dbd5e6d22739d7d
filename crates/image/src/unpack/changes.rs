//! What is noted while a layer is unpacked, and done or reported at its end.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use super::bounds::MAX_DEVICES;
use super::tar::Entry;
use super::{Budget, Device, EntryError};

/// Mode, owner, time and attributes of a directory: set last, when nothing more changes in it.
#[derive(Debug, Clone)]
pub(crate) struct DirMeta {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Notes about paths (from the root, free of symlinks). Each is paid for.
#[derive(Debug)]
pub(crate) struct Changes {
    pub(crate) budget: Budget,
    /// Directories with an entry.
    pub(crate) dirs: BTreeMap<Vec<u8>, DirMeta>,
    /// Directories without one, made because something is in them.
    pub(crate) implied: BTreeSet<Vec<u8>>,
    /// Directories that hide what is below them.
    pub(crate) opaque: BTreeSet<Vec<u8>>,
    /// Devices, by their paths.
    pub(crate) devices: BTreeMap<Vec<u8>, Device>,
    /// Paths with a whiteout in this layer.
    whited_out: HashSet<Vec<u8>>,
    /// Hard links to files that are not in this layer: their targets, and the order in which they came.
    links: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
    linked: u64,
    /// Files, directories and links in the tree.
    pub(crate) count: u64,
    /// Whether something was unpacked and then removed: the tar cannot be made again from the tree.
    pub(crate) lossy: bool,
}

impl Changes {
    pub(crate) fn new(budget: Budget) -> Self {
        Self {
            budget,
            dirs: BTreeMap::new(),
            implied: BTreeSet::new(),
            opaque: BTreeSet::new(),
            devices: BTreeMap::new(),
            whited_out: HashSet::new(),
            links: BTreeMap::new(),
            linked: 0,
            count: 0,
            lossy: false,
        }
    }

    pub(crate) fn imply(&mut self, path: &[u8]) -> Result<(), EntryError> {
        self.budget.note(path.len())?;
        self.implied.insert(path.to_vec());
        Ok(())
    }

    pub(crate) fn opaque(&mut self, path: &[u8]) -> Result<(), EntryError> {
        self.budget.note(path.len())?;
        self.opaque.insert(path.to_vec());
        Ok(())
    }

    pub(crate) fn white_out(&mut self, path: &[u8]) -> Result<(), EntryError> {
        self.budget.note(path.len())?;
        self.whited_out.insert(path.to_vec());
        Ok(())
    }

    pub(crate) fn is_whited_out(&self, path: &[u8]) -> bool {
        self.whited_out.contains(path)
    }

    /// A directory's entry was read.
    pub(crate) fn describe(&mut self, path: Vec<u8>, entry: Entry) -> Result<(), EntryError> {
        let attributes: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.budget.note(path.len() + attributes)?;
        self.implied.remove(&path);
        let meta = DirMeta {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: (entry.mtime, entry.mtime_ns),
            xattrs: entry.xattrs,
        };
        self.dirs.insert(path, meta);
        Ok(())
    }

    /// A device, which takes the place of an empty file in the end.
    pub(crate) fn device(&mut self, device: Device) -> Result<(), EntryError> {
        self.budget.note(2 * device.path.len())?;
        self.devices.insert(device.path.clone(), device);
        if self.devices.len() as u64 > MAX_DEVICES {
            return Err(EntryError::Limit(format!("more than {MAX_DEVICES} devices")));
        }
        Ok(())
    }

    /// A hard link to a file that is not in this layer.
    pub(crate) fn link(&mut self, path: Vec<u8>, target: Vec<u8>) -> Result<(), EntryError> {
        self.budget.note(path.len() + target.len())?;
        self.linked += 1;
        self.links.insert(path, (self.linked, target));
        Ok(())
    }

    /// Those links as (path, target), in the order in which they came: one may lead to another.
    pub(crate) fn take_links(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut links: Vec<_> = std::mem::take(&mut self.links).into_iter().collect();
        links.sort_unstable_by_key(|(_, (order, _))| *order);
        links.into_iter().map(|(path, (_, target))| (path, target)).collect()
    }

    /// A directory is about to be removed with all below it. What it takes does not depend on what else there is: a layer
    /// may do this as often as it has entries.
    pub(crate) fn forget(&mut self, path: &[u8]) {
        // Nothing sorts between `path/` and what is below it, and the byte after a slash is `0`.
        let below = [path, b"/"].concat()..[path, b"0"].concat();
        for map in [&mut self.implied, &mut self.opaque] {
            map.remove(path);
            let inside: Vec<_> = map.range(below.clone()).cloned().collect();
            for other in &inside {
                map.remove(other);
            }
        }
        forget(&mut self.dirs, path, &below);
        forget(&mut self.devices, path, &below);
        forget(&mut self.links, path, &below);
    }

    pub(crate) fn removed(&mut self, count: u64) {
        self.count -= count;
        self.lossy = true;
    }
}

fn forget<V>(map: &mut BTreeMap<Vec<u8>, V>, path: &[u8], below: &Range<Vec<u8>>) {
    map.remove(path);
    let inside: Vec<_> = map.range(below.clone()).map(|(other, _)| other.clone()).collect();
    for other in &inside {
        map.remove(other);
    }
}

#[cfg(test)]
mod tests;
