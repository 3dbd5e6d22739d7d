//! Every two calls at the same pod at the same time, given up and repeated at random.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use berth_cri::api;
use berth_cri::api::runtime_service_client::RuntimeServiceClient;
use berth_testkit::Rng;
use berth_testkit::require_root;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::cri;
use crate::world::{WAITS, World};

/// Something that a client may ask of a pod or its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Run,
    StopPod,
    RemovePod,
    PodStatus,
    Create,
    Start,
    Stop,
    StopNow,
    Remove,
    Status,
    Exec,
    Limit,
    Reopen,
    Stats,
}

const CALLS: [Call; 14] = [
    Call::Run,
    Call::StopPod,
    Call::RemovePod,
    Call::PodStatus,
    Call::Create,
    Call::Start,
    Call::Stop,
    Call::StopNow,
    Call::Remove,
    Call::Status,
    Call::Exec,
    Call::Limit,
    Call::Reopen,
    Call::Stats,
];

/// What the calls are about.
#[derive(Clone)]
struct Target {
    config: api::PodSandboxConfig,
    pod: String,
    container: String,
}

impl Call {
    async fn ask(self, client: &mut RuntimeServiceClient<Channel>, target: &Target) -> Result<(), Status> {
        let Target { config, pod, container } = target.clone();
        let (pod_sandbox_id, container_id) = (pod, container);
        match self {
            Self::Run => {
                let request = api::RunPodSandboxRequest { config: Some(config), ..Default::default() };
                client.run_pod_sandbox(request).await.map(drop)
            }
            Self::StopPod => {
                client.stop_pod_sandbox(api::StopPodSandboxRequest { pod_sandbox_id }).await.map(drop)
            }
            Self::RemovePod => {
                client.remove_pod_sandbox(api::RemovePodSandboxRequest { pod_sandbox_id }).await.map(drop)
            }
            Self::PodStatus => {
                let request = api::PodSandboxStatusRequest { pod_sandbox_id, verbose: true };
                client.pod_sandbox_status(request).await.map(drop)
            }
            Self::Create => {
                let container = Some(cri::shell("other", &config, WAITS));
                let request = api::CreateContainerRequest {
                    pod_sandbox_id,
                    config: container,
                    sandbox_config: Some(config),
                };
                client.create_container(request).await.map(drop)
            }
            Self::Start => {
                client.start_container(api::StartContainerRequest { container_id }).await.map(drop)
            }
            Self::Stop | Self::StopNow => {
                let timeout = if self == Self::Stop { 30 } else { 0 };
                client.stop_container(api::StopContainerRequest { container_id, timeout }).await.map(drop)
            }
            Self::Remove => {
                client.remove_container(api::RemoveContainerRequest { container_id }).await.map(drop)
            }
            Self::Status => {
                let request = api::ContainerStatusRequest { container_id, verbose: true };
                client.container_status(request).await.map(drop)
            }
            Self::Exec => {
                let cmd = ["sh", "-c", "echo hello"].map(str::to_owned).into();
                client.exec_sync(api::ExecSyncRequest { container_id, cmd, timeout: 10 }).await.map(drop)
            }
            Self::Limit => {
                let linux =
                    api::LinuxContainerResources { memory_limit_in_bytes: 64 << 20, ..Default::default() };
                let request = api::UpdateContainerResourcesRequest {
                    container_id,
                    linux: Some(linux),
                    ..Default::default()
                };
                client.update_container_resources(request).await.map(drop)
            }
            Self::Reopen => {
                client.reopen_container_log(api::ReopenContainerLogRequest { container_id }).await.map(drop)
            }
            Self::Stats => {
                client.container_stats(api::ContainerStatsRequest { container_id }).await.map(drop)
            }
        }
    }

    /// Contract 3: whatever happens beside them, these succeed.
    fn always_succeeds(self) -> bool {
        matches!(self, Self::StopPod | Self::RemovePod | Self::Stop | Self::StopNow | Self::Remove)
    }
}

/// What the container is when the two calls come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Created,
    Running,
    Exited,
}

#[test]
fn every_two_calls_at_the_same_time_leave_a_valid_pod_and_nothing_behind() {
    require_root!();
    let world = World::start();
    let before = world.traces();
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let mut rng = Rng::new(u64::try_from(seed & u128::from(u64::MAX)).unwrap());
    for (number, (first, second)) in pairs().enumerate() {
        let state = [Before::Running, Before::Created, Before::Exited, Before::Running][rng.below(4)];
        let what = format!("{first:?} and {second:?} of one that is {state:?}, seed {seed}");
        let config = world.config(&format!("pair-{number}"));
        let target = prepared(&world, &config, state);
        let plans = [first, second].map(|call| Plan::new(call, &mut rng));
        let answers = world.cri.call_on(async |channel| {
            let [one, two] = &plans;
            let (one, two) =
                tokio::join!(one.carry_out(channel.clone(), &target), two.carry_out(channel, &target));
            Ok(tonic::Response::new([one, two].concat()))
        });
        for (call, answer) in answers.unwrap_or_else(|status| panic!("{what}: {status}")) {
            check_answer(call, &answer, &what);
        }
        check_lists(&world, &what);
        for pod in world.cri.pods().unwrap() {
            world.cri.stop_pod(&pod.id).unwrap();
        }
        check_lists(&world, &what);
        let pods = world.cri.pods().unwrap();
        assert!(pods.len() <= 1, "{what}: {pods:?}");
        for pod in pods {
            world.removed(&pod.id, &before);
        }
        world.removed(&target.pod, &before);
        assert_eq!((world.cri.pods().unwrap(), world.cri.containers().unwrap()), (vec![], vec![]), "{what}");
    }
    world.finish();
}

/// Each two, in this order; a call beside itself is one of them.
fn pairs() -> impl Iterator<Item = (Call, Call)> {
    CALLS.iter().enumerate().flat_map(|(at, first)| CALLS[at..].iter().map(|second| (*first, *second)))
}

fn prepared(world: &World, config: &api::PodSandboxConfig, state: Before) -> Target {
    let pod = world.cri.run(config).unwrap();
    let line = if state == Before::Exited { "exit 3" } else { WAITS };
    let container = world.cri.create(&pod, config, cri::shell("c", config, line)).unwrap();
    if state != Before::Created {
        world.cri.start(&container).unwrap();
    }
    if state == Before::Exited {
        world.ended(&container);
    }
    Target { config: config.clone(), pod, container }
}

/// A call that is repeated some times, and given up early some of them.
#[derive(Debug)]
struct Plan {
    call: Call,
    /// How long each time is waited for.
    waits: Vec<Option<Duration>>,
}

impl Plan {
    fn new(call: Call, rng: &mut Rng) -> Self {
        let mut waits: Vec<_> = (0..rng.below(3))
            .map(|_| (rng.below(2) == 0).then(|| Duration::from_millis(rng.below(30) as u64)))
            .collect();
        // The last one is waited for, as a kubelet does in the end.
        waits.push(None);
        Self { call, waits }
    }

    async fn carry_out(&self, channel: Channel, target: &Target) -> Vec<(Call, Result<(), Status>)> {
        let mut client = RuntimeServiceClient::new(channel);
        let mut answers = Vec::new();
        for wait in &self.waits {
            let asked = self.call.ask(&mut client, target);
            match wait {
                Some(wait) => {
                    if let Ok(answer) = tokio::time::timeout(*wait, asked).await {
                        answers.push((self.call, answer));
                    }
                }
                None => answers.push((self.call, asked.await)),
            }
        }
        answers
    }
}

/// A refusal says what is the matter; it is never a fault of the daemon's.
fn check_answer(call: Call, answer: &Result<(), Status>, what: &str) {
    let Err(status) = answer else { return };
    let refusals = [Code::NotFound, Code::FailedPrecondition, Code::AlreadyExists];
    assert!(refusals.contains(&status.code()), "{what}: {call:?}: {status}");
    assert!(!call.always_succeeds(), "{what}: {call:?}: {status}");
}

/// What is listed is possible: contract 21, and nothing runs in a sandbox that is not ready.
fn check_lists(world: &World, what: &str) {
    let pods = world.cri.pods().unwrap();
    for container in world.cri.containers().unwrap() {
        let pod = pods.iter().find(|pod| pod.id == container.pod_sandbox_id);
        let Ok(status) = world.cri.status(&container.id) else { continue };
        let state = api::ContainerState::try_from(status.state).unwrap();
        let times = (status.started_at != 0, status.finished_at != 0);
        let possible = match state {
            api::ContainerState::ContainerCreated => times == (false, false),
            api::ContainerState::ContainerRunning => times == (true, false),
            api::ContainerState::ContainerExited => times.1 && !status.reason.is_empty(),
            api::ContainerState::ContainerUnknown => false,
        };
        assert!(possible, "{what}: {status:?}");
        let ready = api::PodSandboxState::SandboxReady as i32;
        let runs = state == api::ContainerState::ContainerRunning;
        assert!(!runs || pod.is_some_and(|pod| pod.state == ready), "{what}: {status:?} in {pod:?}");
    }
}
