//! Changes of limits, about which plugins are asked before and told afterwards.

use std::sync::Arc;

use berth_types::{ContainerId, SandboxId};
use tokio::sync::OwnedRwLockWriteGuard;

use super::{Engine, no_sandbox};
use crate::container::adjust::{Heard, Moment, What};
use crate::error::EngineError;
use crate::model::Resources;
use crate::sandbox::Command;

impl Engine {
    /// Changes limits. Unset fields keep their value.
    ///
    /// # Errors
    /// `NotFound`, `Refused` when it does not run, or the limit that the kernel refuses.
    pub async fn update_resources(&self, id: &ContainerId, resources: Resources) -> Result<(), EngineError> {
        if !self.shared.has_plugins() {
            return self.set_resources(id, resources).await;
        }
        let (engine, id) = (self.clone(), id.clone());
        // What plugins were asked for goes on when the caller does not wait.
        let changed = tokio::spawn(async move {
            let view = engine.container(id.as_str())?;
            let mut resources = resources;
            for adjust in engine.shared.adjust.iter().filter(|adjust| adjust.listens()) {
                resources = adjust.limits(&view, resources).await?;
            }
            engine.set_resources(&id, resources).await
        });
        changed.await.map_err(|e| EngineError::system("change limits", e))?
    }

    /// The same without asking plugins: for themselves.
    ///
    /// # Errors
    /// As [`Engine::update_resources`].
    pub async fn set_resources(&self, id: &ContainerId, resources: Resources) -> Result<(), EngineError> {
        let resources = Box::new(resources);
        self.ask(id, |container, reply| Command::Update { container, resources, reply }).await
    }

    /// Waits until every pod and container that plugins were told of can be seen, and keeps new ones from being told of
    /// while the result lives. A plugin that is told of what can be seen meanwhile misses nothing.
    pub async fn pause_creation(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.shared.unseen).write_owned().await
    }

    fn tell_of_limits(
        &self,
        what: What,
        id: &SandboxId,
        resources: &Resources,
    ) -> Result<Option<Heard>, EngineError> {
        if !self.shared.has_plugins() {
            return Ok(None);
        }
        let pod = self.sandbox(id.as_str())?;
        Ok(self.shared.hear(Moment { what, pod: &pod, container: None, resources: Some(resources) }))
    }

    /// Changes the limits of a pod as a whole, where Berth makes its cgroup. A caller that gives a cgroup has set
    /// its limits itself, and nothing is done.
    ///
    /// # Errors
    /// `NotFound`, `Refused` when the sandbox is not ready, or the limit that the kernel refuses.
    pub async fn update_sandbox_resources(
        &self,
        id: &SandboxId,
        resources: Resources,
    ) -> Result<(), EngineError> {
        if let Some(heard) = self.tell_of_limits(What::PodChanges, id, &resources)? {
            heard.await?;
        }
        let changes = Box::new(resources.clone());
        let asked = self.pod(id)?.ask(|reply| Command::UpdatePod { resources: changes, reply }).await;
        asked.unwrap_or_else(|| Err(no_sandbox(id)))?;
        drop(self.tell_of_limits(What::PodChanged, id, &resources)?);
        Ok(())
    }
}
