//! What pods and containers use. Only what runs has numbers.

use berth_engine::Engine;
use berth_engine::model::{ContainerView, Owner, SandboxView};
use std::sync::Arc;
use tonic::Status;

use crate::api;
use crate::convert::{container, filter, sandbox, stats as convert};
use crate::error::{not_found, status};
use crate::lookup;

/// ContainerStats
pub(super) async fn container(
    engine: &Engine,
    request: api::ContainerStatsRequest,
) -> Result<api::ContainerStatsResponse, Status> {
    let view = lookup::container(engine, &request.container_id)?;
    let stats = engine.stats_of(view).await.map_err(|e| status(&e))?;
    let ended = || not_found("running container", &request.container_id);
    let stats = stats.map(|s| convert::container(&s, &mountpoint(engine))).ok_or_else(ended)?;
    Ok(api::ContainerStatsResponse { stats: Some(stats) })
}

/// ListContainerStats: those that ended are left out.
pub(super) async fn list(
    engine: &Engine,
    request: api::ListContainerStatsRequest,
) -> Result<api::ListContainerStatsResponse, Status> {
    Ok(api::ListContainerStatsResponse { stats: containers(engine, request.filter).await.collect() })
}

/// StreamContainerStats
pub(super) async fn stream(
    engine: &Engine,
    request: api::StreamContainerStatsRequest,
) -> Result<impl Iterator<Item = api::ContainerStats> + Send + use<>, Status> {
    Ok(containers(engine, request.filter).await)
}

async fn containers(
    engine: &Engine,
    filter: Option<api::ContainerStatsFilter>,
) -> impl Iterator<Item = api::ContainerStats> + Send + use<> {
    let wanted = filter::Containers::of_stats(filter);
    let shows = |view: &Arc<ContainerView>| container::row(view).is_some_and(|row| wanted.shows(&row));
    let views = engine.containers(Some(Owner::Cri)).into_iter().filter(shows).collect();
    let at = mountpoint(engine);
    engine.stats(views).await.into_iter().map(move |stats| convert::container(&stats, &at))
}

/// PodSandboxStats
pub(super) async fn pod(
    engine: &Engine,
    request: api::PodSandboxStatsRequest,
) -> Result<api::PodSandboxStatsResponse, Status> {
    let view = lookup::sandbox(engine, &request.pod_sandbox_id)?;
    let stats = engine.pod_stats(vec![view]).await.map_err(|e| status(&e))?.pop();
    let ended = || not_found("ready pod sandbox", &request.pod_sandbox_id);
    let stats = stats.map(|stats| convert::pod(&stats, &mountpoint(engine))).ok_or_else(ended)?;
    Ok(api::PodSandboxStatsResponse { stats: Some(stats) })
}

/// ListPodSandboxStats: those that ended are left out.
pub(super) async fn list_pods(
    engine: &Engine,
    request: api::ListPodSandboxStatsRequest,
) -> Result<api::ListPodSandboxStatsResponse, Status> {
    Ok(api::ListPodSandboxStatsResponse { stats: pods(engine, request.filter).await?.collect() })
}

/// StreamPodSandboxStats
pub(super) async fn stream_pods(
    engine: &Engine,
    request: api::StreamPodSandboxStatsRequest,
) -> Result<impl Iterator<Item = api::PodSandboxStats> + Send + use<>, Status> {
    pods(engine, request.filter).await
}

async fn pods(
    engine: &Engine,
    filter: Option<api::PodSandboxStatsFilter>,
) -> Result<impl Iterator<Item = api::PodSandboxStats> + Send + use<>, Status> {
    let wanted = filter::Sandboxes::of_stats(filter);
    let shows = |view: &Arc<SandboxView>| sandbox::row(view).is_some_and(|row| wanted.shows(&row));
    let views = engine.sandboxes(Some(Owner::Cri)).into_iter().filter(shows).collect();
    let at = mountpoint(engine);
    let stats = engine.pod_stats(views).await.map_err(|e| status(&e))?;
    Ok(stats.into_iter().map(move |stats| convert::pod(&stats, &at)))
}

fn mountpoint(engine: &Engine) -> String {
    engine.images().dir().display().to_string()
}
