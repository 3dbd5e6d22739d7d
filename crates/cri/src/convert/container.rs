//! Containers.

use std::path::PathBuf;

use berth_engine::model::{
    ContainerConfig, ContainerMetadata, ContainerSecurity, ContainerView, Device, EnvVar, ImageSpec,
    ImageVolume, Mount, Namespaces, Propagation, Resources,
};
use berth_types::lifecycle::container::Listed;

use super::image::handler;
use super::{known, resources, sandbox, security, signal};
use crate::api;
use crate::error::{FieldError, KubeletError};

/// The container asked for in a sandbox with these namespaces.
pub(crate) fn from_api(from: &api::ContainerConfig, pod: &Namespaces) -> Result<ContainerConfig, FieldError> {
    let metadata = from.metadata.as_ref().ok_or(FieldError::Missing("config.metadata"))?;
    let image = from.image.as_ref().ok_or(FieldError::Missing("config.image"))?;
    refuse(from)?;
    let linux = from.linux.clone().unwrap_or_default();
    let context = linux.security_context.as_ref();
    let options = context.and_then(|c| c.namespace_options.clone()).unwrap_or_default();
    sandbox::fits(&options, pod)?;
    handler("config.image.runtime_handler", &image.runtime_handler)?;
    Ok(ContainerConfig {
        metadata: ContainerMetadata { name: metadata.name.clone(), attempt: metadata.attempt },
        image: ImageSpec {
            image: image.image.clone(),
            user_specified: image.user_specified_image.clone(),
            annotations: image.annotations.clone(),
        },
        command: from.command.clone(),
        args: from.args.clone(),
        working_dir: (!from.working_dir.is_empty()).then(|| from.working_dir.clone()),
        envs: from.envs.iter().enumerate().map(env).collect::<Result<_, _>>()?,
        mounts: from.mounts.iter().enumerate().map(mount).collect::<Result<_, _>>()?,
        devices: from.devices.iter().map(device).collect(),
        cdi_devices: from.cdi_devices.iter().map(|device| device.name.clone()).collect(),
        labels: from.labels.clone(),
        annotations: from.annotations.clone(),
        log_path: (!from.log_path.is_empty()).then(|| from.log_path.clone().into()),
        stdin: from.stdin,
        stdin_once: from.stdin_once,
        tty: from.tty,
        resources: linux
            .resources
            .as_ref()
            .map(|r| resources::from_api("config.linux.resources", r))
            .transpose()?
            .unwrap_or_default(),
        security: context.map_or_else(|| Ok(ContainerSecurity::default()), security::container)?,
        pid: sandbox::pid(&options)?,
        stop_signal: signal::from_api("config.stop_signal", from.stop_signal)?,
        rlimits: Vec::new(),
        storage_limit: None,
    })
}

/// Refuses mounts that the kernel cannot make, as the kubelet is told in Status.
pub(crate) fn recursive_read_only(config: &ContainerConfig, possible: bool) -> Result<(), FieldError> {
    match config.mounts.iter().position(|mount| mount.recursive_readonly && !possible) {
        Some(index) => Err(FieldError::named(
            KubeletError::RroUnsupported,
            format!("config.mounts[{index}].recursive_read_only"),
            "the kernel needs to be 5.12 or newer",
        )),
        None => Ok(()),
    }
}

/// The change of limits asked for.
pub(crate) fn update(from: &api::UpdateContainerResourcesRequest) -> Result<Resources, FieldError> {
    if from.windows.is_some() {
        return Err(FieldError::unsupported("windows", "Berth runs Linux containers"));
    }
    if let Some(name) = from.annotations.keys().next() {
        return Err(FieldError::unsupported("annotations", format!("leave {name:?} out")));
    }
    resources::change("linux", from.linux.as_ref().ok_or(FieldError::Missing("linux"))?)
}

/// What is not supported is refused by name.
fn refuse(from: &api::ContainerConfig) -> Result<(), FieldError> {
    if from.windows.is_some() {
        return Err(FieldError::unsupported("config.windows", "Berth runs Linux containers"));
    }
    Ok(())
}

fn env((index, from): (usize, &api::KeyValue)) -> Result<EnvVar, FieldError> {
    let at = format!("config.envs[{index}]");
    if from.key.is_empty() || from.key.contains(['=', '\0']) {
        return Err(FieldError::invalid(at, format!("{:?} is not a variable's name", from.key)));
    }
    if from.value.contains(&0) {
        return Err(FieldError::invalid(at, "the value contains a NUL byte"));
    }
    Ok(EnvVar { name: from.key.clone(), value: from.value.clone() })
}

fn mount((index, from): (usize, &api::Mount)) -> Result<Mount, FieldError> {
    let at = |field: &str| format!("config.mounts[{index}].{field}");
    let image = image_volume(&at, from)?;
    if from.uid_mappings.is_empty() != from.gid_mappings.is_empty() {
        let missing = if from.uid_mappings.is_empty() { "uidMappings" } else { "gidMappings" };
        let reason = "mappings of user ids and of group ids come together";
        return Err(FieldError::invalid(at(missing), reason));
    }
    if from.container_path.is_empty() {
        return Err(FieldError::invalid(at("container_path"), "it is empty"));
    }
    if from.host_path.is_empty() && image.is_none() {
        return Err(FieldError::invalid(at("host_path"), "it is empty"));
    }
    let propagation = match known(at("propagation"), from.propagation)? {
        api::MountPropagation::PropagationPrivate => Propagation::Private,
        api::MountPropagation::PropagationHostToContainer => Propagation::HostToContainer,
        api::MountPropagation::PropagationBidirectional => Propagation::Bidirectional,
    };
    if from.recursive_read_only && (!from.readonly || propagation != Propagation::Private) {
        return Err(FieldError::invalid(
            at("recursive_read_only"),
            "it needs readonly and private propagation",
        ));
    }
    Ok(Mount {
        container_path: from.container_path.clone().into(),
        host_path: from.host_path.clone().into(),
        image,
        // A kubelet resolves them itself.
        sub_path: PathBuf::new(),
        readonly: from.readonly,
        recursive_readonly: from.recursive_read_only,
        propagation,
        selinux_relabel: from.selinux_relabel,
        uids: from.uid_mappings.iter().map(sandbox::id_map).collect(),
        gids: from.gid_mappings.iter().map(sandbox::id_map).collect(),
        options: from.mount_options.clone(),
    })
}

/// The image that a mount shows. What it cannot be mounted with is the engine's to refuse.
fn image_volume(at: &dyn Fn(&str) -> String, from: &api::Mount) -> Result<Option<ImageVolume>, FieldError> {
    // Clients that are not Go's send an empty message for none.
    let Some(spec) = from.image.as_ref().filter(|image| **image != api::ImageSpec::default()) else {
        return match from.image_sub_path.is_empty() {
            true => Ok(None),
            false => Err(FieldError::invalid(at("image_sub_path"), "it needs image")),
        };
    };
    let word = KubeletError::ImageVolumeMountFailed;
    if spec.image.is_empty() {
        return Err(FieldError::named(word, at("image.image"), "it is empty"));
    }
    if handler("", &spec.runtime_handler).is_err() {
        let reason = format!("unknown handler {:?}", spec.runtime_handler);
        return Err(FieldError::named(word, at("image.runtime_handler"), reason));
    }
    let image = ImageSpec {
        image: spec.image.clone(),
        user_specified: spec.user_specified_image.clone(),
        annotations: spec.annotations.clone(),
    };
    Ok(Some(ImageVolume { image, sub_path: from.image_sub_path.clone().into() }))
}

fn device(from: &api::Device) -> Device {
    Device {
        container_path: from.container_path.clone().into(),
        host_path: from.host_path.clone().into(),
        permissions: from.permissions.clone(),
        node: None,
    }
}

fn state(listed: Listed) -> i32 {
    let state = match listed {
        Listed::Created => api::ContainerState::ContainerCreated,
        Listed::Running => api::ContainerState::ContainerRunning,
        Listed::Exited => api::ContainerState::ContainerExited,
        Listed::Unknown => api::ContainerState::ContainerUnknown,
    };
    state as i32
}

pub(super) fn metadata(view: &ContainerView) -> api::ContainerMetadata {
    let m = &view.config.metadata;
    api::ContainerMetadata { name: m.name.clone(), attempt: m.attempt }
}

fn image(view: &ContainerView) -> api::ImageSpec {
    let spec = &view.config.image;
    api::ImageSpec {
        image: spec.image.clone(),
        annotations: spec.annotations.clone(),
        user_specified_image: spec.user_specified.clone(),
        ..api::ImageSpec::default()
    }
}

/// The row of a list; None for what the CRI does not list.
pub(crate) fn row(view: &ContainerView) -> Option<api::Container> {
    Some(api::Container {
        id: view.id.to_string(),
        pod_sandbox_id: view.sandbox.to_string(),
        metadata: Some(metadata(view)),
        image: Some(image(view)),
        image_ref: view.image_ref.clone(),
        state: state(view.state.listed()?),
        created_at: view.created_at,
        labels: view.config.labels.clone(),
        annotations: view.config.annotations.clone(),
        image_id: view.image_id.clone(),
    })
}

/// The image's name as users know it: a kubelet creates containers by the image's id and shows this name. The
/// tag that the user wrote, another of the image's, or what was asked for when it has none any more.
pub(crate) fn image_name(view: &ContainerView, tags: &[String]) -> String {
    let spec = &view.config.image;
    let wrote = |tag: &&String| {
        let rest = tag.strip_suffix(&spec.user_specified);
        let rest = rest.or_else(|| tag.strip_suffix(":latest")?.strip_suffix(&spec.user_specified));
        !spec.user_specified.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
    };
    tags.iter().find(wrote).or(tags.first()).unwrap_or(&spec.image).clone()
}

/// The status; None for what the CRI does not list. `tags` are those that its image has now, `volumes` the ids of the images
/// that it has as volumes.
pub(crate) fn status(
    view: &ContainerView,
    tags: &[String],
    volumes: &[String],
) -> Option<api::ContainerStatus> {
    let listed = view.state.listed()?;
    let ended = view.exit.as_ref().filter(|_| listed == Listed::Exited);
    let log_path = view.log_path.clone().unwrap_or_default();
    Some(api::ContainerStatus {
        id: view.id.to_string(),
        metadata: Some(metadata(view)),
        state: state(listed),
        created_at: view.created_at,
        started_at: view.started_at.filter(|_| listed != Listed::Created).unwrap_or(0),
        finished_at: ended.map_or(0, |e| e.finished_at),
        exit_code: ended.map_or(0, |e| e.code),
        image: Some(api::ImageSpec { image: image_name(view, tags), ..image(view) }),
        image_ref: view.image_ref.clone(),
        reason: ended.map_or_else(String::new, |e| e.reason.word().to_owned()),
        message: ended.map_or_else(String::new, |e| e.message.clone()),
        labels: view.config.labels.clone(),
        annotations: view.config.annotations.clone(),
        mounts: mounts_to_api(&view.config.mounts, volumes),
        log_path: log_path.to_string_lossy().into_owned(),
        resources: Some(api::ContainerResources {
            linux: Some(resources::to_api(&view.resources)),
            windows: None,
        }),
        image_id: view.image_id.clone(),
        user: Some(api::ContainerUser {
            linux: Some(api::LinuxContainerUser {
                uid: view.user.uid.into(),
                gid: view.user.gid.into(),
                supplemental_groups: view.user.groups.iter().map(|g| i64::from(*g)).collect(),
            }),
        }),
        stop_signal: signal::to_api(&view.stop_signal),
    })
}

fn mounts_to_api(mounts: &[Mount], volumes: &[String]) -> Vec<api::Mount> {
    let mut ids = volumes.iter();
    let to_api = |mount: &Mount| {
        let image = mount.image.as_ref().map(|volume| api::ImageSpec {
            image: volume.image.image.clone(),
            annotations: volume.image.annotations.clone(),
            user_specified_image: volume.image.user_specified.clone(),
            image_ref: ids.next().cloned().unwrap_or_default(),
            ..api::ImageSpec::default()
        });
        let sub_path = mount.image.as_ref().map(|volume| volume.sub_path.to_string_lossy().into_owned());
        api::Mount { image, image_sub_path: sub_path.unwrap_or_default(), ..mount_to_api(mount) }
    };
    mounts.iter().map(to_api).collect()
}

/// Echoed so that the kubelet finds the termination message through it.
fn mount_to_api(mount: &Mount) -> api::Mount {
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    let propagation = match mount.propagation {
        Propagation::Private => api::MountPropagation::PropagationPrivate,
        Propagation::HostToContainer => api::MountPropagation::PropagationHostToContainer,
        Propagation::Bidirectional => api::MountPropagation::PropagationBidirectional,
    };
    api::Mount {
        container_path: text(&mount.container_path),
        host_path: text(&mount.host_path),
        readonly: mount.readonly,
        selinux_relabel: mount.selinux_relabel,
        propagation: propagation as i32,
        recursive_read_only: mount.recursive_readonly,
        uid_mappings: mount.uids.iter().copied().map(sandbox::id_map_to_api).collect(),
        gid_mappings: mount.gids.iter().copied().map(sandbox::id_map_to_api).collect(),
        mount_options: mount.options.clone(),
        ..api::Mount::default()
    }
}

#[cfg(test)]
mod tests;
