//! Metrics of pods and containers, under the names that a kubelet's own cAdvisor gives them.

use berth_engine::Engine;
use berth_engine::model::{ContainerView, Owner};
use tonic::Status;

use crate::api;
use crate::convert::{container, metrics as convert};
use crate::error::status;

/// ListMetricDescriptors: the same for as long as the program runs.
pub(super) async fn descriptors(
    _: &Engine,
    _: api::ListMetricDescriptorsRequest,
) -> Result<api::ListMetricDescriptorsResponse, Status> {
    Ok(api::ListMetricDescriptorsResponse { descriptors: convert::descriptors() })
}

/// ListPodSandboxMetrics
pub(super) async fn list(
    engine: &Engine,
    _: api::ListPodSandboxMetricsRequest,
) -> Result<api::ListPodSandboxMetricsResponse, Status> {
    Ok(api::ListPodSandboxMetricsResponse { pod_metrics: pods(engine).await?.collect() })
}

/// StreamPodSandboxMetrics
pub(super) async fn stream(
    engine: &Engine,
    _: api::StreamPodSandboxMetricsRequest,
) -> Result<impl Iterator<Item = api::PodSandboxMetrics> + Send + use<>, Status> {
    pods(engine).await
}

async fn pods(
    engine: &Engine,
) -> Result<impl Iterator<Item = api::PodSandboxMetrics> + Send + use<>, Status> {
    let views = engine.sandboxes(Some(Owner::Cri));
    let mut metrics = engine.metrics(views).await.map_err(|e| status(&e))?;
    let pods = std::mem::take(&mut metrics.pods);
    let engine = engine.clone();
    let image =
        move |view: &ContainerView| container::image_name(view, &super::container::tags(&engine, view));
    Ok(pods.into_iter().map(move |pod| convert::pod(&pod, &metrics, &image)))
}
