//! Named volumes and the pods that have them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};

use berth_engine::model::{ContainerView, Owner, SandboxConfig};
use berth_types::Classify as _;
use berth_types::lifecycle::container::Listed;

use super::{PodError, Pods, image_volumes};
use crate::plan::{Extras, NamedVolume, Plan, RUN, VolumeKind};
use crate::volumes::{self, Document, Kept, VolumeError};

/// The names of pods that are being made, and of their volumes.
pub(super) type Beginning = BTreeMap<u64, (String, Vec<String>)>;

/// The volumes of a pod that is being made.
#[derive(Debug)]
pub(super) struct Taken {
    pods: Pods,
    number: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.pods.beginning().remove(&self.number);
    }
}

impl Pods {
    /// Makes a volume. True when it is new.
    pub async fn make_volume(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
        anonymous: bool,
    ) -> Result<bool, VolumeError> {
        let _alone = self.inner.filling.lock().await;
        volumes::make(
            &self.volumes_dir(),
            name,
            &Document { created_at: berth_engine::now(), labels, anonymous },
        )
    }

    /// Every volume that is kept, with the names of the pods that have it.
    pub fn volumes(&self) -> Vec<(Kept, Vec<String>)> {
        let users = self.volume_users();
        let all = volumes::all(&self.volumes_dir()).into_iter();
        all.map(|kept| {
            let of = users.get(&kept.name).cloned().unwrap_or_default();
            (kept, of)
        })
        .collect()
    }

    /// Removes a volume with all that is in it, unless a pod has it.
    pub async fn remove_volume(&self, name: &str) -> Result<(), VolumeError> {
        let _alone = self.inner.filling.lock().await;
        if let Some(pods) = self.volume_users().remove(name) {
            let pods = pods.iter().map(|pod| format!("pod {pod}")).collect();
            return Err(VolumeError::Used { name: name.to_owned(), pods });
        }
        let (dir, name) = (self.volumes_dir(), name.to_owned());
        let removed = tokio::task::spawn_blocking({
            let name = name.clone();
            move || volumes::remove(&dir, &name)
        });
        removed.await.unwrap_or(Err(VolumeError::NotFound(name)))
    }

    /// Removes the volumes of a pod, which is gone, that nobody gave a name, unless another pod has them.
    pub async fn remove_anonymous(&self, config: &SandboxConfig) {
        self.remove_all_anonymous(&anonymous(config)).await;
    }

    /// The same by their names.
    pub(super) async fn remove_all_anonymous(&self, names: &[String]) {
        for name in names {
            match self.remove_volume(name).await {
                Ok(()) | Err(VolumeError::NotFound(_) | VolumeError::Used { .. }) => {}
                Err(e) => {
                    tracing::warn!(volume = name, error = %berth_types::error::chain(&e), "failed to remove a volume");
                }
            }
        }
    }

    /// Those of the volumes of a pod that nobody gave a name and that there are not yet: who fails to make the pod removes these, and no
    /// other. One that is run anew has its data there.
    pub(super) fn new_anonymous(&self, config: &SandboxConfig) -> Vec<String> {
        let dir = self.volumes_dir();
        anonymous(config).into_iter().filter(|name| volumes::find(&dir, name).is_none()).collect()
    }

    /// Fills the volumes of a pod that are empty with what its images have in their places, as docker does.
    pub(super) async fn fill(&self, plan: &Plan) -> Result<(), PodError> {
        for volume in &plan.volumes {
            let VolumeKind::Named(NamedVolume { name, no_copy: false, .. }) = &volume.kind else { continue };
            let mounted = plan.init.iter().chain(&plan.main).find_map(|planned| {
                let mut mounts = planned.config.mounts.iter();
                let whole =
                    mounts.find(|m| m.host_path == volume.path && m.sub_path.as_os_str().is_empty())?;
                Some((planned.config.image.image.clone(), whole.container_path.clone()))
            });
            let Some((image, place)) = mounted else { continue };
            let _alone = self.inner.filling.lock().await;
            if self.is_mounted(&volume.path) {
                continue;
            }
            let (dir, name) = (self.volumes_dir(), name.clone());
            let filled = self
                .inner
                .engine
                .with_image(&image, move |tree| volumes::fill(&dir, &name, |to| tree.copy(&place, to)));
            let what = || format!("fill volume {}", volume.path.display());
            filled
                .await
                .map_err(PodError::engine(what()))?
                .map_err(PodError::volume)?
                .map_err(PodError::engine(what()))?;
        }
        Ok(())
    }

    /// Whether a container that lives has this directory.
    fn is_mounted(&self, path: &PathBuf) -> bool {
        let lives = |c: &Arc<ContainerView>| {
            // One that is being made may have it open already.
            c.state.listed() != Some(Listed::Exited)
                && c.config.mounts.iter().any(|mount| mount.host_path == *path)
        };
        self.inner.engine.containers(None).iter().any(lives)
    }

    fn volume_users(&self) -> BTreeMap<String, Vec<String>> {
        let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for view in self.inner.engine.sandboxes(Some(Owner::Local)) {
            for named in of(&view.config).into_values() {
                let pods = users.entry(named.name).or_default();
                if !pods.contains(&view.config.metadata.name) {
                    pods.push(view.config.metadata.name.clone());
                }
            }
        }
        for (pod, names) in self.beginning().values() {
            for name in names {
                let pods = users.entry(name.clone()).or_default();
                if !pods.contains(pod) {
                    pods.push(pod.clone());
                }
            }
        }
        users
    }

    /// From here on the volumes of a pod that is made are in use, though its sandbox is not there yet; as long as what is returned lives.
    pub(super) fn take_volumes(&self, config: &SandboxConfig) -> Taken {
        let names = of(config).into_values().map(|named| named.name).collect();
        let mut beginning = self.beginning();
        let number = beginning.last_key_value().map_or(0, |(last, _)| last + 1);
        beginning.insert(number, (config.metadata.name.clone(), names));
        Taken { pods: self.clone(), number }
    }

    fn beginning(&self) -> MutexGuard<'_, Beginning> {
        self.inner.beginning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn volumes_dir(&self) -> PathBuf {
        self.inner.claims.with_file_name("volumes")
    }
}

impl PodError {
    /// A named volume is not as it is needed.
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    pub(crate) fn volume(e: crate::volumes::VolumeError) -> Self {
        Self::Said { message: berth_types::error::chain(&e), kind: e.kind(), hint: e.hint() }
    }
}

/// The names of the volumes of a pod that nobody gave one.
fn anonymous(config: &SandboxConfig) -> Vec<String> {
    of(config).into_values().filter(|named| named.anonymous).map(|named| named.name).collect()
}

/// The named volumes of a pod.
fn of(config: &SandboxConfig) -> BTreeMap<String, NamedVolume> {
    let extras = config.annotations.get(RUN).and_then(|text| serde_json::from_str::<Extras>(text).ok());
    let mut all = extras.unwrap_or_default().volumes;
    // Their names are those of nothing else.
    all.extend(image_volumes::named(config).map(|named| (named.name.clone(), named)));
    all
}
