//! Containers.

use std::path::Path;
use std::time::Duration;

use berth_cri::api;
use berth_cri::api::image_service_client::ImageServiceClient;
use berth_testkit::guard::wait_until;
use berth_testkit::require_root;
use tonic::Code;

use crate::cri;
use crate::home::{BUSYBOX, LIMIT};
use crate::world::{WAITS, World, messages};

/// Contract 20 and 21: what a status must have, in each state, and when its image was removed.
#[test]
fn a_status_has_what_kubelets_need_in_every_state() {
    require_root!();
    let world = World::start();
    let config = world.config("full");
    let pod = world.cri.run(&config).unwrap();
    let asked = cri::shell("c", &config, WAITS);
    let id = world.cri.create(&pod, &config, asked.clone()).unwrap();
    let check = |state: api::ContainerState| {
        let status = world.cri.status(&id).unwrap();
        assert_eq!(status.state, state as i32, "{status:?}");
        assert_eq!((&status.id, &status.metadata), (&id, &asked.metadata));
        assert!(status.created_at > 1_700_000_000_000_000_000, "{status:?}");
        assert!(
            !status.image.as_ref().unwrap().image.is_empty() && !status.image_ref.is_empty(),
            "{status:?}"
        );
        assert!(!status.image_id.is_empty() && !status.log_path.is_empty(), "{status:?}");
        let (started, ended) = (status.started_at != 0, status.finished_at != 0);
        assert_eq!(started, state != api::ContainerState::ContainerCreated, "{status:?}");
        assert_eq!(ended, state == api::ContainerState::ContainerExited, "{status:?}");
        assert_eq!(!status.reason.is_empty(), ended, "{status:?}");
        status
    };
    let created = check(api::ContainerState::ContainerCreated);
    world.cri.start(&id).unwrap();
    check(api::ContainerState::ContainerRunning);
    let image = Some(api::ImageSpec { image: BUSYBOX.into(), ..Default::default() });
    let request = api::RemoveImageRequest { image };
    world.cri.call_on(async |c| ImageServiceClient::new(c).remove_image(request).await).unwrap();
    let running = check(api::ContainerState::ContainerRunning);
    let log = Path::new(&running.log_path).to_owned();
    assert!(wait_until(LIMIT, || messages(&log) == ["started"]), "it hears signals from then on");
    assert_eq!((&running.image_ref, &running.image_id), (&created.image_ref, &created.image_id));
    world.cri.stop(&id, 60).unwrap();
    let exited = check(api::ContainerState::ContainerExited);
    assert_eq!((exited.exit_code, exited.reason.as_str()), (7, "Error"));
    assert!(exited.created_at <= exited.started_at && exited.started_at <= exited.finished_at, "{exited:?}");
    world.cri.remove_pod(&pod).unwrap();
    world.finish();
}

/// Contract 23: a kubelet has to see that it ended, why, and to get rid of it.
#[test]
fn a_start_that_fails_leaves_an_ended_container() {
    require_root!();
    let world = World::start();
    let config = world.config("fails");
    let pod = world.cri.run(&config).unwrap();
    let mut container = cri::shell("c", &config, "");
    container.command = vec!["/not/there".into()];
    let id = world.cri.create(&pod, &config, container).unwrap();
    let refused = world.cri.start(&id).unwrap_err();
    assert!(refused.message().contains("/not/there"), "{refused}");
    let status = world.cri.status(&id).unwrap();
    assert_eq!(status.state, api::ContainerState::ContainerExited as i32, "{status:?}");
    assert!(status.finished_at > 0 && status.exit_code != 0 && !status.reason.is_empty(), "{status:?}");
    assert!(status.message.contains("/not/there"), "{status:?}");
    assert_eq!(world.cri.containers().unwrap().len(), 1);
    world.cri.stop(&id, 30).unwrap();
    world.cri.remove(&id).unwrap();
    world.cri.stop_pod(&pod).unwrap();
    world.cri.remove_pod(&pod).unwrap();
    world.finish();
}

/// Contract 24: which signal, how often, how long, and a caller that gives up.
#[test]
fn stopping_obeys_signal_grace_and_the_shortest_wish() {
    require_root!();
    let world = World::start();
    let config = world.config("stops");
    let pod = world.cri.run(&config).unwrap();
    let begun = |name: &str, line: &str, signal: api::Signal| {
        let mut container = cri::shell(name, &config, line);
        container.stop_signal = signal as i32;
        let id = world.cri.create(&pod, &config, container).unwrap();
        world.cri.start(&id).unwrap();
        let log = Path::new(&config.log_directory).join(format!("{name}.log"));
        assert!(wait_until(LIMIT, || messages(&log).contains(&"started".to_owned())), "{name}");
        (id, log)
    };
    let says =
        "for s in TERM USR1 QUIT; do trap \"echo $s\" $s; done; echo started; while :; do sleep 0.05; done";
    // Nothing is asked, it is killed at once.
    let (id, log) = begun("at-once", says, api::Signal::RuntimeDefault);
    world.cri.stop(&id, 0).unwrap();
    assert_eq!((world.cri.status(&id).unwrap().exit_code, messages(&log)), (137, vec!["started".to_owned()]));
    // The signal of the configuration, once, whoever asks how often; the shortest grace counts, and none is lost with
    // its caller.
    let (id, log) = begun("signal", says, api::Signal::Sigusr1);
    for grace in [3600, 600] {
        let request = api::StopContainerRequest { container_id: id.clone(), timeout: grace };
        let gave_up =
            world.cri.give_up(Duration::from_millis(50), async |mut c| c.stop_container(request).await);
        assert!(gave_up.is_none(), "{gave_up:?}");
    }
    assert!(wait_until(LIMIT, || messages(&log).contains(&"USR1".to_owned())));
    assert_eq!(world.cri.status(&id).unwrap().state, api::ContainerState::ContainerRunning as i32);
    world.cri.stop(&id, 1).unwrap();
    let status = world.cri.status(&id).unwrap();
    assert_eq!((status.exit_code, messages(&log)), (137, vec!["started".to_owned(), "USR1".to_owned()]));
    // The usual one.
    let (id, log) = begun(
        "default",
        "trap 'echo bye; exit 0' TERM; echo started; while :; do sleep 0.05; done",
        api::Signal::RuntimeDefault,
    );
    world.cri.stop(&id, 60).unwrap();
    assert_eq!(
        (world.cri.status(&id).unwrap().exit_code, messages(&log)),
        (0, vec!["started".to_owned(), "bye".to_owned()])
    );
    // When the call returns, all that it had started has ended.
    let (id, _) = begun(
        "children",
        "sleep 3600 & sleep 3600 & echo started; trap 'exit 0' TERM; wait",
        api::Signal::RuntimeDefault,
    );
    let before = world.traces();
    world.cri.stop(&id, 60).unwrap();
    let groups = before.iter().filter(|trace| trace.starts_with("/sys/fs/cgroup") && trace.contains(&id));
    for group in groups {
        let left = std::fs::read_to_string(Path::new(group).join("cgroup.procs")).unwrap_or_default();
        assert_eq!(left, "", "{group}");
    }
    world.cri.stop_pod(&pod).unwrap();
    world.cri.remove_pod(&pod).unwrap();
    world.finish();
}

/// Contract 24: without a wish of the pod's it is the image's signal.
#[test]
fn the_images_signal_comes_before_the_usual_one() {
    require_root!();
    let world = World::start();
    let registry = crate::home::registry();
    let base = berth_testkit::image::standin::base_layer().unwrap();
    let layer = base.build(berth_testkit::image::Compression::Plain).unwrap();
    let image = berth_testkit::image::Image::new(berth_testkit::image::Format::Oci).layer(&layer);
    registry.push("library/quits", "1", &image.set("StopSignal", "SIGQUIT").build());
    let name = "docker.io/library/quits:1";
    world.home.berth(&["pull", "-q", name]).fine();
    let config = world.config("image-signal");
    let pod = world.cri.run(&config).unwrap();
    let line = "trap 'exit 5' QUIT; trap 'exit 6' TERM; echo started; while :; do sleep 0.05; done";
    let mut container = cri::shell("c", &config, line);
    container.image = Some(api::ImageSpec { image: name.into(), ..Default::default() });
    let id = world.cri.create(&pod, &config, container).unwrap();
    world.cri.start(&id).unwrap();
    let log = Path::new(&config.log_directory).join("c.log");
    assert!(wait_until(LIMIT, || !messages(&log).is_empty()));
    world.cri.stop(&id, 60).unwrap();
    assert_eq!(world.cri.status(&id).unwrap().exit_code, 5);
    world.cri.stop_pod(&pod).unwrap();
    world.cri.remove_pod(&pod).unwrap();
    world.finish();
}

/// Contract 26: the kubelet looks for the termination message by the mounts that the status repeats.
#[test]
fn mounts_are_told_as_they_were_asked_for() {
    require_root!();
    let world = World::start();
    let config = world.config("mounts");
    let pod = world.cri.run(&config).unwrap();
    let file = world.home.write("termination", "");
    let dir = world.home.dir.path().display().to_string();
    let mut container = cri::shell("c", &config, "echo said >/dev/termination-log; exit 4");
    let mount = |container_path: &str, host_path: &str, readonly: bool| api::Mount {
        container_path: container_path.into(),
        host_path: host_path.into(),
        readonly,
        ..Default::default()
    };
    container.mounts = vec![mount("/dev/termination-log", &file, false), mount("/data", &dir, true)];
    let asked = container.mounts.clone();
    let id = world.cri.create(&pod, &config, container).unwrap();
    assert_eq!(world.cri.status(&id).unwrap().mounts, asked);
    world.cri.start(&id).unwrap();
    let status = world.ended(&id);
    assert_eq!((status.mounts, status.exit_code), (asked, 4));
    assert_eq!(std::fs::read_to_string(file).unwrap(), "said\n");
    world.cri.stop_pod(&pod).unwrap();
    world.cri.remove_pod(&pod).unwrap();
    let gone = world.cri.status(&id).unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    world.finish();
}
