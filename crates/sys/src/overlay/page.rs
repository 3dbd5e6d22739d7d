//! Overlays of more layers than a value of fsconfig(2) holds, on kernels that take all of them in one.
//!
//! mount(2) has a page for its options, but needs a place in a mount table: that of a namespace which a
//! thread makes for itself and which ends with it.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, OpenTreeFlags, mount_change, open_tree};

use super::{OPTIONS, Opened, Overlay, OverlayError, step};
use crate::namespace;

/// The most bytes of options, their end included.
const PAGE: usize = 4096;

/// Mounts an overlay and returns the detached mount.
pub(super) fn mount(overlay: &Overlay<'_>) -> Result<OwnedFd, OverlayError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("overlay".to_owned());
        let thread = thread.spawn_scoped(scope, || mount_apart(overlay)).map_err(|source| {
            step("start a thread")(Errno::from_io_error(&source).unwrap_or(Errno::AGAIN))
        })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The options as mount(2) takes them, if they fit.
fn options(lowers: &Opened, upper: &Opened, work: &Opened) -> Option<CString> {
    let rest: String = OPTIONS.iter().map(|(key, value)| format!(",{key}={value}")).collect();
    let all = format!(
        "lowerdir={},upperdir={},workdir={}{rest},volatile",
        lowers.joined(),
        upper.joined(),
        work.joined()
    );
    (all.len() < PAGE).then(|| CString::new(all).expect("numbers and words hold no NUL"))
}

/// In the thread: the mount is made over the work directory of a mount namespace of its own, and taken out
/// of it. The directories are opened there: overlayfs takes none of another namespace's.
fn mount_apart(overlay: &Overlay<'_>) -> Result<OwnedFd, OverlayError> {
    namespace::unshare(namespace::MOUNT).map_err(step("new mount namespace"))?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(step("make mounts private"))?;
    let lowers = Opened::all(overlay.lowers)?;
    let (upper, work) = (Opened::all(&[overlay.upper])?, Opened::all(&[overlay.work])?);
    let options = options(&lowers, &upper, &work).ok_or(OverlayError::OldKernel(overlay.lowers.len()))?;
    rustix::mount::mount("overlay", overlay.work, "overlay", MountFlags::empty(), options.as_c_str())
        .map_err(step("mount"))?;
    open_tree(CWD, overlay.work, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .map_err(step("open_tree"))
}
