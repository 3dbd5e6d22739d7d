//! Commands in running containers.

use std::time::Duration;

use berth_engine::Engine;
use tonic::Status;

use crate::api;
use crate::error::{FieldError, status as to_status};
use crate::lookup;

/// ExecSync. A status other than 0 is an answer, not an error; a timeout is DeadlineExceeded.
pub(super) async fn sync(
    engine: &Engine,
    request: api::ExecSyncRequest,
) -> Result<api::ExecSyncResponse, Status> {
    if request.cmd.is_empty() {
        return Err(FieldError::Missing("cmd").into());
    }
    let timeout = match u64::try_from(request.timeout) {
        Ok(0) => None,
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            return Err(
                FieldError::invalid("timeout", format!("{} seconds is negative", request.timeout)).into()
            );
        }
    };
    let view = lookup::container(engine, &request.container_id)?;
    let output = engine.exec_sync(&view.id, request.cmd, timeout).await.map_err(|e| to_status(&e))?;
    Ok(api::ExecSyncResponse { stdout: output.stdout, stderr: output.stderr, exit_code: output.code })
}
