//! The files of variables that a container reads, when it is made.

use std::io;

use berth_engine::model::ContainerConfig;

use super::task::Task;
use super::{PodError, files};
use crate::plan::{self, EnvFiles, MAX_ENV_FILE, Place};

impl Task {
    /// The configuration of the first attempt of a container, with what its files of variables say now.
    pub(super) async fn configured(&self, name: &str) -> Result<ContainerConfig, PodError> {
        let spec = &self.pod.spec;
        let container = spec.init_containers.iter().chain(&spec.containers).find(|c| c.name == name);
        let wanted = container.map(plan::env_files_of).unwrap_or_default();
        let planned = self.planned(name);
        if wanted.is_empty() {
            return Ok(planned.config.clone());
        }
        let mut read = EnvFiles::new();
        for (volume, path) in wanted {
            let Some(of) = self.plan.volumes.iter().find(|of| of.name == volume) else { continue };
            let (dir, file) = (of.path.clone(), path.clone());
            let bytes =
                tokio::task::spawn_blocking(move || berth_engine::read_below(&dir, &file, MAX_ENV_FILE));
            let failed = |why: String| files::fault(&volume, &of.path.join(&path), why);
            let text = match bytes.await.map_err(|e| failed(e.to_string()))? {
                Ok(bytes) => Some(String::from_utf8(bytes).map_err(|e| failed(e.to_string()))?),
                Err(e) if e.kind() == io::ErrorKind::NotFound => None,
                Err(e) => return Err(failed(e.to_string())),
            };
            read.insert((volume, path), text);
        }
        let plan = plan::plan_container(&self.pod, &Place { env_files: read, ..self.place.clone() }, name)?;
        // What the pod's own plan has beside is kept: volumes of the image, for one.
        let mut config = planned.config.clone();
        for mount in &mut config.mounts {
            let same = plan.config.mounts.iter().find(|other| other.container_path == mount.container_path);
            if let Some(known) = same {
                mount.clone_from(known);
            }
        }
        let ContainerConfig { envs, command, args, .. } = plan.config;
        Ok(ContainerConfig { envs, command, args, ..config })
    }
}
