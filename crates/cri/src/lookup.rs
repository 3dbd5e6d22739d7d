//! Finding what a request names, among what belongs to the CRI.

use std::sync::Arc;

use berth_engine::Engine;
use berth_engine::model::{ContainerView, Owner, SandboxView};
use tonic::Status;

use crate::error::{not_found, status};

/// The sandbox with this id or unique prefix of an id.
pub(crate) fn sandbox(engine: &Engine, key: &str) -> Result<Arc<SandboxView>, Status> {
    let view = engine.sandbox(key).map_err(|e| status(&e))?;
    match view.config.owner {
        Owner::Cri => Ok(view),
        Owner::Local => Err(not_found("pod sandbox", key)),
    }
}

/// The container with this id or unique prefix of an id.
pub(crate) fn container(engine: &Engine, key: &str) -> Result<Arc<ContainerView>, Status> {
    let view = engine.container(key).map_err(|e| status(&e))?;
    match sandbox(engine, view.sandbox.as_str()) {
        Ok(_) => Ok(view),
        Err(_) => Err(not_found("container", key)),
    }
}

/// Stop and Remove succeed for what does not exist, as the CRI requires.
pub(crate) fn present<T>(found: Result<T, Status>) -> Result<Option<T>, Status> {
    match found {
        Ok(view) => Ok(Some(view)),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}
