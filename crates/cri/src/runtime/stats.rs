//! What containers use. Only running ones have numbers.

use berth_engine::Engine;
use berth_engine::model::Owner;
use tonic::Status;

use crate::api;
use crate::convert::{container, filter, stats as convert};
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
    let stats = stats.map(|s| convert::to_api(&s, &mountpoint(engine))).ok_or_else(ended)?;
    Ok(api::ContainerStatsResponse { stats: Some(stats) })
}

/// ListContainerStats: those that ended are left out.
pub(super) async fn list(
    engine: &Engine,
    request: api::ListContainerStatsRequest,
) -> Result<api::ListContainerStatsResponse, Status> {
    let wanted = filter::Containers::of_stats(request.filter);
    let wanted = engine
        .containers(Some(Owner::Cri))
        .into_iter()
        .filter(|view| container::row(view).is_some_and(|row| wanted.shows(&row)))
        .collect();
    let at = mountpoint(engine);
    let stats = engine.stats(wanted).await;
    Ok(api::ListContainerStatsResponse { stats: stats.iter().map(|s| convert::to_api(s, &at)).collect() })
}

fn mountpoint(engine: &Engine) -> String {
    engine.images().dir().display().to_string()
}
