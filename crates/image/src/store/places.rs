//! Where on the disk trees were deleted a moment ago.
//!
//! ext4 without a journal does not use an inode again for half a minute after its file was deleted, and looks
//! at each such inode for each new file in the same part of the disk. A layer that is unpacked where one was
//! just deleted takes twice the time, so it is begun elsewhere: the staging directory has the flag that makes ext4 lay
//! its subdirectories apart (`chattr +T`), and the parts where something was deleted are remembered and avoided. Both
//! are hints; on other file systems they change nothing. Deleting later is no way out: who removes an image wants the
//! disk at once.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a part of the disk is avoided.
const AVOIDED: Duration = Duration::from_secs(40);
/// Deletions remembered; the oldest are forgotten first.
const MAX: usize = 1000;
/// How often another part is looked for.
const TRIES: u32 = 16;
/// Inodes with the same number above these bits lie together: 16 groups of 8,192 are what mke2fs makes.
const TOGETHER: u32 = 17;

/// What was deleted lately.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<VecDeque<(u64, Instant)>>);

impl Places {
    /// Everything below `dir` is about to be deleted.
    pub(crate) fn deleted(&self, dir: &Path) {
        let Ok(found) = std::fs::symlink_metadata(dir) else { return };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push_back((place(found.ino()), Instant::now()));
        if all.len() > MAX {
            all.pop_front();
        }
    }

    /// Makes the directory `base.0`, or `base.1` and so on, in a part of the disk where nothing was deleted lately;
    /// after [`TRIES`] it is anywhere.
    pub(crate) fn make_apart(&self, base: &Path) -> io::Result<PathBuf> {
        let mut tried = 0;
        loop {
            let mut name = base.as_os_str().to_owned();
            name.push(format!(".{tried}"));
            let path = PathBuf::from(name);
            std::fs::DirBuilder::new().mode(0o700).create(&path)?;
            tried += 1;
            if tried == TRIES || self.is_quiet(std::fs::symlink_metadata(&path)?.ino()) {
                return Ok(path);
            }
            std::fs::remove_dir(&path)?;
        }
    }

    fn is_quiet(&self, inode: u64) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, at)| at.elapsed() < AVOIDED);
        !all.iter().any(|(busy, _)| *busy == place(inode))
    }
}

fn place(inode: u64) -> u64 {
    inode >> TOGETHER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_busy_after_a_deletion_and_only_there() {
        let dir = tempfile::tempdir().unwrap();
        let inode = std::fs::metadata(dir.path()).unwrap().ino();
        let places = Places::default();
        assert!(places.is_quiet(inode));
        places.deleted(dir.path());
        assert!(!places.is_quiet(inode));
        assert!(places.is_quiet(inode + (1 << TOGETHER)));
    }

    #[test]
    fn when_every_place_is_busy_a_directory_is_made_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::default();
        places.deleted(dir.path());
        // Beside each other in a directory without the flag, all of them lie in the busy place or in none.
        let made = places.make_apart(&dir.path().join("1.0")).unwrap();
        assert!(made.is_dir());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::default();
        for _ in 0..MAX + 5 {
            places.deleted(dir.path());
        }
        assert_eq!(places.0.lock().unwrap().len(), MAX);
    }
}
