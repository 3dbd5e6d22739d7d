//! What a kubelet watches and lists over a real connection: events, streamed lists, statistics, metrics.

use std::collections::BTreeSet;

use berth_cri::api::runtime_service_client::RuntimeServiceClient;
use berth_cri::api::{self, ContainerEventType as Kind};
use berth_testkit::require_root;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};

use crate::home::{BUSYBOX, Home, LIMIT};

async fn connect(home: &Home) -> RuntimeServiceClient<Channel> {
    let socket = home.daemon.socket();
    let connect = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://kubelet").connect_with_connector(connect).await.unwrap();
    RuntimeServiceClient::new(channel)
}

fn pod_config(name: &str) -> api::PodSandboxConfig {
    let metadata =
        api::PodSandboxMetadata { name: name.into(), uid: format!("uid-{name}"), ..Default::default() };
    api::PodSandboxConfig { metadata: Some(metadata), ..Default::default() }
}

async fn run_pod(client: &mut RuntimeServiceClient<Channel>, name: &str) -> String {
    let request = api::RunPodSandboxRequest { config: Some(pod_config(name)), ..Default::default() };
    client.run_pod_sandbox(request).await.unwrap().into_inner().pod_sandbox_id
}

async fn start(
    client: &mut RuntimeServiceClient<Channel>,
    pod: &str,
    name: &str,
    command: &[&str],
) -> String {
    let container = api::ContainerConfig {
        metadata: Some(api::ContainerMetadata { name: name.into(), ..Default::default() }),
        image: Some(api::ImageSpec { image: BUSYBOX.into(), ..Default::default() }),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        ..Default::default()
    };
    let request = api::CreateContainerRequest {
        pod_sandbox_id: pod.into(),
        config: Some(container),
        sandbox_config: Some(pod_config("any")),
    };
    let id = client.create_container(request).await.unwrap().into_inner().container_id;
    client.start_container(api::StartContainerRequest { container_id: id.clone() }).await.unwrap();
    id
}

async fn remove(client: &mut RuntimeServiceClient<Channel>, pod: &str) {
    client.remove_pod_sandbox(api::RemovePodSandboxRequest { pod_sandbox_id: pod.into() }).await.unwrap();
}

/// contract 49: a sandbox is a container of its pod here, every event has the statuses of its moment, DELETED comes,
/// and a client that does not read holds nothing up.
#[test]
fn events_tell_a_pods_life_with_the_statuses_of_each_moment() {
    require_root!();
    let home = Home::start();
    home.berth(&["pull", "-q", BUSYBOX]).fine();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = connect(&home).await;
        let _deaf = client.get_container_events(api::GetEventsRequest {}).await.unwrap().into_inner();
        let mut events = client.get_container_events(api::GetEventsRequest {}).await.unwrap().into_inner();
        let pod = run_pod(&mut client, "told").await;
        let id = start(&mut client, &pod, "c", &["sh", "-c", "exit 3"]).await;
        let mut told = Vec::new();
        let mut last = 0;
        let mut removed = false;
        while told.last() != Some(&(pod.clone(), Kind::ContainerDeletedEvent)) {
            let next = tokio::time::timeout(LIMIT, events.message()).await.expect("an event in time");
            let event = next.unwrap().expect("the stream goes on");
            let status = event.pod_sandbox_status.as_ref().expect("a kubelet drops events without it");
            assert_eq!(status.metadata.as_ref().unwrap().uid, "uid-told");
            assert!(event.created_at >= last && event.created_at > 0);
            last = event.created_at;
            let kind = event.container_event_type();
            if event.container_id == id && kind == Kind::ContainerStoppedEvent {
                let ended = event.containers_statuses.iter().find(|status| status.id == id).unwrap();
                assert_eq!((ended.state(), ended.exit_code), (api::ContainerState::ContainerExited, 3));
                assert!(!std::mem::replace(&mut removed, true), "it stops once");
                remove(&mut client, &pod).await;
            }
            told.push((event.container_id, kind));
        }
        use Kind::{
            ContainerCreatedEvent as Created, ContainerDeletedEvent as Deleted,
            ContainerStartedEvent as Started, ContainerStoppedEvent as Stopped,
        };
        let of = |wanted: &str| {
            told.iter().filter(|(id, _)| id == wanted).map(|(_, kind)| *kind).collect::<Vec<_>>()
        };
        assert_eq!(of(&pod), [Created, Started, Stopped, Deleted], "{told:?}");
        assert_eq!(of(&id), [Created, Started, Stopped, Deleted], "{told:?}");
    });
    home.clean();
}

/// contract 6: a streamed list has the rows of the list, each once; and what runs has statistics and metrics.
#[test]
fn streamed_lists_have_the_rows_of_the_lists() {
    require_root!();
    let home = Home::start();
    home.berth(&["pull", "-q", BUSYBOX]).fine();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = connect(&home).await;
        let mut pods = BTreeSet::new();
        for name in ["one", "two", "three"] {
            pods.insert(run_pod(&mut client, name).await);
        }
        let pod = pods.first().unwrap().clone();
        let container = start(&mut client, &pod, "c", &["sleep", "1000"]).await;
        macro_rules! streamed {
            ($call:ident, $request:ident, $rows:ident) => {{
                let mut stream = client.$call(api::$request::default()).await.unwrap().into_inner();
                let mut rows = Vec::new();
                while let Some(part) = stream.message().await.unwrap() {
                    assert!(!part.$rows.is_empty());
                    rows.extend(part.$rows);
                }
                rows
            }};
        }
        let rows = streamed!(stream_pod_sandboxes, StreamPodSandboxesRequest, pod_sandboxes);
        assert_eq!(rows.iter().map(|row| row.id.clone()).collect::<BTreeSet<_>>(), pods);
        assert_eq!(rows.len(), 3);
        let rows = streamed!(stream_containers, StreamContainersRequest, containers);
        assert_eq!(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), [container.as_str()]);
        let rows = streamed!(stream_container_stats, StreamContainerStatsRequest, container_stats);
        assert_eq!(rows[0].attributes.as_ref().unwrap().id, container);
        let rows = streamed!(stream_pod_sandbox_stats, StreamPodSandboxStatsRequest, pod_sandbox_stats);
        assert_eq!(rows.len(), 3);
        let inside = |row: &api::PodSandboxStats| row.linux.as_ref().unwrap().containers.len();
        assert_eq!(rows.iter().map(inside).sum::<usize>(), 1);
        let rows = streamed!(stream_pod_sandbox_metrics, StreamPodSandboxMetricsRequest, pod_sandbox_metrics);
        assert_eq!(rows.iter().map(|row| row.pod_sandbox_id.clone()).collect::<BTreeSet<_>>(), pods);
        let metrics = rows.iter().flat_map(|row| &row.container_metrics).flat_map(|row| &row.metrics);
        assert!(metrics.count() > 40);
        // No pod is no message, and no error.
        for pod in &pods {
            remove(&mut client, pod).await;
        }
        assert!(streamed!(stream_pod_sandboxes, StreamPodSandboxesRequest, pod_sandboxes).is_empty());
        // contract 6: what is not there fails with Unimplemented.
        let refused = client.checkpoint_pod(api::CheckpointPodRequest::default()).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unimplemented);
    });
    home.clean();
}
