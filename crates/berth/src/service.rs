//! Berth's own service: what the command line asks and the CRI does not say.

mod acts;
mod archive;
mod artifacts;
mod forward;
mod images;
mod look;
mod observe;
mod pods;
mod push;
mod services;
mod streams;
mod target;
mod views;
mod volumes;
mod waits;
mod workloads;

use std::path::PathBuf;
use std::pin::Pin;

use berth_engine::Engine;
use berth_engine::model::{ContainerView, Owner, SandboxView};
use berth_pod::controller::Pods;
use berth_pod::service::Services;
use berth_pod::status::{self, Shape};
use berth_pod::workload::Workloads;
use berth_types::Classify;
use berth_types::lifecycle::container::State;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::api::{self, berth_server::Berth};

/// Messages on their way to a client that reads slowly.
const QUEUE: usize = 32;

/// The state of a container that is paused.
const PAUSED: &str = "paused";

/// The service of an engine.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) engine: Engine,
    pub(crate) pods: Pods,
    pub(crate) workloads: Workloads,
    pub(crate) services: Services,
    end: watch::Sender<bool>,
}

type Answer<T> = Result<Response<T>, Status>;
type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The status for an error of any crate.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn refuse<E: Classify>(error: E) -> Status {
    berth_cri::error::status(&error)
}

impl Service {
    /// The service for `engine`; `end` tells the daemon to end. Local pods and workloads go on from here.
    pub(crate) async fn start(engine: Engine, end: watch::Sender<bool>) -> Self {
        let root: PathBuf = engine.config().root.clone();
        let pods = Pods::open(engine.clone(), root.join("pods"), root.join("claims"));
        // Before workloads make pods, which are told of their DNS.
        let services = Services::open(engine.clone(), pods.clone(), root.join("services")).await;
        let workloads = Workloads::open(engine.clone(), pods.clone(), root.join("workloads"));
        Self { engine, pods, workloads, services, end }
    }

    /// How a pod is shown in a list.
    fn status(&self, shape: &Shape, view: &SandboxView) -> status::Status {
        let ready = |container: &ContainerView| self.ready(view.config.owner, container).0 != Some(false);
        status::of(shape, view.state, &view.containers, ready)
    }

    /// The word for the state of a container; that of one that is paused is kept by its cgroup alone.
    fn state(&self, view: &ContainerView) -> &'static str {
        if view.state == State::Running && self.engine.is_paused(view) { PAUSED } else { view.state.word() }
    }

    /// Whether a container of a local pod is ready, and why not. A kubelet knows it of its own.
    fn ready(&self, owner: Owner, view: &ContainerView) -> (Option<bool>, String) {
        if owner != Owner::Local {
            return (None, String::new());
        }
        let runs = view.state == State::Running;
        match self.pods.health(&view.id) {
            Some(shown) => (Some(runs && shown.ready), shown.message),
            None => (Some(runs), String::new()),
        }
    }
}

/// A stream of messages and the sender that feeds it.
fn stream<T: Send + 'static>() -> (mpsc::Sender<Result<T, Status>>, Answer<Messages<T>>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (sender, Ok(Response::new(Box::pin(ReceiverStream::new(receiver)))))
}

#[tonic::async_trait]
impl Berth for Service {
    type PlayStream = Messages<api::PlayEvent>;
    type ExecStream = Messages<api::Output>;
    type AttachStream = Messages<api::Output>;
    type WatchStream = Messages<api::Happened>;
    type ForwardStream = Messages<api::ForwardOutput>;
    type ArtifactFileStream = Messages<api::Chunk>;
    type PullStream = Messages<api::PullEvent>;
    type PushStream = Messages<api::PushEvent>;
    type LoadStream = Messages<api::LoadEvent>;
    type SaveStream = Messages<api::Chunk>;

    async fn info(&self, _: Request<api::InfoRequest>) -> Answer<api::InfoResponse> {
        let config = self.engine.config();
        Ok(Response::new(api::InfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: i32::try_from(std::process::id()).unwrap_or(0),
            instance: config.instance.clone(),
            root: config.root.display().to_string(),
            state: config.state.display().to_string(),
            cgroup_root: self.engine.cgroup_root().to_owned(),
            cgroup_driver: self.engine.cgroup_driver().name().to_owned(),
            bridge: config.builtin.bridge.clone(),
            table: config.builtin.table.clone(),
            pod_cidr: config.builtin.cidr4.clone(),
        }))
    }

    async fn handlers(&self, _: Request<api::HandlersRequest>) -> Answer<api::HandlersResponse> {
        let handlers = self.engine.examine_handlers().await.into_iter().map(views::handler).collect();
        Ok(Response::new(api::HandlersResponse { handlers }))
    }

    async fn list(&self, _: Request<api::ListRequest>) -> Answer<api::ListResponse> {
        let images = self.engine.images();
        let pods = self.engine.sandboxes(None);
        let pods = pods.iter().map(|pod_view| {
            let mut pod = views::pod(pod_view);
            let shape = Shape::of(pod_view);
            for (container, view) in pod.containers.iter_mut().zip(&pod_view.containers) {
                let image = images.find(&view.image_id).ok().flatten();
                container.command = views::command(view, image.as_deref());
                (container.ready, container.probe) = self.ready(pod_view.config.owner, view);
                container.again = shape.runs_again(pod_view, view);
                container.state = self.state(view).to_owned();
            }
            let status = self.status(&shape, pod_view);
            let paused = status.word == "Running" && pod.containers.iter().any(|c| c.state == PAUSED);
            api::Pod {
                status: match (paused, self.pods.waiting(pod_view)) {
                    (true, _) => "Paused".to_owned(),
                    (false, Some(_)) if status.word == "ContainerCreating" => "Created".to_owned(),
                    (false, _) => status.word,
                },
                ready: status.ready,
                total: status.total,
                restarts: status.restarts,
                ..pod
            }
        });
        Ok(Response::new(api::ListResponse { pods: pods.collect() }))
    }

    async fn inspect(&self, request: Request<api::InspectRequest>) -> Answer<api::InspectResponse> {
        let target = request.into_inner().target;
        let json = match target::find(&self.engine, &target) {
            Ok(target::Target::Pod(view)) => views::inspect_pod(&view, |container| self.state(container)),
            Ok(target::Target::Container(view)) => views::inspect_container(&view, self.state(&view)),
            Err(missing) => match self.engine.images().find(&target) {
                Ok(Some(image)) => views::inspect_image(&image),
                Ok(None) | Err(_) => return Err(missing),
            },
        };
        Ok(Response::new(api::InspectResponse { json: json.to_string() }))
    }

    async fn play(&self, request: Request<api::PlayRequest>) -> Answer<Self::PlayStream> {
        let (sender, answer) = stream();
        tokio::spawn(pods::play(self.clone(), request.into_inner(), sender));
        answer
    }

    async fn down(&self, request: Request<api::DownRequest>) -> Answer<api::DownResponse> {
        pods::down(self, request.into_inner()).await.map(Response::new)
    }

    async fn workloads(&self, _: Request<api::WorkloadsRequest>) -> Answer<api::WorkloadsResponse> {
        Ok(Response::new(workloads::list(self)))
    }

    async fn services(&self, _: Request<api::ServicesRequest>) -> Answer<api::ServicesResponse> {
        Ok(Response::new(services::list(self).await))
    }

    async fn stop(&self, request: Request<api::StopRequest>) -> Answer<api::StopResponse> {
        Ok(Response::new(pods::stop(self, request.into_inner()).await))
    }

    async fn remove(&self, request: Request<api::RemoveRequest>) -> Answer<api::RemoveResponse> {
        Ok(Response::new(pods::remove(self, request.into_inner()).await))
    }

    async fn kill(&self, request: Request<api::KillRequest>) -> Answer<api::KillResponse> {
        Ok(Response::new(acts::kill(self, request.into_inner()).await))
    }

    async fn pause(&self, request: Request<api::PauseRequest>) -> Answer<api::PauseResponse> {
        Ok(Response::new(acts::pause(self, request.into_inner()).await))
    }

    async fn restart(&self, request: Request<api::RestartRequest>) -> Answer<api::RestartResponse> {
        Ok(Response::new(acts::restart(self, request.into_inner()).await))
    }

    async fn processes(&self, request: Request<api::ProcessesRequest>) -> Answer<api::ProcessesResponse> {
        acts::processes(self, &request.into_inner().container).await.map(Response::new)
    }

    async fn stats(&self, request: Request<api::StatsRequest>) -> Answer<api::StatsResponse> {
        observe::stats(self, &request.into_inner().targets).await.map(Response::new)
    }

    async fn watch(&self, _: Request<api::WatchRequest>) -> Answer<Self::WatchStream> {
        let (sender, answer) = stream();
        tokio::spawn(observe::events(self.engine.events(), sender));
        answer
    }

    async fn forward(&self, request: Request<Streaming<api::ForwardInput>>) -> Answer<Self::ForwardStream> {
        forward::forward(self, request.into_inner()).await
    }

    async fn wait(&self, request: Request<api::WaitRequest>) -> Answer<api::WaitResponse> {
        pods::wait(self, &request.into_inner().container).await.map(Response::new)
    }

    async fn exec(&self, request: Request<Streaming<api::Input>>) -> Answer<Self::ExecStream> {
        streams::exec(self, request.into_inner()).await
    }

    async fn attach(&self, request: Request<Streaming<api::Input>>) -> Answer<Self::AttachStream> {
        streams::attach(self, request.into_inner()).await
    }

    async fn make_volume(&self, request: Request<api::MakeVolumeRequest>) -> Answer<api::MakeVolumeResponse> {
        volumes::make(self, request.into_inner()).await.map(Response::new)
    }

    async fn volumes(&self, _: Request<api::VolumesRequest>) -> Answer<api::VolumesResponse> {
        Ok(Response::new(volumes::list(self)))
    }

    async fn remove_volumes(
        &self,
        request: Request<api::RemoveVolumesRequest>,
    ) -> Answer<api::RemoveVolumesResponse> {
        Ok(Response::new(volumes::remove(self, request.into_inner()).await))
    }

    async fn pull(&self, request: Request<api::PullRequest>) -> Answer<Self::PullStream> {
        let (sender, answer) = stream();
        tokio::spawn(images::pull(self.clone(), request.into_inner(), sender));
        answer
    }

    async fn push(&self, request: Request<api::PushRequest>) -> Answer<Self::PushStream> {
        let (sender, answer) = stream();
        tokio::spawn(push::push(self.clone(), request.into_inner(), sender));
        answer
    }

    async fn login(&self, request: Request<api::LoginRequest>) -> Answer<api::LoginResponse> {
        push::login(self, request.into_inner()).await.map(|()| Response::new(api::LoginResponse {}))
    }

    async fn history(&self, request: Request<api::HistoryRequest>) -> Answer<api::HistoryResponse> {
        look::history(self, &request.into_inner().image).map(Response::new)
    }

    async fn diff(&self, request: Request<api::DiffRequest>) -> Answer<api::DiffResponse> {
        look::diff(self, &request.into_inner().container).await.map(Response::new)
    }

    async fn images(&self, _: Request<api::ImagesRequest>) -> Answer<api::ImagesResponse> {
        Ok(Response::new(images::list(self)))
    }

    async fn tag(&self, request: Request<api::TagRequest>) -> Answer<api::TagResponse> {
        images::tag(self, request.into_inner()).await.map(Response::new)
    }

    async fn disk_usage(&self, _: Request<api::DiskUsageRequest>) -> Answer<api::DiskUsageResponse> {
        Ok(Response::new(images::usage(self).await))
    }

    async fn remove_image(
        &self,
        request: Request<api::RemoveImageRequest>,
    ) -> Answer<api::RemoveImageResponse> {
        Ok(Response::new(images::remove(self, request.into_inner()).await))
    }

    async fn artifact(&self, request: Request<api::ArtifactRequest>) -> Answer<api::ArtifactResponse> {
        artifacts::look(self, &request.into_inner().name).map(Response::new)
    }

    async fn artifact_file(
        &self,
        request: Request<api::ArtifactFileRequest>,
    ) -> Answer<Self::ArtifactFileStream> {
        let (sender, answer) = stream();
        tokio::spawn(artifacts::file(self.clone(), request.into_inner(), sender));
        answer
    }

    async fn make_artifact(
        &self,
        request: Request<Streaming<api::ArtifactInput>>,
    ) -> Answer<api::MakeArtifactResponse> {
        artifacts::make(self, request.into_inner()).await.map(Response::new)
    }

    async fn load(&self, request: Request<Streaming<api::Chunk>>) -> Answer<Self::LoadStream> {
        let (sender, answer) = stream();
        tokio::spawn(archive::load(self.clone(), request.into_inner(), sender));
        answer
    }

    async fn save(&self, request: Request<api::SaveRequest>) -> Answer<Self::SaveStream> {
        let (sender, answer) = stream();
        tokio::spawn(archive::save(self.clone(), request.into_inner(), sender));
        answer
    }

    async fn doctor(&self, _: Request<api::DoctorRequest>) -> Answer<api::DoctorResponse> {
        let findings = self.engine.doctor().await.into_iter().map(views::finding).collect();
        Ok(Response::new(api::DoctorResponse { findings }))
    }

    async fn stages(&self, _: Request<api::StagesRequest>) -> Answer<api::StagesResponse> {
        let work = self.engine.stages().iter().map(views::stages).collect();
        Ok(Response::new(api::StagesResponse { work }))
    }

    async fn shutdown(&self, _: Request<api::ShutdownRequest>) -> Answer<api::ShutdownResponse> {
        self.end.send_replace(true);
        Ok(Response::new(api::ShutdownResponse {}))
    }
}
