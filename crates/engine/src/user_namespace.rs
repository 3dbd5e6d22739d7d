//! User namespaces of pods: what may be asked for, whether this host has them, and those through which layers are seen.
//!
//! A pod's network, IPC and UTS namespace belong to its user namespace, and so do all that its containers get
//! (`sandbox::namespaces`, `berth_container`). Nothing changes its owner for it: the layers of an image are seen through an
//! idmapped mount, and so are volumes; what a container writes has the host's ids of its pod on the disk.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use berth_sys::{mount, overlay, user};

use crate::error::EngineError;
use crate::model::{IdMap, NamespaceMode, Namespaces, PidMode, UserNamespace};
use crate::oci::user::Resolved;

/// Namespaces remembered. One that is not is made again.
const KEPT: usize = 64;
/// Maps to try with: ids that nothing else has.
const TRIED: IdMap = IdMap { container: 0, host: 2_000_000_000, length: 65_536 };

/// What a pod may ask for: exactly one range, and nothing of the host's that only the host's root could give.
pub(crate) fn check(namespaces: &Namespaces) -> Result<(), EngineError> {
    let Some(UserNamespace { uids, gids }) = namespaces.user else { return Ok(()) };
    for (name, map) in [("uids", uids), ("gids", gids)] {
        let field = format!("userns_options.{name}");
        if map.container != 0 {
            let message = format!("the mapping begins with {} and must begin with 0", map.container);
            return Err(EngineError::invalid(field, message));
        }
        let last = map.length.checked_sub(1).and_then(|more| map.host.checked_add(more));
        // The id after the last means "no id" to the kernel.
        if last.is_none_or(|last| last == u32::MAX) {
            let message = format!("{} ids from {} on are none, or more than there are", map.length, map.host);
            return Err(EngineError::invalid(field, message));
        }
    }
    if uids.length != gids.length {
        let message = format!("{} user ids and {} group ids; map as many", uids.length, gids.length);
        return Err(EngineError::invalid("userns_options.gids", message));
    }
    let hosts = |what: &str| {
        let message = format!("a pod with a user namespace cannot use the host's {what} namespace");
        Err(EngineError::unsupported("userns_options.mode", message))
    };
    match (&namespaces.pid, namespaces.ipc) {
        (PidMode::Node, _) => hosts("PID"),
        (_, NamespaceMode::Node) => hosts("IPC"),
        (PidMode::Pod | PidMode::Container | PidMode::Target(_), NamespaceMode::Pod) => Ok(()),
    }
}

/// Refuses a user or group that the pod's user namespace does not have.
pub(crate) fn has(maps: Option<UserNamespace>, who: &Resolved) -> Result<(), EngineError> {
    let Some(UserNamespace { uids, gids }) = maps else { return Ok(()) };
    let refuse = |what: &str, id: u32, map: IdMap| {
        let message = format!("{what} id {id} is not in the pod's user namespace, which has {}", map.length);
        Err(EngineError::invalid("user", message))
    };
    if uids.to_host(who.uid).is_none() {
        return refuse("user", who.uid, uids);
    }
    match who.groups.iter().chain([&who.gid]).find(|gid| gids.to_host(**gid).is_none()) {
        Some(gid) => refuse("group", *gid, gids),
        None => Ok(()),
    }
}

/// What this host has for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Support {
    /// Whether containers can have one: the kernel makes them, and layers where they lie can be idmapped. Or why not.
    pub(crate) containers: Result<(), String>,
    /// Whether a tmpfs can be idmapped (Linux 6.3), as secrets and volumes in memory need it.
    pub(crate) tmpfs: bool,
}

impl Support {
    /// Whether all that Kubernetes means by user namespaces is there.
    pub(crate) fn is_complete(&self) -> bool {
        self.containers.is_ok() && self.tmpfs
    }

    /// Tries, with layers below `root`.
    fn of_host(root: &Path) -> Self {
        let made = user::namespace(&[TRIED.range()], &[TRIED.range()]);
        let user = match made {
            Ok(user) => user,
            Err(error) => {
                let why = format!("the kernel makes no user namespace (user.max_user_namespaces): {error}");
                return Self { containers: Err(why), tmpfs: false };
            }
        };
        let layers = overlay::trial_idmapped(root, user.as_fd());
        let why = |e: std::io::Error| format!("layers in {} cannot be used in one: {e}", root.display());
        Self { containers: layers.map_err(why), tmpfs: mount::tmpfs_has_maps(user.as_fd()) }
    }
}

/// The user namespaces of an engine.
#[derive(Debug, Default)]
pub(crate) struct UserNamespaces {
    support: OnceLock<Support>,
    /// By their maps, the oldest first. For layers any namespace of the same maps will do: a pod's own, or after a restart of
    /// the daemon another.
    kept: Mutex<Vec<(UserNamespace, Arc<OwnedFd>)>>,
}

impl UserNamespaces {
    /// What this host has. Blocks for some milliseconds the first time.
    pub(crate) fn support(&self, root: &Path) -> &Support {
        self.support.get_or_init(|| {
            let support = Support::of_host(root);
            match &support.containers {
                Ok(()) if support.tmpfs => tracing::info!("pods can have user namespaces"),
                Ok(()) => tracing::info!(
                    "user namespaces of pods: volumes in memory need Linux 6.3, so none are announced"
                ),
                Err(why) => tracing::info!(why, "pods cannot have user namespaces"),
            }
            support
        })
    }

    /// Remembers a pod's own.
    pub(crate) fn keep(&self, maps: UserNamespace, user: Arc<OwnedFd>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(other, _)| *other != maps);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((maps, user));
    }

    /// One with these maps. Blocks.
    pub(crate) fn with(&self, maps: UserNamespace) -> Result<Arc<OwnedFd>, EngineError> {
        let known = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, user)) = known.iter().find(|(other, _)| *other == maps) {
            return Ok(Arc::clone(user));
        }
        drop(known);
        let made = user::namespace(&[maps.uids.range()], &[maps.gids.range()])
            .map_err(|e| EngineError::system("make the user namespace of a container's layers", e))?;
        let made = Arc::new(made);
        self.keep(maps, Arc::clone(&made));
        Ok(made)
    }
}

#[cfg(test)]
mod tests;
