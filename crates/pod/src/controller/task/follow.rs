//! A pod that goes on with what another of its name wrote.

use berth_engine::model::{ContainerConfig, SandboxView};
use berth_types::error::chain;

use super::super::again::{keeps, newest};
use super::super::files;
use super::{Task, there};

impl Task {
    /// Lets a container go on with the writable layer of the one before it.
    pub(super) fn go_on_with(&self, view: &SandboxView, config: &mut ContainerConfig) {
        if !keeps(&view.config) {
            return;
        }
        let (name, attempt) = (&config.metadata.name, config.metadata.attempt);
        let here = newest(&view.containers, name, attempt).cloned();
        let found = here.or_else(|| {
            let old = self.pods.inner.engine.sandbox(self.before.as_ref()?.as_str()).ok()?;
            newest(&old.containers, name, u32::MAX).cloned()
        });
        if let Some(old) = found {
            config.image.image.clone_from(&old.image_id);
            config.continues = Some(old.id.clone());
        }
    }

    /// Removes the pod that this one has gone on with.
    pub(super) async fn supersede(&mut self) {
        let Some(id) = self.before.take() else { return };
        let engine = &self.pods.inner.engine;
        let Ok(old) = engine.sandbox(id.as_str()) else { return };
        let warn = |error: String| {
            tracing::warn!(
                pod = self.key.name,
                sandbox = id.short(),
                error,
                "failed to remove the pod that this one follows"
            );
        };
        if let Err(e) = there(engine.remove_sandbox(&id).await) {
            return warn(chain(&e));
        }
        let place = self.pods.place_of(old.config.metadata.uid.clone());
        if let Ok(Err(e)) = tokio::task::spawn_blocking(move || files::remove(&place)).await {
            warn(e.to_string());
        }
    }

    /// The pod that this one was to go on with is there again as before.
    pub(super) fn come_back(&self) {
        let old = self.before.as_ref().and_then(|id| self.pods.inner.engine.sandbox(id.as_str()).ok());
        if let Some(old) = old {
            self.pods.adopt(&old);
        }
    }
}
