//! Overlays that nothing is written to: of directories that are open, wherever in the layers they lie.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, OpenTreeFlags, mount_change, open_tree};

use super::{APPENDS, MAX_LOWERS, MAX_VALUE, OPTIONS, OverlayError, create_with, set, step};
use crate::{kernel, namespace};

/// The most bytes of options that mount(2) takes, their end included.
const PAGE: usize = 4096;

/// Mounts an overlay without an upper directory and returns the detached mount. `dirs` are the directories, the uppermost
/// first; one alone the kernel does not take. `place` is any directory of the host: kernels before 6.8 take many directories only
/// in a mount namespace, where they are mounted on it for a moment.
///
/// # Errors
/// [`OverlayError`].
pub fn mount_read_only(dirs: &[OwnedFd], place: &Path) -> Result<OwnedFd, OverlayError> {
    if dirs.len() < 2 || dirs.len() > MAX_LOWERS {
        return Err(OverlayError::Lowers(dirs.len()));
    }
    if kernel::version() >= APPENDS {
        return create_with(|fs| names(dirs).iter().try_for_each(|name| set(fs, "lowerdir+", name)));
    }
    mount_joined(dirs, place)
}

/// All directories in one option.
pub(super) fn mount_joined(dirs: &[OwnedFd], place: &Path) -> Result<OwnedFd, OverlayError> {
    let joined = names(dirs).join(":");
    if joined.len() <= MAX_VALUE {
        return create_with(|fs| set(fs, "lowerdir", &joined));
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("overlay".to_owned());
        let thread = thread.spawn_scoped(scope, || mount_apart(dirs, place)).map_err(|source| {
            step("start a thread")(Errno::from_io_error(&source).unwrap_or(Errno::AGAIN))
        })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn names(dirs: &[OwnedFd]) -> Vec<String> {
    dirs.iter().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd())).collect()
}

/// In the thread: the mount is made in a mount namespace of its own and taken out of it. The directories are opened
/// there once more: overlayfs takes none of another namespace's.
fn mount_apart(dirs: &[OwnedFd], place: &Path) -> Result<OwnedFd, OverlayError> {
    namespace::unshare(namespace::MOUNT).map_err(step("new mount namespace"))?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(step("make mounts private"))?;
    let dirs =
        dirs.iter().map(again).collect::<Result<Vec<_>, _>>().map_err(step("open a directory again"))?;
    let options: String = OPTIONS.iter().map(|(key, value)| format!(",{key}={value}")).collect();
    let options = format!("lowerdir={}{options}", names(&dirs).join(":"));
    if options.len() >= PAGE {
        return Err(OverlayError::OldKernel(dirs.len()));
    }
    let options = CString::new(options).expect("numbers and words hold no NUL");
    rustix::mount::mount("overlay", place, "overlay", MountFlags::empty(), options.as_c_str())
        .map_err(step("mount"))?;
    open_tree(CWD, place, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .map_err(step("open_tree"))
}

/// The same directory, reached through this thread's mount namespace.
fn again(dir: &OwnedFd) -> Result<OwnedFd, Errno> {
    let path = rustix::fs::readlink(format!("/proc/self/fd/{}", dir.as_raw_fd()), Vec::new())?;
    let path = Path::new(std::ffi::OsStr::from_bytes(path.as_bytes())).to_owned();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let found = rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    let (there, here) = (rustix::fs::fstat(dir)?, rustix::fs::fstat(&found)?);
    let same = (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino);
    if same { Ok(found) } else { Err(Errno::STALE) }
}
