//! Whether a directory can hold what containers change.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use berth_types::{Classify, Kind};

use super::{Overlay, OverlayError, mount, mount_idmapped};

/// Why containers' changes cannot be kept in a directory.
#[derive(Debug, thiserror::Error)]
#[error(
    "{dir} is on a file system that overlayfs cannot use as its upper directory ({kind}); use ext4, xfs, btrfs or tmpfs (in a container, a volume)"
)]
pub struct Unfit {
    dir: String,
    kind: String,
    source: io::Error,
}

impl Classify for Unfit {
    fn kind(&self) -> Kind {
        Kind::Precondition
    }
}

/// Mounts an overlay below `dir`, which must be the caller's own, and takes it away again.
///
/// # Errors
/// [`Unfit`], on a file system without what overlayfs needs: another overlay, as in a container without
/// a volume, NFS, FAT, xfs without `ftype`.
pub fn trial(dir: &Path) -> Result<(), Unfit> {
    let outcome = attempt(&dir.join("trial"), &|overlay| mount(overlay));
    outcome.map_err(|source| Unfit { dir: dir.display().to_string(), kind: kind(dir), source })
}

/// The same with layers that have the maps of the user namespace `user`.
///
/// # Errors
/// What is missing for that: the kernel's support, or that of the file system.
pub fn trial_idmapped(dir: &Path, user: BorrowedFd<'_>) -> io::Result<()> {
    attempt(&dir.join("trial-idmapped"), &|overlay| mount_idmapped(overlay, user))
}

type Way<'a> = &'a dyn Fn(&Overlay<'_>) -> Result<OwnedFd, OverlayError>;

fn attempt(place: &Path, way: Way<'_>) -> io::Result<()> {
    let outcome = attempt_in(place, way);
    // What cannot be removed is removed at the next start.
    drop(std::fs::remove_dir_all(place));
    outcome
}

fn attempt_in(place: &Path, way: Way<'_>) -> io::Result<()> {
    match std::fs::remove_dir_all(place) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| place.join(name));
    for dir in [&lower, &upper, &work] {
        std::fs::create_dir_all(dir)?;
    }
    let overlay = Overlay { lowers: &[lower], upper: &upper, work: &work };
    way(&overlay).map(drop).map_err(io::Error::other)
}

/// The file system's name, or its number for those that statfs(2) has no common name for.
pub(super) fn kind(dir: &Path) -> String {
    let Ok(found) = rustix::fs::statfs(dir) else { return "of an unknown kind".to_owned() };
    #[allow(clippy::cast_sign_loss, reason = "the magic number is a bit pattern")]
    let magic = found.f_type as u64;
    match magic {
        0x794c_7630 => "overlay".to_owned(),
        0x6969 => "nfs".to_owned(),
        0x0102_1994 => "tmpfs".to_owned(),
        0x6573_5546 => "fuse".to_owned(),
        0x0102_1997 => "9p".to_owned(),
        0x4d44 => "fat".to_owned(),
        0x5846_5342 => "xfs".to_owned(),
        0x8584_58f6 => "ramfs".to_owned(),
        0xef53 => "ext4".to_owned(),
        0x9123_683e => "btrfs".to_owned(),
        other => format!("number {other:#x}"),
    }
}
