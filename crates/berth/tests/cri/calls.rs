//! Calls that are given up, repeated, or about what is not there.

use std::path::Path;
use std::time::Duration;

use berth_cri::api;
use berth_cri::api::image_service_client::ImageServiceClient;
use berth_testkit::guard::wait_until;
use berth_testkit::require_root;
use tonic::{Code, Status};

use crate::cri;
use crate::home::{BUSYBOX, LIMIT};
use crate::world::{WAITS, World, messages};

/// An id that nothing has.
const UNKNOWN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Contract 1: a client that gave up repeats the call with the same attempt, and takes up what was begun.
#[test]
fn a_call_that_was_given_up_is_taken_up_by_its_repetition() {
    require_root!();
    let world = World::start();
    let before = world.traces();
    // From before it is read to after it is done.
    for (number, wait) in [0, 1, 3, 6, 10, 15, 25, 40, 80].into_iter().enumerate() {
        let wait = Duration::from_millis(wait);
        let config = world.config(&format!("given-up-{number}"));
        let request = api::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        world.cri.give_up(wait, async |mut c| c.run_pod_sandbox(request).await);
        let pod = world.cri.run(&config).unwrap();
        assert_eq!(world.cri.pods().unwrap().len(), 1, "{wait:?}");
        let container = cri::shell("c", &config, WAITS);
        let request = api::CreateContainerRequest {
            pod_sandbox_id: pod.clone(),
            config: Some(container.clone()),
            sandbox_config: Some(config.clone()),
        };
        world.cri.give_up(wait, async |mut c| c.create_container(request).await);
        let id = world.cri.create(&pod, &config, container).unwrap();
        assert_eq!(world.cri.containers().unwrap().len(), 1, "{wait:?}");
        let request = api::StartContainerRequest { container_id: id.clone() };
        world.cri.give_up(wait, async |mut c| c.start_container(request).await);
        if let Err(status) = world.cri.start(&id) {
            assert_eq!(status.code(), Code::FailedPrecondition, "only when it was started before: {status}");
        }
        let log = Path::new(&config.log_directory).join("c.log");
        assert!(wait_until(LIMIT, || !messages(&log).is_empty()));
        let request = api::StopContainerRequest { container_id: id.clone(), timeout: 60 };
        world.cri.give_up(wait, async |mut c| c.stop_container(request).await);
        world.cri.stop(&id, 60).unwrap();
        assert_eq!(world.cri.status(&id).unwrap().exit_code, 7);
        assert_eq!(messages(&log), ["started"], "{wait:?}");
        let request = api::StopPodSandboxRequest { pod_sandbox_id: pod.clone() };
        world.cri.give_up(wait, async |mut c| c.stop_pod_sandbox(request).await);
        let request = api::RemovePodSandboxRequest { pod_sandbox_id: pod.clone() };
        world.cri.give_up(wait, async |mut c| c.remove_pod_sandbox(request).await);
        world.removed(&pod, &before);
    }
    world.finish();
}

/// Contract 2: what is not there is NotFound, and nothing else is.
#[test]
fn the_status_of_what_is_unknown_is_not_found() {
    require_root!();
    let world = World::start();
    let cri = &world.cri;
    let request = api::PodSandboxStatusRequest { pod_sandbox_id: UNKNOWN.into(), verbose: false };
    let refused = [
        cri.status(UNKNOWN).map(drop),
        cri.call(async |mut c| c.pod_sandbox_status(request).await).map(drop),
        cri.exec(UNKNOWN, &["true"]).map(drop),
        cri.reopen_log(UNKNOWN),
        cri.limit_memory(UNKNOWN, 64 << 20),
        cri.start(UNKNOWN),
    ];
    for status in refused.map(Result::unwrap_err) {
        assert_eq!(status.code(), Code::NotFound, "{status}");
        assert!(status.message().contains("not found"), "{status}");
    }
    let image = Some(api::ImageSpec { image: "docker.io/library/nothing:1".into(), ..Default::default() });
    let request = api::ImageStatusRequest { image, verbose: false };
    let answer = cri.call_on(async |c| ImageServiceClient::new(c).image_status(request).await).unwrap();
    assert_eq!(answer.image, None, "an unknown image is an answer");
    world.finish();
}

/// Contract 3: a kubelet stops and removes again, and at the same time as its garbage collection.
#[test]
fn stopping_and_removing_what_is_gone_succeeds() {
    require_root!();
    let world = World::start();
    let remove_image = |image: &str| -> Result<(), Status> {
        let image = Some(api::ImageSpec { image: image.into(), ..Default::default() });
        let request = api::RemoveImageRequest { image };
        world.cri.call_on(async |c| ImageServiceClient::new(c).remove_image(request).await).map(drop)
    };
    let all = |pod: &str, container: &str| {
        world.cri.stop(container, 0).unwrap();
        world.cri.remove(container).unwrap();
        world.cri.stop_pod(pod).unwrap();
        world.cri.remove_pod(pod).unwrap();
        remove_image("docker.io/library/nothing:1").unwrap();
        remove_image(&format!("sha256:{UNKNOWN}")).unwrap();
    };
    all(UNKNOWN, UNKNOWN);
    let config = world.config("gone");
    let (pod, container) = world.started(&config, WAITS);
    world.cri.stop_pod(&pod).unwrap();
    world.cri.stop_pod(&pod).unwrap();
    all(&pod, &container);
    all(&pod, &container);
    world.finish();
}

/// Contract 9.
#[test]
fn a_checkpoint_with_a_negative_timeout_is_refused() {
    require_root!();
    let world = World::start();
    let config = world.config("checkpoint");
    let (_, container_id) = world.started(&config, WAITS);
    let location = world.home.dir.path().join("checkpoint.tar").display().to_string();
    let request = api::CheckpointContainerRequest { container_id, location: location.clone(), timeout: -1 };
    let status = world.cri.call(async |mut c| c.checkpoint_container(request).await).unwrap_err();
    assert!(matches!(status.code(), Code::InvalidArgument | Code::Unimplemented), "{status}");
    assert!(!Path::new(&location).exists());
}

/// Contract 5: a handler that does not exist is an error of pods and of pulls, and the default is told by both of its names.
#[test]
fn an_unknown_handler_is_refused_and_the_default_is_told() {
    require_root!();
    let world = World::start();
    let request = api::RunPodSandboxRequest {
        config: Some(world.config("elsewhere")),
        runtime_handler: "no-such".into(),
    };
    let status = world.cri.call(async |mut c| c.run_pod_sandbox(request).await).unwrap_err();
    assert!(status.message().contains("no-such"), "{status}");
    let image =
        api::ImageSpec { image: BUSYBOX.into(), runtime_handler: "no-such".into(), ..Default::default() };
    let request = api::PullImageRequest { image: Some(image), ..Default::default() };
    let pulled =
        world.cri.call_on(async |channel| ImageServiceClient::new(channel).pull_image(request).await);
    let status = pulled.unwrap_err();
    assert!(status.message().contains("no-such"), "{status}");
    let request = api::StatusRequest { verbose: false };
    let told = world.cri.call(async |mut c| c.status(request).await).unwrap().runtime_handlers;
    let features = |name: &str| told.iter().find(|handler| handler.name == name).map(|one| &one.features);
    assert!(features("").is_some_and(Option::is_some), "{told:?}");
    assert_eq!(features(""), features("native"));
    assert_eq!(world.cri.pods().unwrap(), []);
    world.finish();
}

/// Contract 41: the first file system of images is the one, at a path that can be looked at, with what images alone use.
#[test]
fn the_file_system_of_images_can_be_looked_at() {
    require_root!();
    let world = World::start();
    let info = world.cri.call_on(async |channel| {
        ImageServiceClient::new(channel).image_fs_info(api::ImageFsInfoRequest {}).await
    });
    let info = info.unwrap();
    for used in [&info.image_filesystems[0], &info.container_filesystems[0]] {
        let place = used.fs_id.as_ref().map(|id| Path::new(&id.mountpoint)).unwrap();
        assert!(place.starts_with(world.home.daemon.dir()) && place.exists(), "{used:?}");
        assert!(used.timestamp > 0 && used.inodes_used.is_some(), "{used:?}");
    }
    // The image that the daemon has.
    assert!(info.image_filesystems[0].used_bytes.is_some_and(|used| used.value > 0), "{info:?}");
    world.finish();
}

/// Contract 48: ids of containers begin with this name, for ever.
#[test]
fn the_version_is_what_kubelets_expect() {
    require_root!();
    let world = World::start();
    let request = api::VersionRequest { version: "v1".into() };
    let version = world.cri.call(async |mut c| c.version(request).await).unwrap();
    assert_eq!((version.runtime_name.as_str(), version.runtime_api_version.as_str()), ("berth", "v1"));
    assert_eq!(version.version, "0.1.0");
}

/// Contract 51: what the first call after a crash is told is what the last one before it was.
#[test]
fn lists_are_the_same_after_a_crash() {
    require_root!();
    let mut world = World::start();
    let config = world.config("runs");
    let (runs, _) = world.started(&config, WAITS);
    let created = world.cri.create(&runs, &config, cri::shell("created", &config, WAITS)).unwrap();
    let ends = world.cri.create(&runs, &config, cri::shell("ends", &config, "exit 5")).unwrap();
    world.cri.start(&ends).unwrap();
    world.ended(&ends);
    let config = world.config("stopped");
    let (stopped, _) = world.started(&config, WAITS);
    world.cri.stop_pod(&stopped).unwrap();
    let lists = |world: &World| {
        let mut pods = world.cri.pods().unwrap();
        let mut containers = world.cri.containers().unwrap();
        pods.sort_by(|a, b| a.id.cmp(&b.id));
        containers.sort_by(|a, b| a.id.cmp(&b.id));
        let statuses: Vec<_> = containers.iter().map(|c| world.cri.status(&c.id).unwrap()).collect();
        (pods, containers, statuses)
    };
    let before = lists(&world);
    assert_eq!((before.0.len(), before.1.len()), (2, 4));
    world.home.daemon.kill().unwrap();
    world.home.daemon.start().unwrap();
    world.cri = cri::Cri::connect(&world.home.daemon.socket()).unwrap();
    assert_eq!(lists(&world), before);
    world.cri.start(&created).unwrap();
    for pod in [runs, stopped] {
        world.cri.stop_pod(&pod).unwrap();
        world.cri.remove_pod(&pod).unwrap();
    }
    world.finish();
}

/// Contract 52: a kubelet ends every sandbox that it is shown and does not know.
#[test]
fn pods_of_the_command_line_are_not_shown() {
    require_root!();
    let world = World::start();
    world.home.berth(&["run", "-d", "-q", "--name", "own", crate::home::BUSYBOX, "sleep", "3600"]).fine();
    let local = world.home.wait_state("own", "own", "running");
    assert_eq!((world.cri.pods().unwrap(), world.cri.containers().unwrap()), (vec![], vec![]));
    let id = local["id"].as_str().unwrap();
    assert_eq!(world.cri.status(id).unwrap_err().code(), Code::NotFound);
    world.cri.stop(id, 0).unwrap();
    world.cri.remove(id).unwrap();
    assert_eq!(world.home.containers().len(), 1, "success, and nothing was done");
    world.home.berth(&["rm", "-f", "own"]).fine();
    world.finish();
}
