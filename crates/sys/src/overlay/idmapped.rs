//! Overlays whose layers show the owners that a user namespace gives them: nothing of an image is copied or changes hands.
//!
//! The layers are seen through one idmapped copy of the mount that they lie on; overlayfs itself cannot be idmapped. The
//! upper directory is not: what is written there has the ids of the user namespace on the disk too. Needs Linux 5.19, and a
//! file system of the layers that can be idmapped.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::{MAX_LOWERS, Opened, Overlay, OverlayError, create_opened, page, trial};
use crate::kernel;
use crate::mount::{self, Change};

/// The first kernel whose overlayfs takes layers from detached mounts.
pub(super) const FROM_DETACHED: kernel::Version = (6, 15);

/// Mounts an overlay whose layers have the maps of the user namespace `user`, and returns the detached mount.
///
/// # Errors
/// Those of [`super::mount`]; [`OverlayError::Unmappable`] where the layers' file system cannot be idmapped.
pub fn mount_idmapped(overlay: &Overlay<'_>, user: BorrowedFd<'_>) -> Result<OwnedFd, OverlayError> {
    if overlay.lowers.is_empty() || overlay.lowers.len() > MAX_LOWERS {
        return Err(OverlayError::Lowers(overlay.lowers.len()));
    }
    if kernel::version() >= FROM_DETACHED { direct(overlay, user) } else { page::mount(overlay, Some(user)) }
}

/// On kernels from [`FROM_DETACHED`] on.
pub(super) fn direct(overlay: &Overlay<'_>, user: BorrowedFd<'_>) -> Result<OwnedFd, OverlayError> {
    let layers = Layers::mapped(overlay.lowers, user)?;
    let (upper, work) = (Opened::all(&[overlay.upper])?, Opened::all(&[overlay.work])?);
    create_opened(&layers.opened, &upper, &work)
}

/// Lower directories in a detached mount.
pub(super) struct Layers {
    /// The mount.
    pub(super) tree: OwnedFd,
    /// The directories in it.
    pub(super) opened: Opened,
}

impl Layers {
    /// The directories `lowers` with the maps of `user`.
    pub(super) fn mapped(lowers: &[PathBuf], user: BorrowedFd<'_>) -> Result<Self, OverlayError> {
        let above = common(lowers);
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, &above, flags).map_err(|source| OverlayError::Step {
            step: "open",
            detail: format!(" {}", above.display()),
            source,
        })?;
        let mapped = Change { idmap: Some(user), ..Change::default() };
        mount::change(tree.as_fd(), c"", mapped).map_err(|source| OverlayError::Unmappable {
            kind: trial::kind(&above),
            dir: above.clone(),
            source,
        })?;
        let open = |lower: &PathBuf| within(tree.as_fd(), &above, lower);
        let opened = lowers.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { tree, opened: Opened(opened) })
    }
}

/// The directory `lower` in a copy of the mount at `above`, which must be the same: the copy lacks what is mounted below it.
fn within(tree: BorrowedFd<'_>, above: &Path, lower: &Path) -> Result<OwnedFd, OverlayError> {
    let failed = |source| OverlayError::Step {
        step: "find",
        detail: format!(" {} in the idmapped mount", lower.display()),
        source,
    };
    let name = lower.strip_prefix(above).unwrap_or(lower);
    let name = if name.as_os_str().is_empty() { Path::new(".") } else { name };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let found = rustix::fs::openat2(tree, name.as_os_str().as_bytes(), flags, Mode::empty(), resolve)
        .map_err(failed)?;
    let (ours, theirs) =
        (rustix::fs::fstat(&found).map_err(failed)?, rustix::fs::stat(lower).map_err(failed)?);
    if (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino) {
        Ok(found)
    } else {
        Err(failed(rustix::io::Errno::XDEV))
    }
}

/// The deepest directory that all of these lie in, or are.
fn common(dirs: &[PathBuf]) -> PathBuf {
    let Some((first, rest)) = dirs.split_first() else { return PathBuf::from("/") };
    let mut common = first.clone();
    for dir in rest {
        while !dir.starts_with(&common) && common.pop() {}
    }
    common
}

#[cfg(test)]
mod tests;
