//! The limit of a writable layer.

use berth_types::ContainerId;

use crate::error::EngineError;
use crate::shared::Shared;

/// Limits the writable layer of a container, or says why that cannot be.
pub(super) async fn limit(shared: &Shared, container: &ContainerId, bytes: u64) -> Result<(), EngineError> {
    let limited = shared.images.limit_snapshot(container, bytes).await;
    if limited.map_err(|e| EngineError::failed("limit the container's writable layer", e))? {
        return Ok(());
    }
    let place = shared.layout.root.display();
    let message = format!(
        "the writable layer cannot be limited: the file system of {place} enforces no project quotas (hint: ext4 with the features quota and project, or xfs, mounted with prjquota)"
    );
    Err(EngineError::invalid("storage_limit", message))
}
