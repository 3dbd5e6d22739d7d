//! Volumes of which a container sees a part: what is at a path in them.
//!
//! The path may lead through links that the pod made, so it is resolved once, within the volume, and what was found is
//! mounted: a detached mount, as that of an image volume ([`super::volumes`]).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use berth_sys::fs::open_or_make_below;
use berth_sys::mount::{self, Change};
use rustix::fs::{Mode, OFlags};

use crate::error::EngineError;
use crate::handler::Detached;
use crate::model::{ContainerConfig, Mount, Propagation};

pub(super) fn of(config: &ContainerConfig) -> impl Iterator<Item = &Mount> {
    config.mounts.iter().filter(|mount| is_part(mount))
}

fn is_part(mount: &Mount) -> bool {
    mount.image.is_none() && !mount.sub_path.as_os_str().is_empty()
}

/// Names the place of each mount, below the container's directory. Its mount comes with its mappings.
pub(super) fn set_sources(config: &mut ContainerConfig, dir: &Path) {
    for (number, mount) in config.mounts.iter_mut().filter(|mount| is_part(mount)).enumerate() {
        mount.host_path = source(dir, number);
        (mount.uids, mount.gids) = (Vec::new(), Vec::new());
    }
}

fn source(dir: &Path, number: usize) -> PathBuf {
    dir.join("sub-paths").join(number.to_string())
}

/// Makes the mounts; `user` is the pod's user namespace.
///
/// # Errors
/// A path leads out of its volume, or a mount cannot be made.
pub(super) fn mount(
    config: &ContainerConfig,
    dir: &Path,
    user: Option<BorrowedFd<'_>>,
) -> Result<Vec<Detached>, EngineError> {
    let make = |(number, of): (usize, &Mount)| {
        if of.propagation == Propagation::Bidirectional {
            let message =
                format!("{}: a part of a volume cannot be Bidirectional", of.container_path.display());
            return Err(EngineError::unsupported("mounts", message));
        }
        let user = user.filter(|_| !of.uids.is_empty());
        let made = detached(of, user).map_err(|e| {
            let (path, volume) = (of.sub_path.display(), of.host_path.display());
            let why = match e.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
                Some(rustix::io::Errno::XDEV) => "it leads out of the volume".to_owned(),
                _ => e.to_string(),
            };
            EngineError::invalid("mounts", format!("{path:?} in the volume {volume}: {why}"))
        })?;
        Ok(Detached { source: source(dir, number), mount: made })
    };
    of(config).enumerate().map(make).collect()
}

fn detached(of: &Mount, user: Option<BorrowedFd<'_>>) -> std::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let volume = rustix::fs::open(&of.host_path, flags, Mode::empty())?;
    let found = open_or_make_below(volume.as_fd(), &of.sub_path)?;
    let made = mount::clone_tree(found.as_fd(), true)?;
    // What is unmounted in the copy stays mounted on the host.
    let change = Change { propagation: mount::SLAVE, recursive: true, idmap: user, ..Change::default() };
    mount::change(made.as_fd(), c"", change)?;
    Ok(made)
}
