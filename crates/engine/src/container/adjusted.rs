//! What plugins make of a container that is being created.

use std::sync::Arc;

use berth_sys::cgroup::{Access, DeviceKind, DeviceRule};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, Spec};

use super::adjust::{Adjustable, Subject};
use super::create::Work;
use super::{Facts, cdi};
use crate::error::EngineError;
use crate::model::{Resources, SeccompChoice};

/// The specification that is prepared, and what goes with it.
#[derive(Debug)]
pub(super) struct Adjustment {
    pub(super) spec: Spec,
    /// The limits, where plugins changed them.
    pub(super) resources: Option<Resources>,
    /// What may be done with devices that plugins added.
    pub(super) rules: Vec<DeviceRule>,
    /// The seccomp profile, where they gave one.
    pub(super) seccomp: Option<SeccompChoice>,
}

impl Work {
    /// What plugins make of the specification. From here on the container has the limits that they want.
    pub(super) async fn adjust(&mut self, facts: &Facts, mut spec: Spec) -> Result<Adjustment, EngineError> {
        spec = self.with_hooks(spec).await?;
        cdi::add_hooks(&mut spec, &self.hooks);
        if !self.shared.has_plugins() {
            return Ok(Adjustment { spec, resources: None, rules: Vec::new(), seccomp: None });
        }
        let before: Vec<LinuxDevice> = devices(&spec).to_vec();
        let resources = self.config.resources.clone();
        let mut made = Adjustable { spec, resources, cdi_devices: Vec::new() };
        for adjust in self.shared.adjust.iter().filter(|adjust| adjust.listens()) {
            let subject = Subject {
                sandbox: &self.sandbox_id,
                sandbox_config: &self.sandbox,
                container: &self.id,
                config: &self.asked,
                created_at: self.created_at,
                image_id: &facts.image_id,
                image_ref: &facts.image_ref,
                user: &facts.user,
            };
            made = adjust.adjust(subject, made).await?;
        }
        let Adjustable { mut spec, resources, cdi_devices } = made;
        let mut rules: Vec<DeviceRule> =
            devices(&spec).iter().filter(|d| !before.contains(d)).filter_map(allowed).collect();
        if !cdi_devices.is_empty() {
            // Their files say what may be done with them.
            rules.extend(self.add_devices(&mut spec, &cdi_devices).await?);
        }
        self.has_hooks(&spec)?;
        rules.extend(take_rules(&mut spec)?);
        let seccomp = take_profile(&mut spec)?;
        let changed = resources != self.config.resources;
        if changed || seccomp.is_some() {
            let mut config = (*self.config).clone();
            config.resources.clone_from(&resources);
            if let Some(seccomp) = &seccomp {
                config.security.seccomp.clone_from(seccomp);
            }
            self.config = Arc::new(config);
        }
        Ok(Adjustment { spec, resources: changed.then_some(resources), rules, seccomp })
    }

    /// Refuses hooks where the handler has none.
    fn has_hooks(&self, spec: &Spec) -> Result<(), EngineError> {
        let none = oci_spec::runtime::Hooks::default();
        if spec.hooks().as_ref().is_none_or(|hooks| *hooks == none) {
            return Ok(());
        }
        let handler = self.shared.handlers.of(&self.sandbox.handler)?;
        handler.has_hooks().map_err(|lacking| {
            EngineError::unsupported(
                "hooks",
                format!("a plugin adds one: {lacking} (hint: run the pod by runc)"),
            )
        })
    }
}

fn devices(spec: &Spec) -> &[LinuxDevice] {
    spec.linux().as_ref().and_then(|linux| linux.devices().as_deref()).unwrap_or_default()
}

/// Who adds a device to a container wants it used.
fn allowed(device: &LinuxDevice) -> Option<DeviceRule> {
    let kind = match device.typ() {
        LinuxDeviceType::B => DeviceKind::Block,
        LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Char,
        LinuxDeviceType::A | LinuxDeviceType::P => return None,
    };
    let number = |number: i64| u32::try_from(number).ok();
    let (major, minor) = (number(device.major())?, number(device.minor())?);
    Some(DeviceRule { allow: true, kind, major: Some(major), minor: Some(minor), access: Access::ALL })
}

/// Rules that plugins give by themselves: they are the cgroup's.
fn take_rules(spec: &mut Spec) -> Result<Vec<DeviceRule>, EngineError> {
    let Some(linux) = spec.linux_mut() else { return Ok(Vec::new()) };
    let rules = linux.resources().as_ref().and_then(|resources| resources.devices().clone());
    linux.set_resources(None);
    let read = |from: &LinuxDeviceCgroup| {
        rule(from).ok_or_else(|| {
            EngineError::invalid(
                "resources.devices",
                format!("a plugin adds a rule that means nothing: {from:?}"),
            )
        })
    };
    rules.iter().flatten().map(read).collect()
}

/// A profile for system calls that plugins give: each kind of handler makes its own of it.
fn take_profile(spec: &mut Spec) -> Result<Option<SeccompChoice>, EngineError> {
    let Some(linux) = spec.linux_mut() else { return Ok(None) };
    let text = linux.seccomp().as_ref().map(serde_json::to_string).transpose();
    linux.set_seccomp(None);
    Ok(text.map_err(|e| EngineError::system("write the seccomp profile", e))?.map(SeccompChoice::Rules))
}

/// None for one that means nothing.
fn rule(from: &LinuxDeviceCgroup) -> Option<DeviceRule> {
    let kind = match from.typ() {
        Some(LinuxDeviceType::B) => DeviceKind::Block,
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => DeviceKind::Char,
        Some(LinuxDeviceType::A) | None => DeviceKind::All,
        Some(LinuxDeviceType::P) => return None,
    };
    // A number below 0 is any.
    let number = |number: Option<i64>| match number.filter(|number| *number >= 0) {
        Some(number) => u32::try_from(number).ok().map(Some),
        None => Some(None),
    };
    let access = Access::parse(from.access().as_deref().unwrap_or("rwm"))?;
    let (major, minor) = (number(from.major())?, number(from.minor())?);
    Some(DeviceRule { allow: from.allow(), kind, major, minor, access })
}

#[cfg(test)]
mod tests;
