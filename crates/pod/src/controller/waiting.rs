//! Pods that were made and wait for their start.

use std::sync::Arc;

use berth_engine::model::{ContainerView, Owner, SandboxView};

use super::Pods;

/// Annotation: the container that waits for `start`, for as long as it takes.
pub(super) const WAITS: &str = "berth.dev/waits";

impl Pods {
    /// The container of a pod that was made to wait for its start, and has not been started.
    pub fn waiting(&self, view: &SandboxView) -> Option<String> {
        let name = view.config.annotations.get(WAITS)?;
        let begun = |c: &Arc<ContainerView>| c.started_at.is_some() || c.exit.is_some();
        (view.config.owner == Owner::Local && !view.containers.iter().any(begun)).then(|| name.clone())
    }
}
