//! Containers.

use std::collections::BTreeMap;

use berth_engine::Engine;
use berth_engine::model::{ContainerView, Owner, SandboxView};
use tonic::Status;

use super::sandbox::gone_is_fine;
use crate::api;
use crate::convert::image::for_all;
use crate::convert::{container as convert, filter, seconds};
use crate::error::{FieldError, create_status, not_found, status as to_status};
use crate::lookup;

/// CreateContainer
pub(super) async fn create(
    engine: &Engine,
    request: api::CreateContainerRequest,
) -> Result<api::CreateContainerResponse, Status> {
    let mut config = request.config.ok_or(FieldError::Missing("config"))?;
    let volumes = config.mounts.iter_mut().filter_map(|mount| mount.image.as_mut());
    for image in config.image.iter_mut().chain(volumes) {
        for_all(image, |name| engine.knows_handler(name));
    }
    let sandbox = lookup::sandbox(engine, &request.pod_sandbox_id)?;
    let config = convert::from_api(&config, &sandbox.config.namespaces)?;
    convert::recursive_read_only(&config, engine.has_recursive_read_only())?;
    let id = engine.create_container(&sandbox.id, config).await.map_err(|e| create_status(&e))?;
    Ok(api::CreateContainerResponse { container_id: id.into() })
}

/// StartContainer
pub(super) async fn start(
    engine: &Engine,
    request: api::StartContainerRequest,
) -> Result<api::StartContainerResponse, Status> {
    let view = lookup::container(engine, &request.container_id)?;
    engine.start_container(&view.id).await.map_err(|e| to_status(&e))?;
    Ok(api::StartContainerResponse {})
}

/// StopContainer: of an unknown container it is success.
pub(super) async fn stop(
    engine: &Engine,
    request: api::StopContainerRequest,
) -> Result<api::StopContainerResponse, Status> {
    let grace = seconds("timeout", request.timeout)?;
    if let Some(view) = lookup::present(lookup::container(engine, &request.container_id))? {
        gone_is_fine(engine.stop_container(&view.id, grace).await)?;
    }
    Ok(api::StopContainerResponse {})
}

/// RemoveContainer: of an unknown container it is success.
pub(super) async fn remove(
    engine: &Engine,
    request: api::RemoveContainerRequest,
) -> Result<api::RemoveContainerResponse, Status> {
    if let Some(view) = lookup::present(lookup::container(engine, &request.container_id))? {
        gone_is_fine(engine.remove_container(&view.id).await)?;
    }
    Ok(api::RemoveContainerResponse {})
}

/// ListContainers
pub(super) async fn list(
    engine: &Engine,
    request: api::ListContainersRequest,
) -> Result<api::ListContainersResponse, Status> {
    Ok(api::ListContainersResponse { containers: rows(engine, request.filter)?.collect() })
}

/// StreamContainers
pub(super) async fn stream(
    engine: &Engine,
    request: api::StreamContainersRequest,
) -> Result<impl Iterator<Item = api::Container> + Send + use<>, Status> {
    rows(engine, request.filter)
}

fn rows(
    engine: &Engine,
    filter: Option<api::ContainerFilter>,
) -> Result<impl Iterator<Item = api::Container> + Send + use<>, Status> {
    let filter = filter::Containers::from_api(filter)?;
    let views = engine.containers(Some(Owner::Cri)).into_iter();
    Ok(views.filter_map(|view| convert::row(&view)).filter(move |row| filter.shows(row)))
}

/// ContainerStatus
pub(super) async fn status(
    engine: &Engine,
    request: api::ContainerStatusRequest,
) -> Result<api::ContainerStatusResponse, Status> {
    let key = &request.container_id;
    let view = lookup::container(engine, key)?;
    let volumes = volumes(engine, &view);
    let status =
        convert::status(&view, &tags(engine, &view), &volumes).ok_or_else(|| not_found("container", key))?;
    Ok(api::ContainerStatusResponse {
        status: Some(status),
        info: if request.verbose { info(&view) } else { BTreeMap::new() },
    })
}

/// The names that the container's image has now.
pub(super) fn tags(engine: &Engine, view: &ContainerView) -> Vec<String> {
    let image = engine.images().find(&view.image_id).ok().flatten();
    image.map(|image| image.tags.clone()).unwrap_or_default()
}

/// The ids of the images that the container has as volumes.
pub(super) fn volumes(engine: &Engine, view: &ContainerView) -> Vec<String> {
    engine.images().volumes(&view.id).iter().map(ToString::to_string).collect()
}

fn info(view: &ContainerView) -> BTreeMap<String, String> {
    let text = serde_json::json!({
        "sandboxID": view.sandbox.as_str(),
        "pid": view.pid.unwrap_or(0),
        "config": &*view.config,
    });
    BTreeMap::from([("info".to_owned(), text.to_string())])
}

/// UpdateContainerResources
pub(super) async fn update_resources(
    engine: &Engine,
    request: api::UpdateContainerResourcesRequest,
) -> Result<api::UpdateContainerResourcesResponse, Status> {
    let wanted = convert::update(&request)?;
    let view = lookup::container(engine, &request.container_id)?;
    engine.update_resources(&view.id, wanted).await.map_err(|e| to_status(&e))?;
    Ok(api::UpdateContainerResourcesResponse {})
}

/// ReopenContainerLog
pub(super) async fn reopen_log(
    engine: &Engine,
    request: api::ReopenContainerLogRequest,
) -> Result<api::ReopenContainerLogResponse, Status> {
    let view = lookup::container(engine, &request.container_id)?;
    engine.reopen_log(&view.id).await.map_err(|e| to_status(&e))?;
    Ok(api::ReopenContainerLogResponse {})
}

/// The statuses of a pod's containers, newest first: of several of one name a kubelet takes the first.
pub(super) fn statuses(engine: &Engine, pod: &SandboxView) -> Vec<api::ContainerStatus> {
    let status = |view: &ContainerView| convert::status(view, &tags(engine, view), &volumes(engine, view));
    let mut statuses: Vec<_> = pod.containers.iter().filter_map(|view| status(view)).collect();
    statuses.sort_by_key(|status| std::cmp::Reverse(status.created_at));
    statuses
}
