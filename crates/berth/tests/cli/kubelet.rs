//! What a kubelet does over its one connection.

use std::time::Duration;

use berth_cri::api;
use berth_cri::api::runtime_service_client::RuntimeServiceClient;
use berth_testkit::require_root;
use hyper_util::rt::TokioIo;
use tonic::transport::Endpoint;

use crate::home::{BUSYBOX, Home};

/// More calls than HTTP/2 servers take at once unless they are told otherwise.
const STOPS: usize = 300;
const LIMIT: Duration = Duration::from_secs(60);

/// A node is drained: every container is asked to stop and takes its time. The node must not look dead until then.
#[test]
fn calls_that_wait_hold_up_no_others() {
    require_root!();
    let home = Home::start();
    home.berth(&["pull", "-q", BUSYBOX]).fine();
    let socket = home.daemon.socket();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let connect = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://kubelet").connect_with_connector(connect).await.unwrap();
        let mut client = RuntimeServiceClient::new(channel);
        let config = api::PodSandboxConfig {
            metadata: Some(api::PodSandboxMetadata { name: "drained".into(), ..Default::default() }),
            ..Default::default()
        };
        let request = api::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        let pod = client.run_pod_sandbox(request).await.unwrap().into_inner().pod_sandbox_id;
        let container = api::ContainerConfig {
            metadata: Some(api::ContainerMetadata { name: "deaf".into(), ..Default::default() }),
            image: Some(api::ImageSpec { image: BUSYBOX.into(), ..Default::default() }),
            // The first process of a PID namespace does not heed a signal that it has no handler for.
            command: vec!["sleep".into(), "3600".into()],
            linux: Some(api::LinuxContainerConfig {
                security_context: Some(api::LinuxContainerSecurityContext {
                    namespace_options: Some(api::NamespaceOption {
                        pid: api::NamespaceMode::Container as i32,
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let request = api::CreateContainerRequest {
            pod_sandbox_id: pod.clone(),
            config: Some(container),
            sandbox_config: Some(config),
        };
        let id = client.create_container(request).await.unwrap().into_inner().container_id;
        let request = api::StartContainerRequest { container_id: id.clone() };
        client.start_container(request).await.unwrap();
        let mut stops = tokio::task::JoinSet::new();
        let stop = |timeout| api::StopContainerRequest { container_id: id.clone(), timeout };
        for _ in 0..STOPS {
            let (mut client, request) = (client.clone(), stop(3600));
            stops.spawn(async move { client.stop_container(request).await });
        }
        // All of them are under way when the next call is made.
        for _ in 0..STOPS {
            tokio::task::yield_now().await;
        }
        let asked = client.status(api::StatusRequest { verbose: false });
        tokio::time::timeout(LIMIT, asked).await.expect("the daemon answers").unwrap();
        let sooner = client.stop_container(stop(0));
        tokio::time::timeout(LIMIT, sooner).await.expect("the container is stopped").unwrap();
        while let Some(stopped) = stops.join_next().await {
            stopped.unwrap().unwrap();
        }
        let request = api::RemovePodSandboxRequest { pod_sandbox_id: pod };
        client.remove_pod_sandbox(request).await.unwrap();
    });
    home.clean();
}
