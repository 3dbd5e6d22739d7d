//! Overlay mounts for containers, made detached: nothing appears in the host's mount table.
//!
//! The lower directories hold what an image's author wrote, so the mount trusts nothing in them:
//! redirects are not followed, metadata-only copies are off, and there is no index. The upper
//! directory is mounted `volatile` (no sync when it is unmounted): a container does not survive a
//! reboot, and syncing it would stall every removal (kernel: Documentation/filesystems/overlayfs.rst).

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

/// The most lower layers that the kernel accepts.
pub const MAX_LOWERS: usize = 500;
/// The most bytes that fsconfig takes as a value.
const MAX_VALUE: usize = 255;

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
    #[error("overlay: {0} lower directories, 1 to {MAX_LOWERS} are possible")]
    Lowers(usize),
    /// More layers than an old kernel takes by descriptor.
    #[error("overlay: {0} layers need Linux 6.5 or newer")]
    OldKernel(usize),
    /// A path that cannot be an option's value.
    #[error("overlay: the path {0:?} is over the 255 bytes the kernel takes, or holds a NUL")]
    Path(PathBuf),
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
pub fn mount(overlay: &Overlay<'_>) -> Result<OwnedFd, OverlayError> {
    if overlay.lowers.is_empty() || overlay.lowers.len() > MAX_LOWERS {
        return Err(OverlayError::Lowers(overlay.lowers.len()));
    }
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|source| OverlayError::Step {
        step: "fsopen",
        detail: String::new(),
        source,
    })?;
    let fs = context.as_fd();
    let _lowers = set_lowers(fs, overlay.lowers)?;
    set_path(fs, "upperdir", overlay.upper)?;
    set_path(fs, "workdir", overlay.work)?;
    for (key, value) in
        [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"), ("xino", "auto")]
    {
        fsconfig_set_string(fs, key, value).map_err(|e| failed(fs, key, e))?;
    }
    fsconfig_set_flag(fs, "volatile").map_err(|e| failed(fs, "volatile", e))?;
    fsconfig_create(fs).map_err(|e| failed(fs, "create", e))?;
    fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(|e| failed(fs, "fsmount", e))
}

/// One `lowerdir+` for each (Linux 6.5), or all in one `lowerdir`. Returns the descriptors that must
/// stay open until the overlay is created.
fn set_lowers(fs: BorrowedFd<'_>, lowers: &[PathBuf]) -> Result<Vec<OwnedFd>, OverlayError> {
    for (n, lower) in lowers.iter().enumerate() {
        match fsconfig_set_string(fs, "lowerdir+", c_path(lower)?.as_c_str()) {
            Ok(()) => {}
            Err(Errno::INVAL) if n == 0 => return set_lowerdir(fs, lowers),
            Err(e) => return Err(failed(fs, "lowerdir+", e)),
        }
    }
    Ok(Vec::new())
}

/// The older way. The value of a parameter is limited to 255 bytes, so the directories are named by
/// descriptor: `/proc/self/fd/9` and a colon, which makes room for about 15 layers.
fn set_lowerdir(fs: BorrowedFd<'_>, lowers: &[PathBuf]) -> Result<Vec<OwnedFd>, OverlayError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut fds = Vec::with_capacity(lowers.len());
    let mut joined = String::new();
    for lower in lowers {
        let fd = rustix::fs::open(lower, flags, Mode::empty()).map_err(|source| OverlayError::Step {
            step: "open lower directory",
            detail: format!(" {}", lower.display()),
            source,
        })?;
        if !joined.is_empty() {
            joined.push(':');
        }
        joined.push_str(&format!("/proc/self/fd/{}", fd.as_raw_fd()));
        fds.push(fd);
    }
    if joined.len() > MAX_VALUE {
        return Err(OverlayError::OldKernel(lowers.len()));
    }
    fsconfig_set_string(fs, "lowerdir", joined.as_str()).map_err(|e| failed(fs, "lowerdir", e))?;
    Ok(fds)
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

/// The step's error with the kernel's own words, which wait in the context's message queue.
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
