//! Overlays that need a place in a mount table: that of a namespace which a thread makes for itself and which ends with it.
//!
//! One is of more layers than a value of fsconfig(2) holds, on kernels that take all of them in one: mount(2) has a page for
//! its options. The other is of idmapped layers on kernels that take none from a detached mount.

use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, move_mount, open_tree,
};

use super::idmapped::Layers;
use super::{APPENDS, OPTIONS, Opened, Overlay, OverlayError, create_opened, step};
use crate::{kernel, namespace};

/// The most bytes of options, their end included.
const PAGE: usize = 4096;

/// Mounts an overlay, with the maps of the user namespace `user` on its layers if one is given, and returns the detached
/// mount.
pub(super) fn mount(overlay: &Overlay<'_>, user: Option<BorrowedFd<'_>>) -> Result<OwnedFd, OverlayError> {
    in_thread(|| mount_apart(overlay, user))
}

/// Runs this in a thread of its own, which may leave the process' mount namespace.
pub(super) fn in_thread(
    work: impl FnOnce() -> Result<OwnedFd, OverlayError> + Send,
) -> Result<OwnedFd, OverlayError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("overlay".to_owned());
        let thread = thread.spawn_scoped(scope, work).map_err(|source| {
            step("start a thread")(Errno::from_io_error(&source).unwrap_or(Errno::AGAIN))
        })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// In the thread: a mount namespace of its own, from which nothing is seen outside.
pub(super) fn apart() -> Result<(), OverlayError> {
    namespace::unshare(namespace::MOUNT).map_err(step("new mount namespace"))?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(step("make mounts private"))
}

/// In the thread: the directories are opened in its own mount namespace: overlayfs takes none of another's. The mount is
/// made over the work directory there, and taken out of it.
fn mount_apart(overlay: &Overlay<'_>, user: Option<BorrowedFd<'_>>) -> Result<OwnedFd, OverlayError> {
    apart()?;
    let lowers = match user {
        None => Opened::all(overlay.lowers)?,
        Some(user) => {
            let Layers { tree, opened } = Layers::mapped(overlay.lowers, user)?;
            // Over the root, where no path of the host leads to it.
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(tree.as_fd(), c"", CWD, c"/", flags).map_err(step("attach the idmapped layers"))?;
            opened
        }
    };
    let (upper, work) = (Opened::all(&[overlay.upper])?, Opened::all(&[overlay.work])?);
    if user.is_some() && kernel::version() >= APPENDS {
        return create_opened(&lowers, &upper, &work);
    }
    let dirs = format!(
        "lowerdir={},upperdir={},workdir={},volatile",
        lowers.joined(),
        upper.joined(),
        work.joined()
    );
    mount_on(overlay.work, &dirs, overlay.lowers.len())
}

/// Makes the mount by mount(2) over `place`, in a mount namespace that its `layers` directories were opened in, and takes it out
/// of there.
pub(super) fn mount_on(place: &Path, dirs: &str, layers: usize) -> Result<OwnedFd, OverlayError> {
    let rest: String = OPTIONS.iter().map(|(key, value)| format!(",{key}={value}")).collect();
    let options = format!("{dirs}{rest}");
    if options.len() >= PAGE {
        return Err(OverlayError::OldKernel(layers));
    }
    let options = CString::new(options).expect("numbers and words hold no NUL");
    rustix::mount::mount("overlay", place, "overlay", MountFlags::empty(), options.as_c_str())
        .map_err(step("mount"))?;
    open_tree(CWD, place, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .map_err(step("open_tree"))
}
