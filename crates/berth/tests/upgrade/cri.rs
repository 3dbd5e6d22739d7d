//! Calls of the CRI, as a kubelet makes them.

use std::path::Path;

use berth_cri::api;
use berth_cri::api::runtime_service_client::RuntimeServiceClient;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use crate::home::{BUSYBOX, LIMIT};

/// A connection.
pub struct Cri {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
}

impl Cri {
    pub fn connect(socket: &Path) -> Result<Self, tonic::transport::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let socket = socket.to_owned();
        let connect = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://kubelet");
        let channel = runtime.block_on(async { endpoint.connect_with_connector(connect).await })?;
        Ok(Self { runtime, channel })
    }

    /// One call, with a limit.
    pub fn call<T>(
        &self,
        call: impl AsyncFnOnce(RuntimeServiceClient<Channel>) -> Result<Response<T>, Status>,
    ) -> Result<T, Status> {
        self.call_on(async |channel| call(RuntimeServiceClient::new(channel)).await)
    }

    /// One call of any service, with a limit.
    pub fn call_on<T>(
        &self,
        call: impl AsyncFnOnce(Channel) -> Result<Response<T>, Status>,
    ) -> Result<T, Status> {
        let limited = async { tokio::time::timeout(LIMIT, call(self.channel.clone())).await };
        let answer = self.runtime.block_on(limited);
        answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer"))).map(Response::into_inner)
    }

    /// One call that is given up after this time, if it is not answered before.
    pub fn give_up<T>(
        &self,
        after: std::time::Duration,
        call: impl AsyncFnOnce(RuntimeServiceClient<Channel>) -> Result<Response<T>, Status>,
    ) -> Option<Result<T, Status>> {
        let client = RuntimeServiceClient::new(self.channel.clone());
        let answer = self.runtime.block_on(async { tokio::time::timeout(after, call(client)).await });
        answer.ok().map(|answer| answer.map(Response::into_inner))
    }

    pub fn run(&self, config: &api::PodSandboxConfig) -> Result<String, Status> {
        self.run_by("", config)
    }

    /// A pod of that handler; the daemon's default by the empty name.
    pub fn run_by(&self, handler: &str, config: &api::PodSandboxConfig) -> Result<String, Status> {
        let request =
            api::RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: handler.into() };
        self.call(async |mut c| c.run_pod_sandbox(request).await).map(|answer| answer.pod_sandbox_id)
    }

    pub fn create(
        &self,
        pod: &str,
        config: &api::PodSandboxConfig,
        container: api::ContainerConfig,
    ) -> Result<String, Status> {
        let request = api::CreateContainerRequest {
            pod_sandbox_id: pod.into(),
            config: Some(container),
            sandbox_config: Some(config.clone()),
        };
        self.call(async |mut c| c.create_container(request).await).map(|answer| answer.container_id)
    }

    pub fn start(&self, id: &str) -> Result<(), Status> {
        let request = api::StartContainerRequest { container_id: id.into() };
        self.call(async |mut c| c.start_container(request).await).map(drop)
    }

    pub fn stop(&self, id: &str, timeout: i64) -> Result<(), Status> {
        let request = api::StopContainerRequest { container_id: id.into(), timeout };
        self.call(async |mut c| c.stop_container(request).await).map(drop)
    }

    pub fn remove(&self, id: &str) -> Result<(), Status> {
        let request = api::RemoveContainerRequest { container_id: id.into() };
        self.call(async |mut c| c.remove_container(request).await).map(drop)
    }

    pub fn stop_pod(&self, id: &str) -> Result<(), Status> {
        let request = api::StopPodSandboxRequest { pod_sandbox_id: id.into() };
        self.call(async |mut c| c.stop_pod_sandbox(request).await).map(drop)
    }

    pub fn remove_pod(&self, id: &str) -> Result<(), Status> {
        let request = api::RemovePodSandboxRequest { pod_sandbox_id: id.into() };
        self.call(async |mut c| c.remove_pod_sandbox(request).await).map(drop)
    }

    /// What a command in the container wrote.
    pub fn exec(&self, id: &str, command: &[&str]) -> Result<String, Status> {
        let cmd = command.iter().map(|&word| word.into()).collect();
        let request = api::ExecSyncRequest { container_id: id.into(), cmd, timeout: 60 };
        let answer = self.call(async |mut c| c.exec_sync(request).await)?;
        Ok(String::from_utf8_lossy(&answer.stdout).into_owned())
    }

    pub fn reopen_log(&self, id: &str) -> Result<(), Status> {
        let request = api::ReopenContainerLogRequest { container_id: id.into() };
        self.call(async |mut c| c.reopen_container_log(request).await).map(drop)
    }

    pub fn limit_memory(&self, id: &str, bytes: i64) -> Result<(), Status> {
        let linux = api::LinuxContainerResources { memory_limit_in_bytes: bytes, ..Default::default() };
        let request = api::UpdateContainerResourcesRequest {
            container_id: id.into(),
            linux: Some(linux),
            ..Default::default()
        };
        self.call(async |mut c| c.update_container_resources(request).await).map(drop)
    }

    pub fn status(&self, id: &str) -> Result<api::ContainerStatus, Status> {
        let request = api::ContainerStatusRequest { container_id: id.into(), verbose: false };
        let answer = self.call(async |mut c| c.container_status(request).await)?;
        Ok(answer.status.expect("a status"))
    }

    /// The main process, from what `crictl inspect` shows.
    pub fn pid(&self, id: &str) -> u32 {
        let request = api::ContainerStatusRequest { container_id: id.into(), verbose: true };
        let answer = self.call(async |mut c| c.container_status(request).await).unwrap();
        pid_of(&answer.info["info"], "pid")
    }

    /// The pod's shim, from what `crictl inspectp` shows.
    pub fn shim_pid(&self, pod: &str) -> u32 {
        let request = api::PodSandboxStatusRequest { pod_sandbox_id: pod.into(), verbose: true };
        let answer = self.call(async |mut c| c.pod_sandbox_status(request).await).unwrap();
        pid_of(&answer.info["info"], "shimPid")
    }

    pub fn containers(&self) -> Result<Vec<api::Container>, Status> {
        let request = api::ListContainersRequest::default();
        self.call(async |mut c| c.list_containers(request).await).map(|answer| answer.containers)
    }

    pub fn pods(&self) -> Result<Vec<api::PodSandbox>, Status> {
        let request = api::ListPodSandboxRequest::default();
        self.call(async |mut c| c.list_pod_sandbox(request).await).map(|answer| answer.items)
    }
}

fn pid_of(info: &str, key: &str) -> u32 {
    let info: serde_json::Value = serde_json::from_str(info).unwrap();
    info[key].as_u64().and_then(|pid| pid.try_into().ok()).unwrap_or_else(|| panic!("{info}"))
}

/// A pod with a network of its own, or that of the host.
pub fn pod(
    name: &str,
    logs: &Path,
    network: api::NamespaceMode,
    pid: api::NamespaceMode,
) -> api::PodSandboxConfig {
    let options = api::NamespaceOption {
        network: network as i32,
        pid: pid as i32,
        ipc: api::NamespaceMode::Pod as i32,
        ..Default::default()
    };
    let security =
        api::LinuxSandboxSecurityContext { namespace_options: Some(options), ..Default::default() };
    api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata {
            name: name.into(),
            uid: name.into(),
            namespace: "upgrade".into(),
            attempt: 3,
        }),
        log_directory: logs.join(name).display().to_string(),
        linux: Some(api::LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() }),
        ..Default::default()
    }
}

/// A shell line as container of such a pod.
pub fn shell(name: &str, pod: &api::PodSandboxConfig, line: &str) -> api::ContainerConfig {
    let sandbox = pod.linux.as_ref().and_then(|l| l.security_context.as_ref());
    let security = api::LinuxContainerSecurityContext {
        namespace_options: sandbox.and_then(|s| s.namespace_options.clone()),
        ..Default::default()
    };
    api::ContainerConfig {
        metadata: Some(api::ContainerMetadata { name: name.into(), attempt: 4 }),
        image: Some(api::ImageSpec { image: BUSYBOX.into(), ..Default::default() }),
        command: ["sh", "-c", line].map(str::to_owned).into(),
        log_path: format!("{name}.log"),
        linux: Some(api::LinuxContainerConfig { security_context: Some(security), ..Default::default() }),
        ..Default::default()
    }
}
