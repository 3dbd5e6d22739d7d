//! An image, or a part of it, as a volume: what of its layers is to be mounted (docs/adr/0089).
//!
//! A path in the image is looked up by overlayfs' rules in the layers themselves, its links followed inside the image, and what is
//! found is given as descriptors. So nothing is mounted to look into it, no link leads out, and between the look and the
//! mount nothing can be put in its place. A directory is a stack again: the same directory of each layer that has it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use berth_types::{Classify, Kind};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use super::Images;
use super::lookup::Stack;

/// The most looks at layers for one path: a second of them. A container may have many volumes.
const MAX_STEPS: u64 = 200_000;

/// What a volume is mounted from.
#[derive(Debug)]
pub enum Volume {
    /// Directories for an overlay, the uppermost first: at least two.
    Stack(Vec<OwnedFd>),
    /// A file, or the directory that has nothing in it.
    Single(OwnedFd),
}

/// Why an image cannot be a volume.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// It has nothing at this path.
    #[error("the image has no {0:?}")]
    NoSuchPath(PathBuf),
    /// A device, a pipe or a socket.
    #[error("{0:?} is neither a directory nor a file in the image")]
    Special(PathBuf),
    /// A system call failed.
    #[error("look up {path:?} in the image")]
    Io {
        /// Where in the image.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl Classify for VolumeError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoSuchPath(_) | Self::Special(_) => Kind::Invalid,
            Self::Io { .. } => Kind::Internal,
        }
    }
}

impl Images {
    /// What is at `path` of an image with these layers, the uppermost first; an empty path is all of it. The layers must be kept
    /// by a snapshot until it is mounted.
    ///
    /// # Errors
    /// [`VolumeError`].
    pub fn volume(&self, lowers: &[PathBuf], path: &Path) -> Result<Volume, VolumeError> {
        let failed = |source| VolumeError::Io { path: path.to_owned(), source };
        let found = Stack::bounded(lowers, MAX_STEPS).find(path, true).map_err(failed)?;
        let found = found.ok_or_else(|| VolumeError::NoSuchPath(path.to_owned()))?;
        match found.kind() {
            FileType::Directory => self.stack(found.merged).map_err(failed),
            FileType::RegularFile => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
                let file = rustix::fs::openat2(&found.dir, &found.name[..], flags, Mode::empty(), resolve);
                file.map(Volume::Single).map_err(|e| failed(e.into()))
            }
            _ => Err(VolumeError::Special(path.to_owned())),
        }
    }

    /// An overlay that nothing is written to needs two directories: below a single one lies one with nothing in it.
    fn stack(&self, mut dirs: Vec<OwnedFd>) -> std::io::Result<Volume> {
        if let [only] = &dirs[..] {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let empty = rustix::fs::open(self.layout().empty(), flags, Mode::empty())?;
            let (a, b) = (rustix::fs::fstat(only)?, rustix::fs::fstat(&empty)?);
            if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino) {
                return Ok(Volume::Single(empty));
            }
            dirs.push(empty);
        }
        Ok(Volume::Stack(dirs))
    }
}
