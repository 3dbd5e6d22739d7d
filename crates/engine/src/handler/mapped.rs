//! What a runtime is given in a pod with a user namespace. It mounts as the root of that, who is nobody on the host: so he is let in
//! on the way to the container's root, and volumes with maps are idmapped here, whatever the runtime can.
//!
//! Sources of other mounts are opened by runtimes before they enter the user namespace, and may lie where only root can go.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use berth_container::run;
use berth_sys::mount::{self, Change};
use berth_sys::user::{self, Range};
use berth_types::ability::{Ability, Maker};
use oci_spec::runtime::{LinuxIdMapping, Mount, Spec};

use super::Detached;
use crate::error::EngineError;
use crate::model::UserNamespace;

/// The maps of mounts: users, groups.
type Maps = (Vec<Range>, Vec<Range>);

/// Takes the maps out of a specification: each mount that has some is bound from a copy below `dir` that is idmapped.
pub(super) fn volumes(
    spec: &mut Spec,
    dir: &Path,
    pod: Option<(UserNamespace, BorrowedFd<'_>)>,
) -> Result<Vec<Detached>, EngineError> {
    let mut made: Vec<(Maps, OwnedFd)> = Vec::new();
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    let mut detached = Vec::new();
    for (number, mount) in mounts.iter_mut().enumerate() {
        let maps = (ranges(mount.uid_mappings().as_ref()), ranges(mount.gid_mappings().as_ref()));
        if maps.0.is_empty() && maps.1.is_empty() {
            continue;
        }
        let place = dir.join("mapped").join(number.to_string());
        let pods = pod.filter(|(of, _)| maps == (vec![of.uids.range()], vec![of.gids.range()]));
        let copy = match pods {
            Some((_, user)) => copy(mount, user)?,
            None => copy(mount, namespace(&mut made, maps)?)?,
        };
        without_maps(mount, &place);
        detached.push(Detached { source: place, mount: copy });
    }
    spec.set_mounts(Some(mounts));
    Ok(detached)
}

/// A namespace with these maps, made once.
fn namespace(made: &mut Vec<(Maps, OwnedFd)>, maps: Maps) -> Result<BorrowedFd<'_>, EngineError> {
    let at = match made.iter().position(|(of, _)| *of == maps) {
        Some(at) => at,
        None => {
            let namespace = user::namespace(&maps.0, &maps.1)
                .map_err(|e| EngineError::system("make the user namespace of a volume", e))?;
            made.push((maps, namespace));
            made.len() - 1
        }
    };
    Ok(made[at].1.as_fd())
}

fn ranges(maps: Option<&Vec<LinuxIdMapping>>) -> Vec<Range> {
    maps.into_iter().flatten().map(|map| (map.container_id(), map.host_id(), map.size())).collect()
}

/// An idmapped copy of a mount's source.
fn copy(of: &Mount, user: BorrowedFd<'_>) -> Result<OwnedFd, EngineError> {
    let has = |word: &str| of.options().iter().flatten().any(|option| option == word);
    let place = of.destination().display();
    // It is a copy: what is mounted in there would be nowhere on the host.
    if has("rshared") || has("shared") {
        Ability::MappedPropagation
            .need(Maker::Runtime)
            .map_err(|why| EngineError::unsupported("mounts", format!("{place}: {why}")))?;
    }
    let source = of.source().clone().unwrap_or_default();
    let made = run::idmapped(&source, has("rbind"), user)
        .map_err(|e| EngineError::system(format!("idmap the volume at {place}"), e))?;
    // Else what is unmounted in the copy, when it is given back, is unmounted on the host.
    let follows = Change { propagation: mount::SLAVE, recursive: true, ..Change::default() };
    mount::change(made.as_fd(), c"", follows)
        .map_err(|e| EngineError::system(format!("keep the volume at {place} apart"), e))?;
    Ok(made)
}

/// The same mount of a source that is mapped already.
fn without_maps(mount: &mut Mount, source: &Path) {
    let options = mount.options().iter().flatten();
    let options = options.filter(|option| !matches!(option.as_str(), "idmap" | "ridmap"));
    let options: Vec<String> = options.cloned().collect();
    mount.set_options(Some(options));
    mount.set_uid_mappings(None).set_gid_mappings(None);
    mount.set_source(Some(source.to_owned()));
}

/// Lets a group, the one of the user namespace's root, pass to where the root of its container is mounted: through the pod's directory
/// it alone, through Berth's own above it anybody who knows the way. None of them can be listed, and the pods' are root's.
pub(super) fn let_in(root: &Path, group: u32) -> Result<(), EngineError> {
    let mut above = root.ancestors().skip(1).map(Path::to_owned);
    let Some(pod) = above.next() else { return Ok(()) };
    let open = |dir: &Path, group: Option<u32>, bits: u32| -> std::io::Result<()> {
        let meta = std::fs::metadata(dir)?;
        if group.is_some_and(|group| group != meta.gid()) {
            chown(dir, None, group)?;
        }
        let mode = meta.mode() & 0o7777;
        if mode & bits == bits {
            return Ok(());
        }
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode | bits))
    };
    let not_opened = |dir: &Path, e: std::io::Error| {
        let dir = dir.display();
        EngineError::system(format!("let the user namespace's root pass through {dir}"), e)
    };
    open(&pod, Some(group), 0o010).map_err(|e| not_opened(&pod, e))?;
    for own in above.by_ref().take(2) {
        open(&own, None, 0o001).map_err(|e| not_opened(&own, e))?;
    }
    // These are not Berth's.
    let closed = above.find(|dir| std::fs::metadata(dir).is_ok_and(|meta| meta.mode() & 0o001 == 0));
    match closed {
        None => Ok(()),
        Some(dir) => {
            let message = format!(
                "{} cannot be passed by the root of a user namespace, who mounts the container's root below it \
                 (hint: chmod o+x it, or choose another --state)",
                dir.display()
            );
            Err(EngineError::unsupported("userns_options.mode", message))
        }
    }
}

#[cfg(test)]
mod tests;
