//! The maps of bind mounts.
//!
//! An idmapped mount takes its maps from a user namespace. Mounts of one container mostly have the same maps, those of its pod, so each
//! is made once, and none where the pod's own has them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use berth_sys::mount::{self, Change, Mounted};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::op::step;
use super::{Given, RunError};
use crate::plan::{IdMap, Mount, Origin, Plan, Space};

/// User namespaces by their maps.
#[derive(Debug)]
pub(super) struct Maps<'a> {
    /// The container's, where it exists already.
    own: Option<(&'a Plan, BorrowedFd<'a>)>,
    made: Vec<(Vec<IdMap>, Vec<IdMap>, OwnedFd)>,
}

impl<'a> Maps<'a> {
    pub(super) fn new(plan: &'a Plan, given: &Given<'a>) -> Self {
        let own = given.user.filter(|_| plan.namespaces.user == Space::Given && !plan.uid_map.is_empty());
        Self { own: own.map(|user| (plan, user)), made: Vec::new() }
    }

    /// The one with these maps; None without maps.
    pub(super) fn of(&mut self, uids: &[IdMap], gids: &[IdMap]) -> Result<Option<BorrowedFd<'_>>, RunError> {
        if uids.is_empty() && gids.is_empty() {
            return Ok(None);
        }
        if let Some((plan, user)) = self.own
            && (&*plan.uid_map, &*plan.gid_map) == (uids, gids)
        {
            return Ok(Some(user));
        }
        let known = self.made.iter().position(|(u, g, _)| (&**u, &**g) == (uids, gids));
        let at = match known {
            Some(at) => at,
            None => {
                let made = berth_sys::user::namespace(&ranges(uids), &ranges(gids))
                    .map_err(step("make the user namespace of an idmapped mount"))?;
                self.made.push((uids.to_vec(), gids.to_vec(), made));
                self.made.len() - 1
            }
        };
        Ok(self.made.get(at).map(|(_, _, made)| made.as_fd()))
    }
}

/// Maps as the kernel's files have them.
pub(super) fn ranges(map: &[IdMap]) -> Vec<(u32, u32, u32)> {
    map.iter().map(|m| (m.inside, m.outside, m.count)).collect()
}

/// Gives a bind mount its maps, to all mounts below it too if the plan says so.
pub(super) fn apply(
    plan: &Mount,
    origin: &Origin,
    mount: BorrowedFd<'_>,
    user: BorrowedFd<'_>,
    named: &str,
) -> Result<(), RunError> {
    let recursive = plan.recursive_attributes.set & mount::IDMAP != 0;
    let path = match origin {
        Origin::Path(path) => Some(Path::new(std::ffi::OsStr::from_bytes(path))),
        Origin::Given(_) => None,
    };
    change(mount, path, recursive, user, named)
}

/// A detached copy of what is mounted at `source`, with everything below it if `recursive`, which has the maps of `user`.
///
/// # Errors
/// What cannot be idmapped, by its file system.
pub fn idmapped(source: &Path, recursive: bool, user: BorrowedFd<'_>) -> Result<OwnedFd, RunError> {
    let shown = source.display();
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let mount = open_tree(CWD, source, flags).map_err(step(format!("open the mount source {shown}")))?;
    change(mount.as_fd(), Some(source), recursive, user, &shown.to_string())?;
    Ok(mount)
}

fn change(
    mount: BorrowedFd<'_>,
    path: Option<&Path>,
    recursive: bool,
    user: BorrowedFd<'_>,
    named: &str,
) -> Result<(), RunError> {
    let mapped = Change { idmap: Some(user), recursive, ..Change::default() };
    mount::change(mount, c"", mapped).map_err(|errno| {
        let culprit = path.and_then(|path| unmappable(path, recursive, user));
        let step = match culprit {
            Some(found) => format!(
                "idmap {named}: {} is a file system of type {} that cannot be idmapped",
                found.point.display(),
                found.kind
            ),
            None => format!("idmap {named}"),
        };
        RunError::Step { step, source: errno.into() }
    })
}

/// The first mount, at `path` or below it, that cannot be idmapped by itself.
fn unmappable(path: &Path, recursive: bool, user: BorrowedFd<'_>) -> Option<Mounted> {
    let path = path.canonicalize().ok()?;
    let table = mount::mounted().ok()?;
    // Of two at one place the later covers the earlier.
    let on = table.iter().rposition(|mounted| path.starts_with(&mounted.point))?;
    let below = |at: usize, mounted: &Mounted| at == on || recursive && mounted.point.starts_with(&path);
    let found = table.into_iter().enumerate().filter(|(at, mounted)| below(*at, mounted));
    found.map(|(_, mounted)| mounted).find(|mounted| !is_mappable(&mounted.point, user))
}

fn is_mappable(point: &Path, user: BorrowedFd<'_>) -> bool {
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mapped = Change { idmap: Some(user), ..Change::default() };
    let try_it = || mount::change(open_tree(CWD, point, clone)?.as_fd(), c"", mapped);
    // One that is gone by now was not it.
    matches!(try_it(), Ok(()) | Err(Errno::NOENT))
}
