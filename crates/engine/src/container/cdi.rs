//! Devices by the Container Device Interface: what comes with them becomes part of what was asked for, so that they have the same rules,
//! limits and id mappings as any device or mount.

mod added;

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use berth_cdi::spec::{self, Hook};
use berth_cdi::{Devices, Edits, Name, name};
use oci_spec::runtime::{Hook as OciHook, HookBuilder, Spec};

use super::create::Work;
use crate::error::EngineError;
use crate::model::{ContainerConfig, Device, DeviceNode, EnvVar, Mount, Propagation};
use crate::shared::Shared;

impl Work {
    /// Looks up what comes with the devices of the Container Device Interface.
    pub(super) async fn with_devices(&mut self) -> Result<(), EngineError> {
        let names = names(&self.asked)?;
        if names.is_empty() {
            return Ok(());
        }
        let since = Instant::now();
        let (shared, asked) = (Arc::clone(&self.shared), Arc::clone(&self.asked));
        let title = names.iter().map(Name::to_string).collect::<Vec<_>>().join(", ");
        let found = Shared::blocking(move || edited(&shared.cdi_dirs(), &asked, &names));
        let (config, hooks) = found.await?;
        if !hooks.is_empty() {
            let handler = self.shared.handlers.of(&self.sandbox.handler)?;
            handler.has_hooks().map_err(|lacking| {
                let message = format!("{title}: {lacking} (hint: run the pod by runc)");
                EngineError::unsupported("CDI_devices", message)
            })?;
        }
        (self.config, self.hooks) = (Arc::new(config), hooks);
        self.timeline.stage("devices", since);
        Ok(())
    }
}

/// The devices that a container asks for.
///
/// # Errors
/// What is no name.
fn names(config: &ContainerConfig) -> Result<Vec<Name>, EngineError> {
    let parse = |text: &String| text.parse::<Name>();
    let by_field: Result<Vec<Name>, _> = config.cdi_devices.iter().map(parse).collect();
    let mut names = by_field.map_err(|e| EngineError::invalid("CDI_devices", e.to_string()))?;
    let more = name::of_annotations(&config.annotations)
        .map_err(|(key, e)| EngineError::invalid(format!("annotations[{key}]"), e.to_string()))?;
    names.extend(more);
    Ok(names)
}

/// What was asked for with what comes with these devices, and the programs that are to be run.
///
/// # Errors
/// There is no such device, or something that comes with it is not there or not supported: each with the file's words.
fn edited(
    dirs: &[PathBuf],
    asked: &ContainerConfig,
    names: &[Name],
) -> Result<(ContainerConfig, Vec<Hook>), EngineError> {
    let edits = Devices::read(dirs).resolve(names);
    let edits = edits.map_err(|e| EngineError::invalid("CDI_devices", e.to_string()))?;
    let mut config = asked.clone();
    apply(&mut config, &edits).map_err(|why| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        EngineError::invalid("CDI_devices", format!("{}: {why}", names.join(", ")))
    })?;
    Ok((config, edits.hooks))
}

fn apply(config: &mut ContainerConfig, edits: &Edits) -> Result<(), String> {
    if let Some(device) = edits.net_devices.first() {
        return Err(format!("netDevices ({}) are not supported yet", device.host_interface_name));
    }
    if edits.intel_rdt.is_some() {
        return Err("intelRdt is not supported yet".to_owned());
    }
    for variable in &edits.env {
        let (name, value) = variable.split_once('=').ok_or_else(|| format!("{variable:?} is no variable"))?;
        config.envs.push(EnvVar { name: name.to_owned(), value: value.into() });
    }
    for node in &edits.device_nodes {
        config.devices.push(device(node)?);
    }
    for mount in &edits.mounts {
        let mount = volume(mount)?;
        // One at the same place is replaced.
        config.mounts.retain(|other| other.container_path != mount.container_path);
        config.mounts.push(mount);
    }
    let groups = &mut config.security.supplemental_groups;
    groups.extend(&edits.additional_gids);
    Ok(())
}

fn device(node: &spec::DeviceNode) -> Result<Device, String> {
    let source = node.source();
    let meta = std::fs::metadata(source).map_err(|e| format!("device {}: {e}", source.display()))?;
    let kind = match meta.file_type() {
        found if found.is_block_device() => "b",
        found if found.is_char_device() => "c",
        _ => return Err(format!("{} is no device", source.display())),
    };
    let (major, minor) = (rustix::fs::major(meta.rdev()).into(), rustix::fs::minor(meta.rdev()).into());
    let said = if node.kind == "u" { "c" } else { node.kind.as_str() };
    let is_other = |said: i64, found: i64| said != 0 && said != found;
    if !["", kind].contains(&said) || is_other(node.major, major) || is_other(node.minor, minor) {
        return Err(format!(
            "device {} is {kind} {major}:{minor}, and its file says {} {}:{}: the file is out of date",
            source.display(),
            node.kind,
            node.major,
            node.minor
        ));
    }
    let permissions = match node.permissions.as_str() {
        "" => "rwm",
        "none" => return Err(format!("device {} without permissions is not supported", source.display())),
        permissions => permissions,
    };
    Ok(Device {
        container_path: node.path.clone(),
        host_path: source.to_owned(),
        permissions: permissions.to_owned(),
        node: Some(DeviceNode { mode: node.file_mode, uid: node.uid, gid: node.gid }),
    })
}

fn volume(from: &spec::Mount) -> Result<Mount, String> {
    let place = from.host_path.display();
    let is_bound = || from.options.iter().any(|option| option == "bind" || option == "rbind");
    if !["", "none", "bind"].contains(&from.kind.as_str()) && !is_bound() {
        return Err(format!("mount of {place}: file systems of type {:?} are not supported", from.kind));
    }
    // Others make a directory of what is not there; a device's library must be.
    exists(&from.host_path)?;
    let mut mount = Mount::new(&from.host_path, &from.container_path);
    for option in &from.options {
        match option.as_str() {
            "bind" | "rbind" | "rw" | "private" | "rprivate" => {}
            "ro" => mount.readonly = true,
            "rro" => (mount.readonly, mount.recursive_readonly) = (true, true),
            "slave" | "rslave" => mount.propagation = Propagation::HostToContainer,
            "shared" | "rshared" => mount.propagation = Propagation::Bidirectional,
            other => mount.options.push(other.to_owned()),
        }
    }
    Ok(mount)
}

fn exists(path: &Path) -> Result<(), String> {
    std::fs::metadata(path).map(drop).map_err(|e| format!("mount of {}: {e}", path.display()))
}

/// Adds programs to a specification that are run on the way.
pub(super) fn add_hooks(spec: &mut Spec, hooks: &[Hook]) {
    if hooks.is_empty() {
        return;
    }
    let mut all = spec.hooks().clone().unwrap_or_default();
    for hook in hooks {
        let list = match hook.hook_name.as_str() {
            "prestart" => all.prestart_mut(),
            "createRuntime" => all.create_runtime_mut(),
            "createContainer" => all.create_container_mut(),
            "startContainer" => all.start_container_mut(),
            "poststart" => all.poststart_mut(),
            _ => all.poststop_mut(),
        };
        list.get_or_insert_default().push(oci(hook));
    }
    spec.set_hooks(Some(all));
}

fn oci(hook: &Hook) -> OciHook {
    let made = HookBuilder::default().path(hook.path.clone());
    let made = if hook.args.is_empty() { made } else { made.args(hook.args.clone()) };
    let made = if hook.env.is_empty() { made } else { made.env(hook.env.clone()) };
    let made = match hook.timeout {
        Some(seconds) => made.timeout(seconds),
        None => made,
    };
    made.build().expect("every part is given")
}

#[cfg(test)]
mod tests;
