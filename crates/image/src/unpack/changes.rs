//! What is noted while a layer is unpacked, and done or reported at its end.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::tar::Entry;

/// Mode, owner, time and attributes of a directory: set last, when nothing more changes in it.
#[derive(Debug, Clone)]
pub(crate) struct DirMeta {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Notes about paths (from the root, free of symlinks).
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Directories with an entry.
    pub(crate) dirs: BTreeMap<Vec<u8>, DirMeta>,
    /// Directories without one, made because something is in them.
    pub(crate) implied: BTreeSet<Vec<u8>>,
    /// Directories that hide what is below them.
    pub(crate) opaque: BTreeSet<Vec<u8>>,
    /// Paths with a whiteout in this layer.
    whited_out: HashSet<Vec<u8>>,
    /// Hard links to files that are not in this layer: (path, target).
    pub(crate) links: Vec<(Vec<u8>, Vec<u8>)>,
    /// Files, directories and links in the tree.
    pub(crate) count: u64,
    /// Whether something was unpacked and then removed: the tar cannot be made again from the tree.
    pub(crate) lossy: bool,
}

impl Changes {
    pub(crate) fn imply(&mut self, path: &[u8]) {
        self.implied.insert(path.to_vec());
    }

    pub(crate) fn opaque(&mut self, path: &[u8]) {
        self.opaque.insert(path.to_vec());
    }

    pub(crate) fn white_out(&mut self, path: &[u8]) {
        self.whited_out.insert(path.to_vec());
    }

    pub(crate) fn is_whited_out(&self, path: &[u8]) -> bool {
        self.whited_out.contains(path)
    }

    /// A directory's entry was read.
    pub(crate) fn describe(&mut self, path: Vec<u8>, entry: Entry) {
        self.implied.remove(&path);
        let meta = DirMeta {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: (entry.mtime, entry.mtime_ns),
            xattrs: entry.xattrs,
        };
        self.dirs.insert(path, meta);
    }

    /// A directory is about to be removed with all below it.
    pub(crate) fn forget(&mut self, path: &[u8]) {
        let below = |other: &[u8]| {
            other.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        self.dirs.retain(|other, _| !below(other));
        self.implied.retain(|other| !below(other));
        self.opaque.retain(|other| !below(other));
        self.links.retain(|(other, _)| !below(other));
    }

    pub(crate) fn removed(&mut self, count: u64) {
        self.count -= count;
        self.lossy = true;
    }
}
