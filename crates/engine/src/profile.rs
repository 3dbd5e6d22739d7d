//! From a specification to what the shim executes: the seccomp filter is compiled (once per
//! profile) and the plan encoded.

use std::path::{Path, PathBuf};

use berth_container::plan::{self, CgroupMount, Inputs, PlanError, ProcessPlan, Seccomp};
use berth_container::seccomp::{self, Cache, Conditions, MAX_PROFILE, SeccompError};
use berth_sys::fs::read_bounded;
use berth_types::{Classify, Kind};
use oci_spec::runtime::{LinuxNamespaceType, LinuxSeccomp, Process, Spec};

use crate::error::EngineError;
use crate::model::{ContainerSecurity, EnvVar, SeccompChoice};
use crate::oci::capabilities;

/// Compiled seccomp profiles.
#[derive(Debug, Default)]
pub(crate) struct Profiles {
    cache: Cache,
}

impl Profiles {
    /// The encoded plan of a container, with the namespaces and mount sources that come as descriptors. Its root does too, unless the
    /// specification has another path for it than `/`.
    pub(crate) fn plan(
        &self,
        spec: &Spec,
        raw_env: &[EnvVar],
        security: &ContainerSecurity,
        (given, given_mounts): (Vec<LinuxNamespaceType>, Vec<PathBuf>),
        cgroups: Vec<CgroupMount>,
    ) -> Result<Vec<u8>, EngineError> {
        let process = spec.process().as_ref();
        let seccomp = match process {
            Some(process) => self.seccomp(process, security)?,
            None => None,
        };
        let given_root = spec.root().as_ref().is_none_or(|root| root.path() == Path::new("/"));
        let inputs = Inputs { given_root, given, given_mounts, seccomp, cgroups, ..Inputs::default() };
        let mut plan = plan::plan(spec, &inputs).map_err(|e| refused(&e))?;
        plan.process.env.extend(raw_env.iter().map(line));
        plan.encode().map_err(|e| EngineError::invalid("container", e.to_string()))
    }

    /// The encoded plan of a further process, of a container with a user namespace or without.
    pub(crate) fn process(
        &self,
        process: &Process,
        raw_env: &[EnvVar],
        security: &ContainerSecurity,
        user_namespace: bool,
    ) -> Result<Vec<u8>, EngineError> {
        let inputs = Inputs { seccomp: self.seccomp(process, security)?, ..Inputs::default() };
        let mut plan: ProcessPlan =
            plan::process(process, &inputs, user_namespace).map_err(|e| refused(&e))?;
        plan.env.extend(raw_env.iter().map(line));
        plan.encode().map_err(|e| EngineError::invalid("exec", e.to_string()))
    }

    /// The seccomp profile for a runtime that makes its own filter.
    pub(crate) fn rules(
        process: &Process,
        security: &ContainerSecurity,
    ) -> Result<Option<LinuxSeccomp>, EngineError> {
        let failed = |e| EngineError::failed("seccomp profile", e);
        let conditions = || Conditions::of_host(bounding(process)).map_err(failed);
        let profile = match &security.seccomp {
            SeccompChoice::Rules(text) => {
                seccomp::parse(text.as_bytes(), conditions()?).map_err(|e| given(&e))?
            }
            _ if security.privileged => return Ok(None),
            SeccompChoice::Unconfined => return Ok(None),
            SeccompChoice::Default => {
                let Conditions { bounding, native, .. } = conditions()?;
                seccomp::default_profile(bounding, native)
            }
            SeccompChoice::Localhost(path) => seccomp::parse(&read(path)?, conditions()?)
                .map_err(|e| EngineError::failed(format!("seccomp profile {}", path.display()), e))?,
        };
        Ok(Some(LinuxSeccomp::from(&profile)))
    }

    fn seccomp(
        &self,
        process: &Process,
        security: &ContainerSecurity,
    ) -> Result<Option<Seccomp>, EngineError> {
        let bounding = bounding(process);
        let failed = |e| EngineError::failed("seccomp profile", e);
        let program = match &security.seccomp {
            SeccompChoice::Rules(text) => {
                let conditions = Conditions::of_host(bounding).map_err(failed)?;
                self.cache.json(text.as_bytes(), conditions).map_err(|e| given(&e))?
            }
            _ if security.privileged => return Ok(None),
            SeccompChoice::Unconfined => return Ok(None),
            SeccompChoice::Default => {
                let conditions = Conditions::of_host(bounding).map_err(failed)?;
                self.cache.default_profile(conditions).map_err(failed)?
            }
            SeccompChoice::Localhost(path) => {
                let text = read(path)?;
                let conditions = Conditions::of_host(bounding).map_err(failed)?;
                self.cache
                    .json(&text, conditions)
                    .map_err(|e| EngineError::failed(format!("seccomp profile {}", path.display()), e))?
            }
        };
        Ok(Some(program.encode()))
    }
}

/// What is wrong with a profile that a plugin gave.
fn given(error: &SeccompError) -> EngineError {
    EngineError::invalid("seccomp_policy", format!("a plugin gives a profile that is none: {error}"))
}

fn bounding(process: &Process) -> u64 {
    let sets = process.capabilities().as_ref();
    sets.and_then(|sets| sets.bounding().as_ref()).map_or(0, capabilities::mask)
}

fn line(var: &EnvVar) -> Vec<u8> {
    [var.name.as_bytes(), b"=", &var.value].concat()
}

fn read(path: &Path) -> Result<Vec<u8>, EngineError> {
    read_bounded(path, MAX_PROFILE as u64)
        .map_err(|e| EngineError::invalid("seccomp.localhost_ref", format!("{}: {e}", path.display())))
}

/// Why a specification cannot be carried out.
pub(crate) fn refused(error: &PlanError) -> EngineError {
    match error.kind() {
        Kind::Unsupported => EngineError::unsupported("container", error.to_string()),
        _ => EngineError::invalid("container", error.to_string()),
    }
}
