//! Exec, Attach and PortForward: URLs of the streaming server.

use std::sync::Arc;

use berth_engine::Engine;
use berth_engine::model::ContainerView;
use berth_streaming::Urls;
use berth_streaming::request::Request;
use berth_types::lifecycle::{container, sandbox};
use tonic::Status;

use crate::api;
use crate::convert::streaming as convert;
use crate::error::{FieldError, status as to_status};
use crate::lookup;

/// Exec
pub(super) fn exec(
    engine: &Engine,
    urls: &Urls,
    request: api::ExecRequest,
) -> Result<api::ExecResponse, Status> {
    let view = running(engine, &request.container_id)?;
    let exec = convert::exec(view.id.clone(), request)?;
    Ok(api::ExecResponse { url: give(urls, Request::Exec(exec))? })
}

/// Attach. Whoever takes a container's terminal for pipes gets all of its output; the other way round standard error would be
/// lost.
pub(super) fn attach(
    engine: &Engine,
    urls: &Urls,
    request: &api::AttachRequest,
) -> Result<api::AttachResponse, Status> {
    let view = running(engine, &request.container_id)?;
    let attach = convert::attach(view.id.clone(), request)?;
    if attach.tty && !view.config.tty {
        return Err(FieldError::invalid("tty", "the container has no terminal").into());
    }
    Ok(api::AttachResponse { url: give(urls, Request::Attach(attach))? })
}

/// PortForward
pub(super) fn port_forward(
    engine: &Engine,
    urls: &Urls,
    request: &api::PortForwardRequest,
) -> Result<api::PortForwardResponse, Status> {
    let view = lookup::sandbox(engine, &request.pod_sandbox_id)?;
    if view.state != sandbox::State::Ready {
        return Err(Status::failed_precondition(format!("sandbox {} is not running", view.id)));
    }
    let forward = convert::port_forward(view.id.clone(), &request.port)?;
    Ok(api::PortForwardResponse { url: give(urls, Request::PortForward(forward))? })
}

fn running(engine: &Engine, key: &str) -> Result<Arc<ContainerView>, Status> {
    let view = lookup::container(engine, key)?;
    match view.state {
        container::State::Running | container::State::Stopping { .. } => Ok(view),
        _ => Err(Status::failed_precondition(format!("container {} is not running", view.id))),
    }
}

fn give(urls: &Urls, request: Request) -> Result<String, Status> {
    urls.give(request).map_err(|e| to_status(&e))
}
