//! The runtime service: one method for each call of the CRI, each of them handed to its verb.

mod container;
mod exec;
mod sandbox;
mod stats;
mod status;

use std::pin::Pin;
use std::time::Instant;

use berth_engine::Engine;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

#[cfg(test)]
pub(crate) use exec::timeout as exec_timeout;

use crate::api::{self, runtime_service_server::RuntimeService};

/// The runtime service of an engine.
#[derive(Debug, Clone)]
pub struct Runtime {
    engine: Engine,
}

impl Runtime {
    /// The service for `engine`.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

type Answer<T> = Result<Response<T>, Status>;
/// The stream of a call that has none yet: the call fails before it begins.
type NoStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

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

/// The whole service from three tables: calls with their verbs, calls that are not supported yet, and
/// streams that are not supported yet. Those fail with an explanation, streams on their first
/// message, so that a kubelet falls back to what is supported.
macro_rules! service {
    (
        verbs { $($verb:ident($request:ident) -> $response:ident = $function:path;)* }
        later { $($call:ident($call_request:ident) -> $call_response:ident: $why:literal;)* }
        streams { $($stream:ident($stream_request:ident) -> $name:ident = $item:ident: $stream_why:literal;)* }
    ) => {
        /// The calls that are not supported yet.
        #[cfg(test)]
        pub(crate) const LATER: &[&str] = &[$(stringify!($call),)* $(stringify!($stream),)*];

        #[tonic::async_trait]
        impl RuntimeService for Runtime {
            $(
                async fn $verb(&self, request: Request<api::$request>) -> Answer<api::$response> {
                    answer(stringify!($verb), $function(&self.engine, request.into_inner())).await
                }
            )*
            $(
                async fn $call(&self, _: Request<api::$call_request>) -> Answer<api::$call_response> {
                    Err(Status::unimplemented($why))
                }
            )*
            $(
                type $name = NoStream<api::$item>;
                async fn $stream(&self, _: Request<api::$stream_request>) -> Answer<Self::$name> {
                    Err(Status::unimplemented($stream_why))
                }
            )*
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
    }
    later {
        exec(ExecRequest) -> ExecResponse: "exec by URL is not supported yet: use ExecSync (crictl exec -s), or berth exec";
        attach(AttachRequest) -> AttachResponse: "attach by URL is not supported yet: use berth attach or berth logs -f";
        port_forward(PortForwardRequest) -> PortForwardResponse: "port forwarding is not supported yet: the pod's address is reachable from this machine";
        pod_sandbox_stats(PodSandboxStatsRequest) -> PodSandboxStatsResponse: "pod statistics are not supported yet";
        list_pod_sandbox_stats(ListPodSandboxStatsRequest) -> ListPodSandboxStatsResponse: "pod statistics are not supported yet";
        checkpoint_container(CheckpointContainerRequest) -> CheckpointContainerResponse: "checkpoints are not supported yet";
        checkpoint_pod(CheckpointPodRequest) -> CheckpointPodResponse: "checkpoints are not supported yet";
        restore_pod(RestorePodRequest) -> RestorePodResponse: "checkpoints are not supported yet";
        list_metric_descriptors(ListMetricDescriptorsRequest) -> ListMetricDescriptorsResponse: "pod metrics are not supported yet";
        list_pod_sandbox_metrics(ListPodSandboxMetricsRequest) -> ListPodSandboxMetricsResponse: "pod metrics are not supported yet";
        update_pod_sandbox_resources(UpdatePodSandboxResourcesRequest) -> UpdatePodSandboxResourcesResponse: "resizing a pod as a whole is not supported yet: resize its containers";
    }
    streams {
        stream_pod_sandboxes(StreamPodSandboxesRequest) -> StreamPodSandboxesStream = StreamPodSandboxesResponse: "use ListPodSandbox";
        stream_containers(StreamContainersRequest) -> StreamContainersStream = StreamContainersResponse: "use ListContainers";
        stream_container_stats(StreamContainerStatsRequest) -> StreamContainerStatsStream = StreamContainerStatsResponse: "use ListContainerStats";
        stream_pod_sandbox_stats(StreamPodSandboxStatsRequest) -> StreamPodSandboxStatsStream = StreamPodSandboxStatsResponse: "pod statistics are not supported yet";
        stream_pod_sandbox_metrics(StreamPodSandboxMetricsRequest) -> StreamPodSandboxMetricsStream = StreamPodSandboxMetricsResponse: "pod metrics are not supported yet";
        get_container_events(GetEventsRequest) -> GetContainerEventsStream = ContainerEventResponse: "container events are not supported yet: list the containers";
    }
}
