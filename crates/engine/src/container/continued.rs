//! A container that goes on with the writable layer of one that has ended.

use std::sync::Arc;

use berth_types::ContainerId;
use berth_types::lifecycle::container::State;

use crate::error::EngineError;
use crate::handler::Places;
use crate::shared::Shared;

/// Unmounts what a runtime still has of a container, so that another can be mounted over its layer.
pub(super) async fn let_go(shared: &Arc<Shared>, before: &ContainerId) -> Result<(), EngineError> {
    let old = shared.views.container(before.as_str())?;
    if old.state != State::Exited {
        let message =
            format!("container {} has not ended, and two cannot have one writable layer", before.short());
        return Err(EngineError::invalid("continues", message));
    }
    let pod = shared.views.sandbox(old.sandbox.as_str())?;
    let handler = shared.handlers.of(&pod.config.handler)?;
    let (dir, before) = (shared.layout.found(&old.sandbox), before.clone());
    Shared::blocking(move || {
        let (of_container, root) = (dir.container(&before), dir.container_root(&before));
        handler.forget(Places { dir: &of_container, root: &root })
    })
    .await
}
