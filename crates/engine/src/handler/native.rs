//! Berth's own runtime: the root is a detached overlay, the plan is executed by the shim itself.

use std::path::Path;

use berth_container::plan;
use berth_sys::overlay;
use berth_types::shim::Request;
use oci_spec::runtime::Process;

use super::{Handler, NATIVE, Prepared, Preparing, Program};
use crate::error::EngineError;
use crate::model::{ContainerSecurity, EnvVar};
use crate::oci;
use crate::profile::Profiles;

/// Berth's own runtime.
#[derive(Debug)]
pub(crate) struct Native {
    program: Program,
    profiles: Profiles,
}

impl Native {
    /// With the shim's program.
    pub(crate) fn new(shim: &'static [u8]) -> Self {
        Self { program: Program::new(shim), profiles: Profiles::default() }
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

    fn prepare(&self, container: Preparing<'_>) -> Result<Prepared, EngineError> {
        let Preparing { spec, raw_env, security, pid, root, cgroup, cgroups, create, .. } = container;
        let given = oci::given_namespaces(spec, pid);
        let shown = match cgroup {
            Some(cgroup) => plan::cgroup_mounts(cgroups.mode(), cgroups.hierarchies(), cgroup),
            None => Vec::new(),
        };
        let plan = self.profiles.plan(spec, raw_env, security, given, shown)?;
        let root = overlay::mount(&root).map_err(|e| EngineError::system("mount the container's root", e))?;
        let request = Request::Create(berth_types::shim::Create { plan, ..create });
        Ok(Prepared { request, fds: vec![root] })
    }

    fn process(
        &self,
        process: &Process,
        raw_env: &[EnvVar],
        security: &ContainerSecurity,
    ) -> Result<Vec<u8>, EngineError> {
        self.profiles.process(process, raw_env, security)
    }

    /// The root is not mounted on the host.
    fn forget(&self, _dir: &Path) -> Result<(), EngineError> {
        Ok(())
    }
}
