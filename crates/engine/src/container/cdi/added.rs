//! Devices of the Container Device Interface that plugins add: what comes with them becomes part of the specification.

use std::path::PathBuf;
use std::sync::Arc;

use berth_cdi::Name;
use berth_cdi::spec::Hook;
use berth_sys::cgroup::DeviceRule;
use oci_spec::runtime::Spec;

use super::{add_hooks, edited};
use crate::container::create::Work;
use crate::error::EngineError;
use crate::model::ContainerConfig;
use crate::oci::{devices, mounts};
use crate::shared::Shared;

impl Work {
    /// Adds what comes with these devices; gives what may be done with them.
    pub(in crate::container) async fn add_devices(
        &self,
        spec: &mut Spec,
        names: &[String],
    ) -> Result<Vec<DeviceRule>, EngineError> {
        if self.sandbox.namespaces.user.is_some() {
            let message = "a plugin adds one, to a pod with a user namespace";
            return Err(EngineError::unsupported("CDI_devices", message));
        }
        let parse = |text: &String| text.parse::<Name>();
        let names: Result<Vec<Name>, _> = names.iter().map(parse).collect();
        let names = names.map_err(|e| EngineError::invalid("CDI_devices", e.to_string()))?;
        let (shared, asked, before) = (Arc::clone(&self.shared), Arc::clone(&self.asked), spec.clone());
        let added = Shared::blocking(move || add(&shared.cdi_dirs(), &asked, &names, before));
        let (changed, rules) = added.await?;
        *spec = changed;
        Ok(rules)
    }
}

fn add(
    dirs: &[PathBuf],
    asked: &ContainerConfig,
    names: &[Name],
    mut spec: Spec,
) -> Result<(Spec, Vec<DeviceRule>), EngineError> {
    let mut nothing = asked.clone();
    (nothing.envs, nothing.mounts, nothing.devices) = (Vec::new(), Vec::new(), Vec::new());
    nothing.security.privileged = false;
    nothing.security.supplemental_groups.clear();
    let (new, hooks): (ContainerConfig, Vec<Hook>) = edited(dirs, &nothing, names)?;
    let user = spec.process().as_ref().map(|process| process.user().clone()).unwrap_or_default();
    let found = devices::read(&new, (user.uid(), user.gid()))?;
    let nodes = devices::nodes(&found);
    if let Some(linux) = spec.linux_mut() {
        let mut all = linux.devices().clone().unwrap_or_default();
        all.retain(|device| !nodes.iter().any(|new| new.path() == device.path()));
        all.extend(nodes);
        linux.set_devices(Some(all));
    }
    let binds: Vec<_> = new.mounts.iter().map(mounts::bind).collect();
    let mut all = spec.mounts().clone().unwrap_or_default();
    all.retain(|mount| !binds.iter().any(|new| new.destination() == mount.destination()));
    all.extend(binds);
    spec.set_mounts(Some(all));
    if let Some(process) = spec.process_mut() {
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(new.envs.iter().map(|of| format!("{}={}", of.name, String::from_utf8_lossy(&of.value))));
        process.set_env(Some(env));
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        groups.extend(&new.security.supplemental_groups);
        process.user_mut().set_additional_gids(Some(groups));
    }
    add_hooks(&mut spec, &hooks);
    Ok((spec, devices::allowed(&found)))
}

#[cfg(test)]
mod tests;
