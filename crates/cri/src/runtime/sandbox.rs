//! Pod sandboxes.

use std::collections::BTreeMap;

use berth_engine::Engine;
use berth_engine::model::{Owner, Resources, SandboxView};
use berth_types::{Classify, Kind};
use tonic::Status;

use super::container;
use crate::api;
use crate::convert::{filter, resources, sandbox as convert};
use crate::error::{FieldError, not_found, status as to_status};
use crate::lookup;

/// RunPodSandbox
pub(super) async fn run(
    engine: &Engine,
    request: api::RunPodSandboxRequest,
) -> Result<api::RunPodSandboxResponse, Status> {
    let config = request.config.ok_or(FieldError::Missing("config"))?;
    let config = convert::from_api(&config, &request.runtime_handler)?;
    let id = engine.run_sandbox(config).await.map_err(|e| to_status(&e))?;
    Ok(api::RunPodSandboxResponse { pod_sandbox_id: id.into() })
}

/// StopPodSandbox: of an unknown sandbox it is success.
pub(super) async fn stop(
    engine: &Engine,
    request: api::StopPodSandboxRequest,
) -> Result<api::StopPodSandboxResponse, Status> {
    if let Some(view) = lookup::present(lookup::sandbox(engine, &request.pod_sandbox_id))? {
        gone_is_fine(engine.stop_sandbox(&view.id).await)?;
    }
    Ok(api::StopPodSandboxResponse {})
}

/// RemovePodSandbox: of an unknown sandbox it is success.
pub(super) async fn remove(
    engine: &Engine,
    request: api::RemovePodSandboxRequest,
) -> Result<api::RemovePodSandboxResponse, Status> {
    if let Some(view) = lookup::present(lookup::sandbox(engine, &request.pod_sandbox_id))? {
        gone_is_fine(engine.remove_sandbox(&view.id).await)?;
    }
    Ok(api::RemovePodSandboxResponse {})
}

/// Another client removed it in the meantime.
pub(super) fn gone_is_fine<E: Classify>(result: Result<(), E>) -> Result<(), Status> {
    match result {
        Err(e) if e.kind() != Kind::NotFound => Err(to_status(&e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// PodSandboxStatus
pub(super) async fn status(
    engine: &Engine,
    request: api::PodSandboxStatusRequest,
) -> Result<api::PodSandboxStatusResponse, Status> {
    let key = &request.pod_sandbox_id;
    let view = lookup::sandbox(engine, key)?;
    let status = convert::status(&view).ok_or_else(|| not_found("pod sandbox", key))?;
    Ok(api::PodSandboxStatusResponse {
        status: Some(status),
        info: if request.verbose {
            info(&view, engine.network_details(&view.id).await)
        } else {
            BTreeMap::new()
        },
        containers_statuses: container::statuses(engine, &view),
        // With a time, a kubelet whose EventedPLEG is on takes the statuses from here, and forgets which of them belong to the pod's present
        // sandbox: that of 1.37 then runs init containers again and again. Without, it asks for each of them.
        timestamp: 0,
    })
}

/// What tools read beside the status. They enter the pod's namespaces by `pid`, so it is that of a process in the pod
/// and never the shim's, which is in the host's namespaces; a sandbox without a container has none, and is entered
/// by the path of its network namespace. `cni` has the network's name and the result of its plugins.
fn info(view: &SandboxView, network: Option<serde_json::Value>) -> BTreeMap<String, String> {
    let netns = view.netns.as_ref().map(|path| path.to_string_lossy());
    let runtime_spec = serde_json::json!({
        "linux": { "namespaces": netns.iter().map(|path| serde_json::json!({ "type": "network", "path": path })).collect::<Vec<_>>() }
    });
    let mut info = serde_json::json!({
        "shimPid": view.shim_pid,
        "netns": netns,
        "interface": view.interface,
        "handler": if view.config.handler.is_empty() { "native" } else { &view.config.handler },
        "message": view.message,
        "runtimeSpec": runtime_spec,
        "config": &*view.config,
    });
    if let Some(network) = network {
        info["cni"] = network;
    }
    if let Some(pid) = view.containers.iter().find_map(|container| container.pid) {
        info["pid"] = pid.into();
    }
    BTreeMap::from([("info".to_owned(), info.to_string())])
}

/// ListPodSandbox
pub(super) async fn list(
    engine: &Engine,
    request: api::ListPodSandboxRequest,
) -> Result<api::ListPodSandboxResponse, Status> {
    Ok(api::ListPodSandboxResponse { items: rows(engine, request.filter)?.collect() })
}

/// StreamPodSandboxes
pub(super) async fn stream(
    engine: &Engine,
    request: api::StreamPodSandboxesRequest,
) -> Result<impl Iterator<Item = api::PodSandbox> + Send + use<>, Status> {
    rows(engine, request.filter)
}

fn rows(
    engine: &Engine,
    filter: Option<api::PodSandboxFilter>,
) -> Result<impl Iterator<Item = api::PodSandbox> + Send + use<>, Status> {
    let filter = filter::Sandboxes::from_api(filter)?;
    let views = engine.sandboxes(Some(Owner::Cri)).into_iter();
    Ok(views.filter_map(|view| convert::row(&view)).filter(move |row| filter.shows(row)))
}

/// UpdatePodSandboxResources: a kubelet has set the pod's cgroup itself, and says so.
pub(super) async fn update_resources(
    engine: &Engine,
    request: api::UpdatePodSandboxResourcesRequest,
) -> Result<api::UpdatePodSandboxResourcesResponse, Status> {
    let change = resized(&request)?;
    let view = lookup::sandbox(engine, &request.pod_sandbox_id)?;
    engine.update_sandbox_resources(&view.id, change).await.map_err(|e| to_status(&e))?;
    Ok(api::UpdatePodSandboxResourcesResponse {})
}

/// The change of a pod's limits asked for. The overhead is a part of them already where a kubelet sets them.
pub(crate) fn resized(from: &api::UpdatePodSandboxResourcesRequest) -> Result<Resources, FieldError> {
    resources::of_sandbox("resources", from.resources.as_ref())
}

#[cfg(test)]
mod tests;
