//! Berth's own runtime: the root is a detached overlay, the plan is executed by the shim itself.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::sync::Arc;

use berth_container::plan;
use berth_sys::overlay;
use berth_types::ability::{Ability, Lacking, Maker};
use berth_types::shim::Request;
use oci_spec::runtime::Process;

use super::{Handler, NATIVE, Places, Prepared, Preparing, Program};
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
        let Preparing { spec, raw_env, security, pid, root, user, volumes, cgroup, cgroups, create, .. } =
            container;
        let given = oci::given_namespaces(spec, pid);
        let shown = match cgroup {
            Some(cgroup) => plan::cgroup_mounts(cgroups.mode(), cgroups.hierarchies(), cgroup),
            None => Vec::new(),
        };
        let (sources, mounts): (Vec<_>, Vec<_>) =
            volumes.into_iter().map(|volume| (volume.source, volume.mount)).unzip();
        let plan = self.profiles.plan(spec, raw_env, security, (given, sources), shown)?;
        let root = match user {
            None => overlay::mount(&root),
            Some((maps, namespace)) => {
                own(root.upper, maps).map_err(|e| EngineError::system("give the root to its user", e))?;
                overlay::mount_idmapped(&root, namespace)
            }
        };
        let root = root.map_err(|e| EngineError::system("mount the container's root", e))?;
        let request = Request::Create(berth_types::shim::Create { plan, ..create });
        let fds = std::iter::once(root).chain(mounts).collect();
        Ok(Prepared { request, fds })
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

    /// The root is not mounted on the host.
    fn forget(&self, _: Places<'_>) -> Result<(), EngineError> {
        Ok(())
    }
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
