//! Volumes that images name (`VOLUME`): each container has one of its own for each, which nobody gave a name and which is filled
//! from the image. Those of `berth run` are docker's, and outlive their container; those of a manifest's pod go with it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use berth_engine::model::{Mount, SandboxConfig};

use super::{PodError, Pods};
use crate::plan::{NamedVolume, Place, Plan, Volume, VolumeKind};
use crate::volumes;

/// Annotation of a pod whose images name volumes: [`Named`] as JSON.
const ANNOTATION: &str = "berth.dev/image-volumes";
/// The most that are made for an image.
const MAX: usize = 64;

/// The names of the volumes that images name, by container and path.
pub type Named = BTreeMap<String, BTreeMap<PathBuf, String>>;

/// Those that a pod has.
pub(super) fn of(config: &SandboxConfig) -> Named {
    let text = config.annotations.get(ANNOTATION);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The volumes of a pod as others see them.
pub(super) fn named(config: &SandboxConfig) -> impl Iterator<Item = NamedVolume> {
    let names = of(config).into_values().flat_map(BTreeMap::into_values);
    names.map(|name| NamedVolume { name, anonymous: true, no_copy: false })
}

impl Pods {
    /// Adds the volumes that the images of the plan name, whose images are here: those of an earlier run of the pod, or new ones.
    pub(super) fn add_image_volumes(
        &self,
        plan: &mut Plan,
        place: &Place,
        had: &Named,
    ) -> Result<(), PodError> {
        let mut all = Named::new();
        for planned in plan.init.iter().chain(&plan.main) {
            let (name, image) = (planned.name(), &planned.config.image.image);
            let Some(found) = self.inner.engine.images().find(image).map_err(PodError::image(image))? else {
                continue;
            };
            let paths =
                found.config.volumes.iter().map(PathBuf::from).filter(|path| is_place(path)).take(MAX);
            let taken =
                |path: &PathBuf| planned.config.mounts.iter().any(|mount| mount.container_path == *path);
            for path in paths.filter(|path| !taken(path)) {
                let old = had.get(name).and_then(|of| of.get(&path)).cloned();
                let volume = old.unwrap_or_else(fresh_name);
                all.entry(name.to_owned()).or_default().insert(path, volume);
            }
        }
        if !all.is_empty() {
            let text = serde_json::to_string(&all).expect("paths of a configuration are text");
            plan.sandbox.annotations.insert(ANNOTATION.to_owned(), text);
            add(plan, place, &all);
        }
        Ok(())
    }
}

/// Adds volumes to a plan and mounts to its containers.
pub(super) fn add(plan: &mut Plan, place: &Place, all: &Named) {
    // A daemon that takes over knows it by the pod's place.
    let user = plan.sandbox.namespaces.user.or(place.user);
    for planned in plan.init.iter_mut().chain(&mut plan.main) {
        let Some(of) = all.get(planned.name()) else { continue };
        for (path, name) in of {
            let source = volumes::data(&place.volumes(), name);
            let (uids, gids) = user.map_or_else(Default::default, |user| (vec![user.uids], vec![user.gids]));
            // As any that outlives its pod.
            let options = vec!["nosuid".to_owned(), "nodev".to_owned()];
            planned.config.mounts.push(Mount {
                uids,
                gids,
                options,
                ..Mount::new(source.clone(), path.clone())
            });
            let kind = VolumeKind::Named(NamedVolume { name: name.clone(), anonymous: true, no_copy: false });
            plan.volumes.push(Volume { name: name.clone(), path: source, kind, group: None });
        }
    }
}

/// Whether a container can have a volume there: below its root, and not where the kernel's own file systems are.
fn is_place(path: &Path) -> bool {
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let own = ["/proc", "/sys", "/dev"].iter().any(|own| path.starts_with(own));
    path.is_absolute() && plain && path.parent().is_some() && !own
}

/// As docker names what nobody gave a name.
fn fresh_name() -> String {
    berth_engine::random_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
