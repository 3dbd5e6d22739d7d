//! The runtime service: one method for each call of the CRI, each of them handed to its verb.

mod container;
mod events;
mod exec;
mod metrics;
mod sandbox;
mod stats;
mod status;
mod streaming;

use std::pin::Pin;
use std::time::Instant;

use berth_engine::Engine;
use berth_streaming::Urls;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

#[cfg(test)]
pub(crate) use exec::timeout as exec_timeout;
#[cfg(test)]
pub(crate) use sandbox::resized;

use crate::api::{self, runtime_service_server::RuntimeService};
use crate::rows::Chunks;

/// The runtime service of an engine.
#[derive(Debug, Clone)]
pub struct Runtime {
    engine: Engine,
    urls: Urls,
    watchers: events::Watchers,
}

impl Runtime {
    /// The service for `engine`; `urls` are those of its streaming server.
    pub fn new(engine: Engine, urls: Urls) -> Self {
        Self { engine, urls, watchers: events::Watchers::default() }
    }
}

type Answer<T> = Result<Response<T>, Status>;
type Items<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Runs a call and logs it: how long it took, and why it failed.
pub(crate) async fn answer<T>(
    verb: &'static str,
    work: impl Future<Output = Result<T, Status>>,
) -> Answer<T> {
    let begun = Instant::now();
    let result = work.await;
    let ms = begun.elapsed().as_secs_f64() * 1e3;
    match result {
        Ok(value) => {
            tracing::debug!(verb, ms, "answered");
            Ok(Response::new(value))
        }
        Err(status) => {
            tracing::info!(verb, ms, code = ?status.code(), error = status.message(), "refused");
            Err(status)
        }
    }
}

/// The whole service from four tables: calls with their verbs, calls that give a URL, lists that are streamed in parts, and
/// calls that are not supported yet, which fail with an explanation.
macro_rules! service {
    (
        verbs { $($verb:ident($request:ident) -> $response:ident = $function:path;)* }
        urls { $($given:ident($given_request:ident) -> $given_response:ident = $giver:expr;)* }
        lists { $($list:ident($list_request:ident) -> $name:ident = $item:ident { $rows:ident }: $list_function:path;)* }
        later { $($call:ident($call_request:ident) -> $call_response:ident: $why:literal;)* }
    ) => {
        /// The calls that are not supported yet.
        #[cfg(test)]
        pub(crate) const LATER: &[&str] = &[$(stringify!($call),)*];

        #[tonic::async_trait]
        impl RuntimeService for Runtime {
            $(
                async fn $verb(&self, request: Request<api::$request>) -> Answer<api::$response> {
                    answer(stringify!($verb), $function(&self.engine, request.into_inner())).await
                }
            )*
            $(
                async fn $given(&self, request: Request<api::$given_request>) -> Answer<api::$given_response> {
                    let given = ($giver)(&self.engine, &self.urls, request.into_inner());
                    answer(stringify!($given), std::future::ready(given)).await
                }
            )*
            $(
                type $name = Items<api::$item>;
                async fn $list(&self, request: Request<api::$list_request>) -> Answer<Self::$name> {
                    answer(stringify!($list), async {
                        let rows = $list_function(&self.engine, request.into_inner()).await?;
                        let parts = Chunks::of(rows).map(|$rows| Ok(api::$item { $rows }));
                        Ok(Box::pin(tokio_stream::iter(parts)) as Self::$name)
                    })
                    .await
                }
            )*
            $(
                async fn $call(&self, _: Request<api::$call_request>) -> Answer<api::$call_response> {
                    Err(Status::unimplemented($why))
                }
            )*

            type GetContainerEventsStream = Items<api::ContainerEventResponse>;
            async fn get_container_events(
                &self,
                _: Request<api::GetEventsRequest>,
            ) -> Answer<Self::GetContainerEventsStream> {
                answer("get_container_events", async { events::watch(&self.engine, &self.watchers) }).await
            }
        }
    };
}

service! {
    verbs {
        version(VersionRequest) -> VersionResponse = status::version;
        status(StatusRequest) -> StatusResponse = status::status;
        runtime_config(RuntimeConfigRequest) -> RuntimeConfigResponse = status::runtime_config;
        update_runtime_config(UpdateRuntimeConfigRequest) -> UpdateRuntimeConfigResponse = status::update_runtime_config;
        run_pod_sandbox(RunPodSandboxRequest) -> RunPodSandboxResponse = sandbox::run;
        stop_pod_sandbox(StopPodSandboxRequest) -> StopPodSandboxResponse = sandbox::stop;
        remove_pod_sandbox(RemovePodSandboxRequest) -> RemovePodSandboxResponse = sandbox::remove;
        pod_sandbox_status(PodSandboxStatusRequest) -> PodSandboxStatusResponse = sandbox::status;
        list_pod_sandbox(ListPodSandboxRequest) -> ListPodSandboxResponse = sandbox::list;
        create_container(CreateContainerRequest) -> CreateContainerResponse = container::create;
        start_container(StartContainerRequest) -> StartContainerResponse = container::start;
        stop_container(StopContainerRequest) -> StopContainerResponse = container::stop;
        remove_container(RemoveContainerRequest) -> RemoveContainerResponse = container::remove;
        list_containers(ListContainersRequest) -> ListContainersResponse = container::list;
        container_status(ContainerStatusRequest) -> ContainerStatusResponse = container::status;
        update_container_resources(UpdateContainerResourcesRequest) -> UpdateContainerResourcesResponse = container::update_resources;
        reopen_container_log(ReopenContainerLogRequest) -> ReopenContainerLogResponse = container::reopen_log;
        exec_sync(ExecSyncRequest) -> ExecSyncResponse = exec::sync;
        container_stats(ContainerStatsRequest) -> ContainerStatsResponse = stats::container;
        list_container_stats(ListContainerStatsRequest) -> ListContainerStatsResponse = stats::list;
        pod_sandbox_stats(PodSandboxStatsRequest) -> PodSandboxStatsResponse = stats::pod;
        list_pod_sandbox_stats(ListPodSandboxStatsRequest) -> ListPodSandboxStatsResponse = stats::list_pods;
        list_metric_descriptors(ListMetricDescriptorsRequest) -> ListMetricDescriptorsResponse = metrics::descriptors;
        list_pod_sandbox_metrics(ListPodSandboxMetricsRequest) -> ListPodSandboxMetricsResponse = metrics::list;
        update_pod_sandbox_resources(UpdatePodSandboxResourcesRequest) -> UpdatePodSandboxResourcesResponse = sandbox::update_resources;
    }
    urls {
        exec(ExecRequest) -> ExecResponse = streaming::exec;
        attach(AttachRequest) -> AttachResponse = |engine, urls, request| streaming::attach(engine, urls, &request);
        port_forward(PortForwardRequest) -> PortForwardResponse = |engine, urls, request| streaming::port_forward(engine, urls, &request);
    }
    lists {
        stream_pod_sandboxes(StreamPodSandboxesRequest) -> StreamPodSandboxesStream = StreamPodSandboxesResponse { pod_sandboxes }: sandbox::stream;
        stream_containers(StreamContainersRequest) -> StreamContainersStream = StreamContainersResponse { containers }: container::stream;
        stream_container_stats(StreamContainerStatsRequest) -> StreamContainerStatsStream = StreamContainerStatsResponse { container_stats }: stats::stream;
        stream_pod_sandbox_stats(StreamPodSandboxStatsRequest) -> StreamPodSandboxStatsStream = StreamPodSandboxStatsResponse { pod_sandbox_stats }: stats::stream_pods;
        stream_pod_sandbox_metrics(StreamPodSandboxMetricsRequest) -> StreamPodSandboxMetricsStream = StreamPodSandboxMetricsResponse { pod_sandbox_metrics }: metrics::stream;
    }
    later {
        checkpoint_container(CheckpointContainerRequest) -> CheckpointContainerResponse: "checkpoints are not supported yet";
        checkpoint_pod(CheckpointPodRequest) -> CheckpointPodResponse: "checkpoints are not supported yet";
        restore_pod(RestorePodRequest) -> RestorePodResponse: "checkpoints are not supported yet";
    }
}
