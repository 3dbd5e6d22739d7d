//! Berth's own runtime: the root is a detached overlay, the plan is executed by the shim itself. With hooks it is at a path.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::sync::Arc;

use berth_container::plan;
use berth_sys::overlay::{self, Overlay};
use berth_types::ability::{Ability, Lacking, Maker};
use berth_types::shim::bundle::{self, Hooked};
use berth_types::shim::{Create, Request};
use oci_spec::runtime::{Process, Root, RootBuilder, Spec};

use super::runtime::mount_root;
use super::{Handler, NATIVE, Places, Prepared, Preparing, Program, hooked};
use crate::error::EngineError;
use crate::model::{ContainerSecurity, EnvVar, UserNamespace};
use crate::oci;
use crate::profile::Profiles;

/// Berth's own runtime.
#[derive(Debug)]
pub(crate) struct Native {
    program: Arc<Program>,
    profiles: Profiles,
}

impl Native {
    /// With the shim's program.
    pub(crate) fn new(program: Arc<Program>) -> Self {
        Self { program, profiles: Profiles::default() }
    }
}

impl Handler for Native {
    fn name(&self) -> &str {
        NATIVE
    }

    fn program(&self) -> &Program {
        &self.program
    }

    fn has_container_cgroups(&self) -> bool {
        true
    }

    fn has_user_namespaces(&self) -> bool {
        Ability::UserNamespaces.need(Maker::Native).is_ok()
    }

    fn has_hooks(&self) -> Result<(), Lacking> {
        Ability::Hooks.need(Maker::Native)
    }

    fn prepare(&self, container: Preparing<'_>) -> Result<Prepared, EngineError> {
        let hooked = hooked::take(container.spec)?;
        // Others find it by that alone.
        let bundle = hooked.as_ref().map(|_| hooked::bundle(&container)).transpose()?;
        let Preparing {
            spec,
            raw_env,
            security,
            pid,
            root,
            user,
            volumes,
            cgroup,
            cgroups,
            places,
            create,
            ..
        } = container;
        let given = oci::given_namespaces(spec, pid);
        let shown = match cgroup {
            Some(cgroup) => plan::cgroup_mounts(cgroups.mode(), cgroups.hierarchies(), cgroup),
            None => Vec::new(),
        };
        let (sources, mounts): (Vec<_>, Vec<_>) =
            volumes.into_iter().map(|volume| (volume.source, volume.mount)).unzip();
        let plan = |spec| self.profiles.plan(spec, raw_env, security, (given, sources), shown);
        let (Some((mut of_plan, hooks)), Some(bundle)) = (hooked, bundle) else {
            let request = Request::Create(Create { plan: plan(spec)?, ..create });
            let fds = std::iter::once(detached(&root, user)?).chain(mounts).collect();
            return Ok(Prepared { request, fds });
        };
        at_path(&mut of_plan, places.root);
        let plan = plan(&of_plan)?;
        mount_root(&root, user, places.root)?;
        let annotations = spec.annotations().clone().unwrap_or_default().into_iter().collect();
        let hooked = Hooked { plan, bundle, hooks, oci_version: spec.version().clone(), annotations };
        let plan = bundle::encode(&hooked).map_err(|e| EngineError::invalid("container", e.to_string()))?;
        Ok(Prepared { request: Request::Create(Create { plan, ..create }), fds: mounts })
    }

    fn process(
        &self,
        process: &Process,
        raw_env: &[EnvVar],
        security: &ContainerSecurity,
        user: Option<UserNamespace>,
    ) -> Result<Vec<u8>, EngineError> {
        self.profiles.process(process, raw_env, security, user.is_some())
    }

    /// The root is mounted on the host only where hooks look for it.
    fn forget(&self, places: Places<'_>) -> Result<(), EngineError> {
        hooked::forget(places)
    }
}

/// The root, mounted nowhere.
fn detached(
    root: &Overlay<'_>,
    user: Option<(UserNamespace, BorrowedFd<'_>)>,
) -> Result<OwnedFd, EngineError> {
    let mounted = match user {
        None => overlay::mount(root),
        Some((maps, namespace)) => {
            own(root.upper, maps).map_err(|e| EngineError::system("give the root to its user", e))?;
            overlay::mount_idmapped(root, namespace)
        }
    };
    mounted.map_err(|e| EngineError::system("mount the container's root", e))
}

/// Has the root of a specification be what is mounted there.
fn at_path(spec: &mut Spec, path: &Path) {
    let readonly = spec.root().as_ref().and_then(Root::readonly).unwrap_or(false);
    let root = RootBuilder::default().path(path).readonly(readonly);
    spec.set_root(Some(root.build().expect("both parts are given")));
}

/// Gives the upper directory, which the root of the overlay looks like and the image's author owns, to who that is in the
/// user namespace. What is not mapped is nobody's there, and stays as it is.
pub(super) fn own(upper: &Path, maps: UserNamespace) -> std::io::Result<()> {
    let meta = std::fs::metadata(upper)?;
    let (uid, gid) = (maps.uids.to_host(meta.uid()), maps.gids.to_host(meta.gid()));
    chown(upper, uid, gid)?;
    // A change of owner takes setgid away.
    std::fs::set_permissions(upper, meta.permissions())
}
