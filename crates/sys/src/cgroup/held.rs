//! A group that stays the one it was, whatever its name stands for by now.
//!
//! Groups are known by path, and a path may be another group's as soon as one was removed. A directory's inode number is its
//! group's alone (kernfs gives none twice), and what goes through an open directory reaches that group or, once it was
//! removed, nothing.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::group::{Member, open};
use super::remove::{BUSY_LIMIT, remove_tree};
use super::{Cgroup, CgroupError};

/// One group in all hierarchies, held by open directories.
#[derive(Debug)]
pub struct Held {
    /// With paths through the descriptors.
    group: Cgroup,
    places: Vec<Place>,
}

/// Its directory in one hierarchy.
#[derive(Debug)]
struct Place {
    name: PathBuf,
    number: u64,
    dir: OwnedFd,
}

impl Place {
    /// The directory of that name now; None when there is none.
    fn open(name: &Path) -> Result<Option<Self>, CgroupError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let dir = match open(name, flags) {
            Ok(dir) => dir,
            Err(CgroupError::Io { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let stat = rustix::fs::fstat(&dir).map_err(CgroupError::io("look at", name))?;
        Ok(Some(Self { name: name.to_owned(), number: stat.st_ino, dir }))
    }

    /// A path that leads to it, or to nothing when it was removed. The dot has it be a directory, not a link to one.
    fn through(&self) -> PathBuf {
        format!("/proc/self/fd/{}/.", self.dir.as_raw_fd()).into()
    }

    /// Whether the name is still its own.
    fn has_its_name(&self) -> bool {
        std::fs::symlink_metadata(&self.name).is_ok_and(|there| there.ino() == self.number)
    }
}

impl Cgroup {
    /// Holds the group as it is now.
    ///
    /// # Errors
    /// Those of opening a directory, also that it does not exist.
    pub fn hold(&self) -> Result<Held, CgroupError> {
        let mut held = Held { group: Cgroup { members: Vec::new() }, places: Vec::new() };
        for member in &self.members {
            let place = Place::open(&member.dir)?;
            let place = place.ok_or_else(|| CgroupError::io("open", &member.dir)(Errno::NOENT))?;
            held.group.members.push(Member { dir: place.through(), ..member.clone() });
            held.places.push(place);
        }
        Ok(held)
    }
}

impl Held {
    /// The group that these directories were: each with the number that [`Held::numbers`] gave, or None for whatever is there
    /// now. One that was removed, or whose name is another's, counts as empty.
    ///
    /// # Errors
    /// Those of opening a directory.
    pub fn find(known: impl IntoIterator<Item = (PathBuf, Option<u64>)>) -> Result<Self, CgroupError> {
        let mut held = Self { group: Cgroup { members: Vec::new() }, places: Vec::new() };
        for (name, number) in known {
            let place = Place::open(&name)?.filter(|place| number.is_none_or(|n| n == place.number));
            if let Some(place) = place {
                held.group.members.push(Member::probe(place.through(), &name));
                held.places.push(place);
            }
        }
        Ok(held)
    }

    /// The number of each directory, in the order of [`Cgroup::dirs`].
    pub fn numbers(&self) -> Vec<u64> {
        self.places.iter().map(|place| place.number).collect()
    }

    /// Has `act` do something with the group: not with its name, which `act` does not learn. Errors name it.
    ///
    /// # Errors
    /// Those of `act`.
    pub fn with<T>(&self, act: impl FnOnce(&Cgroup) -> Result<T, CgroupError>) -> Result<T, CgroupError> {
        act(&self.group).map_err(|error| error.with_paths(&|path| self.named(path)))
    }

    /// Removes the group with all below it, where its name is still its own.
    ///
    /// # Errors
    /// As [`Cgroup::remove`].
    pub fn remove(&self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + BUSY_LIMIT;
        let remove = |place: &Place| {
            remove_tree(&place.name, &place.through(), || place.has_its_name(), deadline).err()
        };
        let failed: Vec<_> = self.places.iter().filter_map(remove).collect();
        CgroupError::all(failed).map_err(|error| error.with_paths(&|path| self.named(path)))
    }

    /// What a path through a descriptor is called.
    fn named(&self, path: PathBuf) -> PathBuf {
        let name = |place: &Place| Some(place.name.join(path.strip_prefix(place.through()).ok()?));
        let found = self.places.iter().find_map(name);
        // Joining nothing leaves a slash behind.
        found.map_or(path, |named| named.components().collect())
    }
}
