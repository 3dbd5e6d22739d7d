//! Finding a file in a stack of layers as overlayfs would show it, without mounting it.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// Symlinks followed for one path.
const MAX_LINKS: usize = 40;
/// The attribute of a directory that hides what is below it.
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";

/// What is at a path.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its path in the stack, free of symlinks.
    pub(crate) path: Vec<u8>,
    /// The directory of the layer that has it, and its name there (`.` for the root).
    pub(crate) dir: OwnedFd,
    pub(crate) name: Vec<u8>,
    pub(crate) stat: Stat,
    /// For a directory: the same directory in every layer that it is merged from, the uppermost first.
    pub(crate) merged: Vec<OwnedFd>,
}

impl Found {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Opens a regular file for reading.
    pub(crate) fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.dir, &self.name[..], flags, Mode::empty())?.into())
    }
}

/// The most looks at layers on the way to what is looked up in one stack: half a minute of them. A layer of a few bytes can
/// ask for deep paths in hundreds of layers.
const MAX_STEPS: u64 = 50_000_000;

/// Looking things up takes too long.
#[derive(Debug, thiserror::Error)]
#[error("the layer changes too much of the layers below")]
pub(crate) struct TooManySteps;

/// A stack of layers, the uppermost first.
#[derive(Debug)]
pub(crate) struct Stack<'a> {
    layers: &'a [PathBuf],
    steps: Cell<u64>,
}

impl<'a> Stack<'a> {
    pub(crate) fn new(layers: &'a [PathBuf]) -> Self {
        Self::bounded(layers, MAX_STEPS)
    }

    /// With a bound of its own on the looks.
    pub(crate) fn bounded(layers: &'a [PathBuf], steps: u64) -> Self {
        Self { layers, steps: Cell::new(steps) }
    }

    /// What is at `name` in a merged directory.
    fn step(&self, dir: &Found, name: &[u8]) -> io::Result<Option<Found>> {
        self.take_steps(dir.merged.len())?;
        step(dir, name)
    }

    fn take_steps(&self, number: usize) -> io::Result<()> {
        let left = self.steps.get().checked_sub(number as u64);
        self.steps.set(left.ok_or_else(|| io::Error::other(TooManySteps))?);
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    fn root(&self) -> io::Result<Found> {
        let open = |path: &PathBuf| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from)
        };
        self.take_steps(self.layers.len())?;
        let merged = self.layers.iter().map(open).collect::<io::Result<Vec<_>>>()?;
        let first = merged.first().ok_or(io::ErrorKind::NotFound)?;
        let stat = rustix::fs::fstat(first)?;
        let dir = first.try_clone()?;
        Ok(Found { path: Vec::new(), dir, name: b".".to_vec(), stat, merged })
    }

    /// What is at `path`; symlinks on the way are followed inside the stack, and the last one only with `follow`. `None`
    /// when nothing is there, also when the path leads through something that is not a directory.
    pub(crate) fn find(&self, path: &Path, follow: bool) -> io::Result<Option<Found>> {
        use std::os::unix::ffi::OsStrExt;
        let mut rest: Vec<Vec<u8>> = parts(path.as_os_str().as_bytes());
        let mut now = self.root()?;
        let mut links = 0;
        while let Some(part) = rest.pop() {
            if part == b".." {
                let parent = parent(&now.path).to_vec();
                now = self.walk(&parent)?;
                continue;
            }
            if now.kind() != FileType::Directory {
                return Ok(None);
            }
            let Some(next) = self.step(&now, &part)? else { return Ok(None) };
            if next.kind() == FileType::Symlink && (follow || !rest.is_empty()) {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP.into());
                }
                let target = rustix::fs::readlinkat(&next.dir, &next.name[..], Vec::new())?;
                if target.as_bytes().starts_with(b"/") {
                    now = self.root()?;
                }
                rest.extend(parts(target.as_bytes()));
                continue;
            }
            now = next;
        }
        Ok(Some(now))
    }

    /// A directory by its path free of symlinks.
    fn walk(&self, path: &[u8]) -> io::Result<Found> {
        let mut now = self.root()?;
        for part in parts(path).iter().rev() {
            now = self.step(&now, part)?.ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(now)
    }
}

/// The components, the last first.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let mut parts: Vec<_> =
        path.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".").map(<[u8]>::to_vec).collect();
    parts.reverse();
    parts
}

fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|b| *b == b'/').map_or(b"", |slash| &path[..slash])
}

/// What is at `name` in a merged directory.
fn step(dir: &Found, name: &[u8]) -> io::Result<Option<Found>> {
    let mut path = dir.path.clone();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    let mut found: Option<Found> = None;
    for layer in &dir.merged {
        let stat = match rustix::fs::statat(layer, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(e) => return Err(e.into()),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let whiteout = kind == FileType::CharacterDevice && stat.st_rdev == 0;
        if kind != FileType::Directory {
            if found.is_none() && !whiteout {
                let (dir, name) = (layer.try_clone()?, name.to_vec());
                found = Some(Found { path: path.clone(), dir, name, stat, merged: Vec::new() });
            }
            break;
        }
        let below = open_dir(layer, name)?;
        let opaque = is_opaque(layer, name)?;
        match &mut found {
            Some(found) => found.merged.push(below),
            None => {
                let (dir, name) = (layer.try_clone()?, name.to_vec());
                found = Some(Found { path: path.clone(), dir, name, stat, merged: vec![below] });
            }
        }
        if opaque {
            break;
        }
    }
    Ok(found)
}

fn open_dir(dir: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve)?)
}

fn is_opaque(dir: &OwnedFd, name: &[u8]) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let fd = rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve)?;
    let mut value = [0; 8];
    match rustix::fs::fgetxattr(&fd, OPAQUE, &mut value) {
        Ok(length) => Ok(&value[..length] == b"y"),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(false),
        Err(Errno::RANGE) => Ok(false),
        Err(e) => Err(e.into()),
    }
}
