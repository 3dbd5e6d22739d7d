//! Volumes: directories and files of the host that containers mount.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::facts::Facts;
use super::projected::{self, Files};
use super::{Fault, Faults, NamedVolume, absolute, container, empty, extras, name, wrong};
use crate::manifest::{self, HostPathType, PullPolicy};

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name in the pod.
    pub name: String,
    /// Where it is on the host.
    pub path: PathBuf,
    /// What is checked or made before the first container.
    pub kind: VolumeKind,
    /// The group that it belongs to, unless it is of the host.
    pub group: Option<u32>,
}

/// What is checked or made before the first container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeKind {
    /// An empty directory that is removed with the pod.
    Empty,
    /// The same in memory, for at most this many bytes.
    Memory(u64),
    /// These files, which the pod cannot write; removed with the pod.
    Files(Files),
    /// Something of the host.
    Host(HostPathType),
    /// The directory of a claim, which outlives the pod.
    Claim {
        /// The claim's name.
        name: String,
        /// Whether no container may write.
        read_only: bool,
    },
    /// The files of an image.
    Image {
        /// Its name.
        reference: String,
        /// When it is pulled.
        pull: PullPolicy,
    },
    /// A volume of docker's kind, which outlives the pod.
    Named(NamedVolume),
}

/// The volumes of a pod, without those that have a fault.
pub(super) fn plan(facts: &Facts<'_>, faults: &mut Faults) -> Vec<Volume> {
    let volumes = &facts.pod.spec.volumes;
    // What is wrong with them is told where all of them are read.
    let named_volumes = extras::of(facts.pod).unwrap_or_default().volumes;
    let mut seen = BTreeSet::new();
    let mut planned = Vec::with_capacity(volumes.len());
    for (index, volume) in volumes.iter().enumerate() {
        let at = format!("spec.volumes[{index}]");
        let named = name(&format!("{at}.name"), &volume.name, 63, false).and_then(|()| {
            let fresh = seen.insert(&volume.name);
            let twice = || wrong(format!("{at}.name"), format!("Duplicate value: {:?}", volume.name));
            fresh.then_some(()).ok_or_else(twice)
        });
        let named = faults.take(named);
        let found = match named_volumes.get(&volume.name) {
            Some(one) => stored(facts, volume, one),
            None => one(facts, volume, &at),
        };
        planned.extend(faults.take(found).filter(|_| named.is_some()));
    }
    planned
}

fn one(facts: &Facts<'_>, volume: &manifest::Volume, at: &str) -> Result<Volume, Fault> {
    let manifest::Volume {
        name,
        empty_dir,
        host_path,
        config_map,
        secret,
        downward_api,
        projected,
        persistent_volume_claim,
        image,
    } = volume;
    let sources = [
        ("emptyDir", empty_dir.is_some()),
        ("hostPath", host_path.is_some()),
        ("secret", secret.is_some()),
        ("persistentVolumeClaim", persistent_volume_claim.is_some()),
        ("downwardAPI", downward_api.is_some()),
        ("configMap", config_map.is_some()),
        ("projected", projected.is_some()),
        ("image", image.is_some()),
    ];
    // The second is one too many.
    if let Some((field, _)) = sources.iter().filter(|(_, given)| *given).nth(1) {
        return Err(wrong(format!("{at}.{field}"), "Forbidden: may not specify more than 1 volume type"));
    }
    let own = || facts.place.dir.join("volumes").join(name);
    let files = |files: Files| (own(), VolumeKind::Files(files));
    let (path, kind) = if let Some(empty) = empty_dir {
        (own(), empty::plan(facts, empty, &format!("{at}.emptyDir"))?)
    } else if let Some(host) = host_path {
        if host.path.is_empty() {
            return Err(wrong(format!("{at}.hostPath.path"), "Required value"));
        }
        (absolute(&format!("{at}.hostPath.path"), &host.path)?, VolumeKind::Host(host.kind))
    } else if let Some(from) = config_map {
        files(projected::config_map(facts, from, &format!("{at}.configMap"))?)
    } else if let Some(from) = secret {
        files(projected::secret(facts, from, &format!("{at}.secret"))?)
    } else if let Some(from) = downward_api {
        files(projected::downward(facts, from, &format!("{at}.downwardAPI"))?)
    } else if let Some(from) = projected {
        files(projected::projected(facts, from, &format!("{at}.projected"))?)
    } else if let Some(claim) = persistent_volume_claim {
        self::claim(facts, claim, &format!("{at}.persistentVolumeClaim"))?
    } else if let Some(image) = image {
        if image.reference.is_empty() {
            return Err(wrong(format!("{at}.image.reference"), "Required value"));
        }
        let pull = container::pull_policy(image.pull_policy, &image.reference);
        (PathBuf::new(), VolumeKind::Image { reference: image.reference.clone(), pull })
    } else {
        // As Kubernetes defaults it.
        (own(), VolumeKind::Empty)
    };
    let group = facts.pod.spec.security_context.fs_group;
    Ok(Volume { name: name.clone(), path, kind, group })
}

fn stored(facts: &Facts<'_>, volume: &manifest::Volume, named: &NamedVolume) -> Result<Volume, Fault> {
    if !crate::volumes::is_name(&named.name) {
        let fault = crate::volumes::VolumeError::Name(named.name.clone());
        return Err(wrong(format!("metadata.annotations[{}]", extras::RUN), fault.to_string()));
    }
    let path = crate::volumes::data(&facts.place.volumes(), &named.name);
    Ok(Volume { name: volume.name.clone(), path, kind: VolumeKind::Named(named.clone()), group: None })
}

fn claim(facts: &Facts<'_>, claim: &manifest::ClaimVolume, at: &str) -> Result<(PathBuf, VolumeKind), Fault> {
    let named = &claim.claim_name;
    name(&format!("{at}.claimName"), named, 253, true)?;
    let namespace = facts.pod.metadata.namespace.as_deref().unwrap_or("default");
    let path = crate::claims::data(&facts.place.claims, namespace, named);
    Ok((path, VolumeKind::Claim { name: named.clone(), read_only: claim.read_only }))
}
