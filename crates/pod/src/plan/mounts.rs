//! What a container mounts of its pod's volumes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use berth_engine::model::{ImageVolume, Mount, Propagation as To};

use super::expand::expand_all;
use super::projected::inside;
use super::{Fault, Faults, Volume, VolumeKind, absolute, container, wrong};
use crate::manifest::{Container, Propagation, VolumeMount};

/// The container's variables, and whether those that are empty may have a value later: the pod's addresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) values: &'a BTreeMap<String, String>,
    pub(super) incomplete: bool,
}

/// The mounts of a container whose path in the manifest is `at`, without those that have a fault.
pub(super) fn plan(
    from: &Container,
    at: &str,
    volumes: &BTreeMap<&str, Option<&Volume>>,
    variables: &Known<'_>,
    faults: &mut Faults,
) -> Vec<Mount> {
    let mut mounts = Vec::with_capacity(from.volume_mounts.len());
    let mut places = BTreeSet::new();
    for (index, asked) in from.volume_mounts.iter().enumerate() {
        let at = format!("{at}.volumeMounts[{index}]");
        if !places.insert(asked.mount_path.as_str()) {
            let message = format!("Invalid value: {:?}: must be unique", asked.mount_path);
            faults.push(wrong(format!("{at}.mountPath"), message));
        }
        mounts.extend(faults.take(mount(from, asked, &at, volumes, variables)).flatten());
    }
    mounts
}

/// Nothing for a volume that has a fault of its own.
fn mount(
    from: &Container,
    asked: &VolumeMount,
    at: &str,
    volumes: &BTreeMap<&str, Option<&Volume>>,
    variables: &Known<'_>,
) -> Result<Option<Mount>, Fault> {
    let volume = volumes
        .get(asked.name.as_str())
        .ok_or_else(|| wrong(format!("{at}.name"), format!("Not found: {:?}", asked.name)))?;
    let propagation = propagation(from, asked, &format!("{at}.mountPropagation"))?;
    let place = absolute(&format!("{at}.mountPath"), &asked.mount_path)?;
    let part = part(asked, at, variables)?;
    let Some(volume) = volume else { return Ok(None) };
    if let VolumeKind::Image { reference, .. } = &volume.kind {
        return image(reference, part, propagation, place, at).map(Some);
    }
    let files = matches!(volume.kind, VolumeKind::Files(_));
    let (source, sub_path) = match part {
        None => (volume.path.clone(), PathBuf::new()),
        Some((path, at)) => below(volume, path, &at)?,
    };
    // Files that are made from the manifest are read-only, as a kubelet mounts them.
    let kept = matches!(volume.kind, VolumeKind::Claim { .. } | VolumeKind::Named(_));
    let read_only = matches!(volume.kind, VolumeKind::Claim { read_only: true, .. });
    let readonly = asked.read_only || files || read_only;
    // What outlives its pod gives nobody rights later.
    let options = if kept { vec!["nosuid".to_owned(), "nodev".to_owned()] } else { Vec::new() };
    Ok(Some(Mount { readonly, propagation, sub_path, options, ..Mount::new(source, place) }))
}

/// The files of an image, which nobody can write.
fn image(
    reference: &str,
    part: Option<(PathBuf, String)>,
    propagation: To,
    place: PathBuf,
    at: &str,
) -> Result<Mount, Fault> {
    if propagation != To::Private {
        let reason = "Forbidden: an image volume has no mounts that propagate";
        return Err(wrong(format!("{at}.mountPropagation"), reason));
    }
    let sub_path = part.map(|(path, _)| path).unwrap_or_default();
    let image = Some(ImageVolume { image: container::image(reference), sub_path });
    Ok(Mount { readonly: true, image, ..Mount::new(PathBuf::new(), place) })
}

fn propagation(from: &Container, asked: &VolumeMount, at: &str) -> Result<To, Fault> {
    let whole = asked.sub_path.is_empty() && asked.sub_path_expr.is_empty();
    match asked.mount_propagation {
        Propagation::None => Ok(To::Private),
        Propagation::HostToContainer => Ok(To::HostToContainer),
        Propagation::Bidirectional if !from.security_context.privileged => {
            let reason = "Bidirectional mount propagation is available only to privileged containers";
            Err(wrong(at, format!("Forbidden: {reason}")))
        }
        Propagation::Bidirectional if whole => Ok(To::Bidirectional),
        Propagation::Bidirectional => Err(wrong(at, "Unsupported value: Bidirectional goes without subPath")),
    }
}

/// The path in the volume that is asked for, and the field that has it.
fn part(asked: &VolumeMount, at: &str, variables: &Known<'_>) -> Result<Option<(PathBuf, String)>, Fault> {
    let (path, at) = match (asked.sub_path.as_str(), asked.sub_path_expr.as_str()) {
        ("", "") => return Ok(None),
        (path, "") => (path.to_owned(), format!("{at}.subPath")),
        ("", expression) => {
            let at = format!("{at}.subPathExpr");
            let mut values = Cow::Borrowed(variables.values);
            if variables.incomplete {
                let empty = values.to_mut().values_mut().filter(|value| value.is_empty());
                empty.for_each(|value| *value = "later".to_owned());
            }
            let path = expand_all(expression, &values).map_err(|names| {
                let names = Vec::from_iter(names).join(", ");
                wrong(&at, format!("Invalid value: {expression:?}: missing value for {names}"))
            })?;
            (path, at)
        }
        _ => {
            let message = "Invalid value: subPathExpr and subPath are mutually exclusive";
            return Err(wrong(format!("{at}.subPathExpr"), message));
        }
    };
    Ok(Some((inside(&path, &at)?, at)))
}

/// The path that is mounted, and what of it.
fn below(volume: &Volume, path: PathBuf, at: &str) -> Result<(PathBuf, PathBuf), Fault> {
    match &volume.kind {
        // What the pod cannot write leads nowhere else.
        VolumeKind::Files(files) if files.keys().any(|file| file.starts_with(&path)) => {
            Ok((volume.path.join(path), PathBuf::new()))
        }
        VolumeKind::Files(_) => Err(wrong(at, format!("Not found: {path:?}: the volume has no such file"))),
        VolumeKind::Empty
        | VolumeKind::Memory(_)
        | VolumeKind::Host(_)
        | VolumeKind::Claim { .. }
        | VolumeKind::Image { .. }
        | VolumeKind::Named(_) => Ok((volume.path.clone(), path)),
    }
}

#[cfg(test)]
mod tests;
