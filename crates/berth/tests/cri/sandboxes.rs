//! Pod sandboxes.

use std::collections::BTreeMap;

use berth_cri::api;
use berth_testkit::require_root;
use tonic::Code;

use crate::cri;
use crate::world::{WAITS, World};

fn status(world: &World, id: &str) -> api::PodSandboxStatus {
    let request = api::PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: false };
    world.cri.call(async |mut c| c.pod_sandbox_status(request).await).unwrap().status.unwrap()
}

/// Contract 8.
#[test]
fn a_container_needs_a_ready_sandbox() {
    require_root!();
    let world = World::start();
    let config = world.config("stopped");
    let pod = world.cri.run(&config).unwrap();
    world.cri.stop_pod(&pod).unwrap();
    let refused = world.cri.create(&pod, &config, cri::shell("late", &config, WAITS)).unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert_eq!(world.cri.containers().unwrap(), []);
    world.cri.remove_pod(&pod).unwrap();
    let refused = world.cri.create(&pod, &config, cri::shell("later", &config, WAITS)).unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    world.finish();
}

/// Contract 10: without these fields a kubelet gives the pod up; labels come back to the byte.
#[test]
fn the_status_has_what_kubelets_need() {
    require_root!();
    let world = World::start();
    let mut config = world.config("full");
    let odd = BTreeMap::from([
        ("io.kubernetes.pod.uid".to_owned(), "uid".to_owned()),
        ("empty".to_owned(), String::new()),
        ("odd".to_owned(), "\u{e4}\u{1f600} \n\t\"\\ {}".to_owned()),
    ]);
    config.labels = odd.clone();
    config.annotations = odd.clone();
    let pod = world.cri.run(&config).unwrap();
    let status = status(&world, &pod);
    assert_eq!((&status.id, &status.metadata), (&pod, &config.metadata));
    assert_eq!((&status.labels, &status.annotations), (&odd, &odd));
    // Nanoseconds: microseconds of today would be in 1970.
    assert!(status.created_at > 1_700_000_000_000_000_000, "{}", status.created_at);
    assert_eq!(status.state, api::PodSandboxState::SandboxReady as i32);
    let address: std::net::IpAddr = status.network.unwrap().ip.parse().unwrap();
    assert!(address.is_ipv4());
    let row = world.cri.pods().unwrap().remove(0);
    assert_eq!((row.labels, row.annotations, row.created_at), (odd.clone(), odd, status.created_at));
    world.cri.stop_pod(&pod).unwrap();
    world.cri.remove_pod(&pod).unwrap();
    world.finish();
}

/// Contract 13: the newest attempt is the one created last.
#[test]
fn attempts_are_told_apart_and_ordered() {
    require_root!();
    let world = World::start();
    let mut config = world.config("again");
    let mut made = Vec::new();
    for attempt in 0..3 {
        config.metadata.as_mut().unwrap().attempt = attempt;
        let pod = world.cri.run(&config).unwrap();
        assert_eq!(world.cri.run(&config).unwrap(), pod, "the same attempt is the same sandbox");
        world.cri.stop_pod(&pod).unwrap();
        assert_eq!(
            world.cri.run(&config).unwrap_err().code(),
            Code::AlreadyExists,
            "it lives until it is removed"
        );
        made.push(pod);
    }
    let times: Vec<_> = made.iter().map(|pod| status(&world, pod).created_at).collect();
    assert!(times.is_sorted() && times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    let listed: Vec<_> = world.cri.pods().unwrap().into_iter().map(|pod| pod.id).collect();
    assert!(listed.iter().eq(made.iter().rev()), "newest first: {listed:?} of {made:?}");
    for pod in made {
        world.cri.remove_pod(&pod).unwrap();
    }
    world.finish();
}

/// Contract 15.
#[test]
fn shared_memory_names_and_resolver_are_as_kubelets_expect() {
    require_root!();
    let world = World::start();
    let mut config = world.config("files");
    config.hostname = "own-name".into();
    config.dns_config = Some(api::DnsConfig {
        servers: vec!["192.0.2.53".into(), "2001:db8::53".into()],
        searches: vec!["one.test".into(), "two.test".into()],
        options: vec!["ndots:5".into(), "edns0".into()],
    });
    let (pod, container) = world.started(&config, WAITS);
    let run = |line: &str| world.cri.exec(&container, &["sh", "-c", line]).unwrap();
    let resolver =
        "search one.test two.test\nnameserver 192.0.2.53\nnameserver 2001:db8::53\noptions ndots:5 edns0\n";
    assert_eq!(run("cat /etc/resolv.conf"), resolver);
    assert_eq!(run("hostname; cat /etc/hostname"), "own-name\nown-name\n");
    assert_eq!(run("stat -c %a /dev/shm; df -k /dev/shm | awk 'NR==2 {print $2}'"), "1777\n65536\n");
    let flags = run("grep ' /dev/shm ' /proc/mounts");
    for flag in ["tmpfs", "nosuid", "nodev", "noexec"] {
        assert!(flags.contains(flag), "{flags}");
    }
    // One for all containers of the pod.
    run("echo word >/dev/shm/word");
    let second = world.cri.create(&pod, &config, cri::shell("second", &config, WAITS)).unwrap();
    world.cri.start(&second).unwrap();
    assert_eq!(world.cri.exec(&second, &["cat", "/dev/shm/word"]).unwrap(), "word\n");
    world.cri.stop_pod(&pod).unwrap();
    world.cri.remove_pod(&pod).unwrap();

    // Without a configuration it is the host's.
    let config = world.config("hosts");
    let (pod, container) = world.started(&config, WAITS);
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap();
    let inside = world.cri.exec(&container, &["cat", "/etc/resolv.conf"]).unwrap();
    let servers = |text: &str| {
        text.lines().filter(|l| l.starts_with("nameserver")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(servers(&inside), servers(&host));
    world.cri.stop_pod(&pod).unwrap();
    world.cri.remove_pod(&pod).unwrap();
    world.finish();
}
