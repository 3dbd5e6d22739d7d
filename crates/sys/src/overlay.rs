//! Overlay mounts for containers, made detached: nothing appears in the host's mount table.
//!
//! The lower directories hold what an image's author wrote, so the mount trusts nothing in them:
//! redirects are not followed, metadata-only copies are off, and there is no index. The upper
//! directory is mounted `volatile` (no sync when it is unmounted): a container does not survive a
//! reboot, and syncing it would stall every removal (kernel: Documentation/filesystems/overlayfs.rst). How layers are
//! named to kernels of each age is in docs/adr/0025.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use crate::kernel;

mod idmapped;
mod page;
mod read_only;
mod trial;

pub use idmapped::mount_idmapped;
pub use read_only::{mount_read_only, mount_read_only_idmapped};
pub use trial::{Unfit, trial, trial_idmapped};

/// The most lower layers that the kernel accepts.
pub const MAX_LOWERS: usize = 500;
/// The most bytes that fsconfig takes as a value.
const MAX_VALUE: usize = 255;
/// The first kernel that surely takes lower directories one by one. Those before 6.5 take any option,
/// and refuse it when the overlay is created.
const APPENDS: kernel::Version = (6, 8);
/// What every overlay is mounted with, besides `volatile`.
const OPTIONS: [(&str, &str); 4] =
    [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"), ("xino", "auto")];

/// What to stack.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a> {
    /// Read-only directories, the uppermost first, each once.
    pub lowers: &'a [PathBuf],
    /// Where changes go.
    pub upper: &'a Path,
    /// overlayfs' own directory, on the file system of `upper`.
    pub work: &'a Path,
}

/// Why an overlay could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// No lower directory, or too many.
    #[error("overlay: {0} lower directories, 1 to {MAX_LOWERS} are allowed")]
    Lowers(usize),
    /// More layers than fit in the options of an old kernel.
    #[error("overlay: {0} layers need Linux 6.8 or newer")]
    OldKernel(usize),
    /// A path that cannot be an option's value.
    #[error("overlay: the path {0:?} is over the 255 bytes the kernel takes, or holds a NUL")]
    Path(PathBuf),
    /// The layers lie on a file system that cannot be idmapped.
    #[error("overlay: the layers in {dir} cannot be idmapped: they are on a file system of type {kind}")]
    Unmappable {
        /// The directory that they lie in.
        dir: PathBuf,
        /// The file system's name.
        kind: String,
        /// The error.
        source: Errno,
    },
    /// A step failed.
    #[error("overlay: {step}{detail}")]
    Step {
        /// Which.
        step: &'static str,
        /// What the kernel wrote about it.
        detail: String,
        /// The error.
        source: Errno,
    },
}

/// Mounts an overlay and returns the detached mount.
///
/// # Errors
/// [`OverlayError`], with the kernel's own message where it has one (before 6.5: in its log alone).
pub fn mount(overlay: &Overlay<'_>) -> Result<OwnedFd, OverlayError> {
    if overlay.lowers.is_empty() || overlay.lowers.len() > MAX_LOWERS {
        return Err(OverlayError::Lowers(overlay.lowers.len()));
    }
    if kernel::version() >= APPENDS { mount_appending(overlay) } else { mount_joined(overlay) }
}

fn mount_appending(overlay: &Overlay<'_>) -> Result<OwnedFd, OverlayError> {
    create(|fs| {
        overlay.lowers.iter().try_for_each(|lower| set_path(fs, "lowerdir+", lower))?;
        set_path(fs, "upperdir", overlay.upper)?;
        set_path(fs, "workdir", overlay.work)
    })
}

/// All lower directories in one option, by [`Opened`]: by the mount API if they fit in its limit.
fn mount_joined(overlay: &Overlay<'_>) -> Result<OwnedFd, OverlayError> {
    let lowers = Opened::all(overlay.lowers)?;
    let joined = lowers.joined();
    if joined.len() > MAX_VALUE {
        return page::mount(overlay, None);
    }
    let (upper, work) = (Opened::all(&[overlay.upper])?, Opened::all(&[overlay.work])?);
    create(|fs| {
        set(fs, "lowerdir", &joined)?;
        set(fs, "upperdir", &upper.joined())?;
        set(fs, "workdir", &work.joined())
    })
}

/// An overlay of directories that are open, on a kernel from [`APPENDS`] on.
fn create_opened(lowers: &Opened, upper: &Opened, work: &Opened) -> Result<OwnedFd, OverlayError> {
    create(|fs| {
        lowers.names().iter().try_for_each(|lower| set(fs, "lowerdir+", lower))?;
        set(fs, "upperdir", &upper.joined())?;
        set(fs, "workdir", &work.joined())
    })
}

/// Makes a writable mount by the mount API's descriptors.
fn create(
    set_dirs: impl FnOnce(BorrowedFd<'_>) -> Result<(), OverlayError>,
) -> Result<OwnedFd, OverlayError> {
    create_with(|fs| {
        set_dirs(fs)?;
        fsconfig_set_flag(fs, "volatile").map_err(|e| failed(fs, "volatile", e))
    })
}

fn create_with(
    set_dirs: impl FnOnce(BorrowedFd<'_>) -> Result<(), OverlayError>,
) -> Result<OwnedFd, OverlayError> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(step("fsopen"))?;
    let fs = context.as_fd();
    set_dirs(fs)?;
    for (key, value) in OPTIONS {
        set(fs, key, value)?;
    }
    fsconfig_create(fs).map_err(|e| failed(fs, "create", e))?;
    fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(|e| failed(fs, "fsmount", e))
}

/// Directories that the kernel is told of by descriptor: names under `/proc/self/fd` are short, need no escapes, and name
/// what lies in a detached mount too. They must stay open until the overlay is made.
struct Opened(Vec<OwnedFd>);

impl Opened {
    fn all<P: AsRef<Path>>(dirs: &[P]) -> Result<Opened, OverlayError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |dir: &P| {
            let dir = dir.as_ref();
            rustix::fs::open(dir, flags, Mode::empty()).map_err(|source| OverlayError::Step {
                step: "open",
                detail: format!(" {}", dir.display()),
                source,
            })
        };
        Ok(Opened(dirs.iter().map(open).collect::<Result<_, _>>()?))
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd())).collect()
    }

    /// Their names, separated by colons.
    fn joined(&self) -> String {
        self.names().join(":")
    }
}

fn set(fs: BorrowedFd<'_>, key: &'static str, value: &str) -> Result<(), OverlayError> {
    fsconfig_set_string(fs, key, value).map_err(|e| failed(fs, key, e))
}

fn set_path(fs: BorrowedFd<'_>, key: &'static str, path: &Path) -> Result<(), OverlayError> {
    fsconfig_set_string(fs, key, c_path(path)?.as_c_str()).map_err(|e| failed(fs, key, e))
}

fn c_path(path: &Path) -> Result<CString, OverlayError> {
    let bytes = path.as_os_str().as_bytes();
    match CString::new(bytes) {
        Ok(text) if bytes.len() <= MAX_VALUE => Ok(text),
        _ => Err(OverlayError::Path(path.to_owned())),
    }
}

fn step(step: &'static str) -> impl Fn(Errno) -> OverlayError {
    move |source| OverlayError::Step { step, detail: String::new(), source }
}

/// The step's error with the kernel's own message, which waits in the context's message queue.
fn failed(fs: BorrowedFd<'_>, step: &'static str, source: Errno) -> OverlayError {
    let mut detail = String::new();
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = rustix::io::read(fs, &mut buffer) {
        detail.push_str(": ");
        detail.push_str(String::from_utf8_lossy(&buffer[..length]).trim_end());
        if detail.len() > 4096 {
            break;
        }
    }
    OverlayError::Step { step, detail, source }
}

#[cfg(test)]
mod tests;
