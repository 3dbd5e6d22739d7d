//! Overlays that nothing is written to: of directories that are open, wherever in the layers they lie.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, move_mount};

use super::idmapped::{FROM_DETACHED, Layers};
use super::page::{apart, in_thread, mount_on};
use super::{APPENDS, MAX_LOWERS, MAX_VALUE, OverlayError, create_with, set, step};
use crate::kernel;

/// Mounts an overlay without an upper directory and returns the detached mount. `dirs` are the directories, the uppermost
/// first; one alone the kernel does not take. `place` is any directory of the host: kernels before 6.8 take many directories only
/// in a mount namespace, where they are mounted on it for a moment.
///
/// # Errors
/// [`OverlayError`].
pub fn mount_read_only(dirs: &[OwnedFd], place: &Path) -> Result<OwnedFd, OverlayError> {
    check(dirs)?;
    if kernel::version() >= APPENDS { stack(dirs) } else { mount_joined(dirs, place) }
}

/// The same, with the maps of the user namespace `user` on the owners of all files.
///
/// # Errors
/// [`OverlayError`]; `Unmappable` where the directories' file system cannot be idmapped.
pub fn mount_read_only_idmapped(
    dirs: &[OwnedFd],
    place: &Path,
    user: BorrowedFd<'_>,
) -> Result<OwnedFd, OverlayError> {
    check(dirs)?;
    if kernel::version() >= FROM_DETACHED {
        stack(&mapped(dirs, user)?.opened.0)
    } else {
        in_thread(|| mapped_apart(dirs, place, user))
    }
}

fn check(dirs: &[OwnedFd]) -> Result<(), OverlayError> {
    if dirs.len() < 2 || dirs.len() > MAX_LOWERS { Err(OverlayError::Lowers(dirs.len())) } else { Ok(()) }
}

/// On kernels from [`APPENDS`] on.
fn stack(dirs: &[OwnedFd]) -> Result<OwnedFd, OverlayError> {
    create_with(|fs| names(dirs).iter().try_for_each(|name| set(fs, "lowerdir+", name)))
}

/// All directories in one option.
pub(super) fn mount_joined(dirs: &[OwnedFd], place: &Path) -> Result<OwnedFd, OverlayError> {
    let joined = names(dirs).join(":");
    if joined.len() <= MAX_VALUE {
        return create_with(|fs| set(fs, "lowerdir", &joined));
    }
    in_thread(|| {
        apart()?;
        let dirs =
            dirs.iter().map(again).collect::<Result<Vec<_>, _>>().map_err(step("open a directory again"))?;
        mount_on(place, &format!("lowerdir={}", names(&dirs).join(":")), dirs.len())
    })
}

fn names(dirs: &[OwnedFd]) -> Vec<String> {
    dirs.iter().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd())).collect()
}

/// The directories in an idmapped copy of the mount that they lie on, found there by their paths.
fn mapped(dirs: &[OwnedFd], user: BorrowedFd<'_>) -> Result<Layers, OverlayError> {
    let found = dirs.iter().map(path_of).collect::<Result<Vec<_>, _>>();
    let layers = Layers::mapped(&found.map_err(step("name a directory"))?, user)?;
    let same = dirs.iter().zip(&layers.opened.0).map(|(there, here)| is_same(there, here));
    match same.collect::<Result<Vec<_>, _>>() {
        Ok(same) if same.iter().all(|same| *same) => Ok(layers),
        Ok(_) => Err(step("find a directory again")(Errno::STALE)),
        Err(error) => Err(step("find a directory again")(error)),
    }
}

/// On kernels before [`FROM_DETACHED`], in a thread: their layers must be attached somewhere.
pub(super) fn mapped_apart(
    dirs: &[OwnedFd],
    place: &Path,
    user: BorrowedFd<'_>,
) -> Result<OwnedFd, OverlayError> {
    apart()?;
    let Layers { tree, opened } = mapped(dirs, user)?;
    // Over the root, where no path of the host leads to it.
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(tree.as_fd(), c"", CWD, c"/", flags).map_err(step("attach the idmapped layers"))?;
    if kernel::version() >= APPENDS {
        stack(&opened.0)
    } else {
        mount_on(place, &format!("lowerdir={}", opened.joined()), dirs.len())
    }
}

/// The same directory, reached through this thread's mount namespace.
fn again(dir: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let found = rustix::fs::openat2(CWD, path_of(dir)?, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    if is_same(dir, &found)? { Ok(found) } else { Err(Errno::STALE) }
}

fn path_of(dir: &OwnedFd) -> Result<PathBuf, Errno> {
    let path = rustix::fs::readlink(format!("/proc/self/fd/{}", dir.as_raw_fd()), Vec::new())?;
    Ok(Path::new(std::ffi::OsStr::from_bytes(path.as_bytes())).to_owned())
}

fn is_same(there: &OwnedFd, here: &OwnedFd) -> Result<bool, Errno> {
    let (there, here) = (rustix::fs::fstat(there)?, rustix::fs::fstat(here)?);
    Ok((there.st_dev, there.st_ino) == (here.st_dev, here.st_ino))
}
