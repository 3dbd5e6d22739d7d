//! The node itself changes: kubelet and daemon are killed, the disk is full, everything ends.

use berth_testkit::Rng;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use berth_cri::api;

use crate::cases::resources;
use crate::node::{AGNHOST, BUSYBOX, Node, Settings};
use crate::view::Pod;

/// A pod that says when it begins, so that a second beginning is seen.
const COUNTED: &str = "
spec:
  terminationGracePeriodSeconds: 5
  initContainers:
  - {name: init, image: BUSYBOX, command: [sh, -c, 'echo init >>/state/starts'], volumeMounts: [&state {name: state, mountPath: /state}]}
  containers:
  - {name: a, image: BUSYBOX, command: &waits [sh, -c, 'trap \"exit 0\" TERM; echo $NAME >>/state/starts; while :; do sleep 0.2; done'], env: [{name: NAME, value: a}], volumeMounts: [*state]}
  - {name: b, image: BUSYBOX, command: *waits, env: [{name: NAME, value: b}], volumeMounts: [*state]}
  volumes: [{name: state, hostPath: {path: SHARED}}]
";

/// What `COUNTED` says when nothing of it was started twice.
const ONCE: [&str; 3] = ["a", "b", "init"];

/// Pods that come in each round, and the most that are removed in it.
const PODS: usize = 5;

pub fn a_new_kubelet_adopts_what_runs(node: &Node) {
    let names = ["kept-0", "kept-1"];
    let before: Vec<_> = names
        .iter()
        .map(|name| {
            node.apply(name, COUNTED);
            node.ready(name)
        })
        .collect();
    node.kill_kubelet();
    node.start_kubelet(&Settings::default()).unwrap();
    for (name, before) in names.iter().zip(before) {
        let after = node.ready(name);
        for container in ["a", "b", "init"] {
            assert_eq!(after.container(container).id(), before.container(container).id());
            assert_eq!(after.container(container).restarts(), 0);
        }
        assert_eq!((after.uid(), after.address()), (before.uid(), before.address()));
        assert_eq!(starts(node, name), ONCE, "{name}");
        node.end(name);
    }
}

/// The other of the kubelet's two ways to ask for statistics.
pub fn the_summary_has_every_pod_by_the_cri(node: &Node) {
    node.kill_kubelet();
    node.start_kubelet(&Settings { gates: &["PodAndContainerStatsFromCRI"], ..Settings::default() }).unwrap();
    node.apply("measured", resources::MEASURED);
    node.ready("measured");
    resources::summary(node, "measured", |pod| pod["network"]["rxBytes"].is_u64());
    node.end("measured");
    node.kill_kubelet();
    node.start_kubelet(&Settings::default()).unwrap();
}

pub fn daemons_are_killed_while_pods_come_and_go(node: &Node) {
    rounds(node, "d", |node, rng| {
        moment(node, rng);
        node.daemon().kill().unwrap();
        // The kubelet meets a socket that nothing listens on.
        moment(node, rng);
        node.daemon().start().unwrap();
    });
}

pub fn both_are_killed_under_each_other(node: &Node) {
    rounds(node, "b", |node, rng| {
        moment(node, rng);
        if rng.below(2) == 0 {
            node.daemon().kill().unwrap();
            moment(node, rng);
            node.kill_kubelet();
        } else {
            node.kill_kubelet();
            moment(node, rng);
            node.daemon().kill().unwrap();
        }
        if rng.below(2) == 0 {
            node.daemon().start().unwrap();
        }
        node.launch_kubelet(&Settings::default()).unwrap();
        node.daemon().start().unwrap();
        node.kubelet_answers(&Settings::default()).unwrap();
    });
}

/// Rounds in which pods are made and removed while `crash` happens: in the end all that should be there is, and nothing was
/// started twice.
fn rounds(node: &Node, prefix: &str, crash: impl Fn(&Node, &mut Rng)) {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    eprintln!("seed {seed}");
    let mut rng = Rng::new(u64::try_from(seed & u128::from(u64::MAX)).unwrap());
    let rounds = std::env::var("BERTH_KUBELET_ROUNDS").map_or(3, |rounds| rounds.parse().unwrap());
    let mut present: Vec<String> = Vec::new();
    let mut ids = BTreeMap::new();
    for round in 0..rounds {
        for _ in 0..rng.below(PODS).min(present.len()) {
            node.delete(&present.swap_remove(rng.below(present.len())));
        }
        for number in 0..PODS {
            let name = format!("{prefix}{round}-{number}");
            node.apply(&name, COUNTED);
            present.push(name);
        }
        crash(node, &mut rng);
        for name in &present {
            let pod = node.wait("the pod is there", name, |pods| {
                pods.get(name).filter(|pod| pod.is_ready() && runs_once(node, pod)).cloned()
            });
            assert_eq!(starts(node, name), ONCE, "{name}: seed {seed}");
            let now = ["a", "b"].map(|container| pod.container(container).id().to_owned());
            let then = ids.entry(name.clone()).or_insert_with(|| now.clone());
            assert_eq!(*then, now, "{name} has other containers: seed {seed}");
        }
    }
    let all: Vec<_> = ids.keys().cloned().collect();
    for name in all {
        if present.contains(&name) {
            node.end(&name);
        }
        let starts = starts(node, &name);
        assert!(
            starts.iter().all(|start| starts.iter().filter(|other| *other == start).count() == 1),
            "{starts:?}"
        );
    }
}

fn starts(node: &Node, name: &str) -> Vec<String> {
    let mut starts = node.lines(name, "starts");
    starts.sort();
    starts
}

/// Whether the CRI has one sandbox and one running container of each name for a pod.
fn runs_once(node: &Node, pod: &Pod) -> bool {
    let running = api::ContainerState::ContainerRunning as i32;
    let containers = node.containers(pod);
    let mut names: Vec<_> = containers.iter().filter(|c| c.state == running).collect();
    names.sort_by_key(|c| c.metadata.as_ref().map(|m| m.name.clone()));
    names.iter().map(|c| c.metadata.as_ref().unwrap().name.as_str()).eq(["a", "b"])
}

/// Waits for a while of random length: a few of the kubelet's steps, which take tenths of seconds.
fn moment(node: &Node, rng: &mut Rng) {
    let mut looks = rng.below(25);
    node.wait("a moment", "", |_| {
        looks = looks.saturating_sub(1);
        (looks == 0).then_some(())
    });
}

/// Contract 27 and 39: an image in use is known by its id, and another is removed for good.
pub fn a_full_disk_removes_unused_images_and_containers(node: &Node) {
    // A static pod is critical: it does not have to leave the node.
    let critical = "
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: BUSYBOX, command: [sh, -c, 'while :; do sleep 1; done']}
  - {name: ends, image: BUSYBOX, command: [sh, -c, 'sleep 1; exit 1']}
";
    node.apply("critical", critical);
    let pod = node.pod("critical", "one has ended", |pod| pod.get("ends").is_some_and(|c| c.restarts() > 0));
    node.pull(AGNHOST);
    let there = |image: &str| node.images().iter().any(|tags| tags.iter().any(|tag| tag == image));
    assert!(there(AGNHOST) && there(BUSYBOX), "{:?}", node.images());
    node.kill_kubelet();
    node.start_kubelet(&Settings { full_disk: true, ..Settings::default() }).unwrap();
    node.wait("the unused image is removed", "critical", |_| (!there(AGNHOST)).then_some(()));
    assert!(there(BUSYBOX), "{:?}", node.images());
    let after = node.pod("critical", "it runs on", |pod| pod.get("c").is_some_and(|c| c.is_running()));
    assert_eq!(after.container("c").id(), pod.container("c").id());
    // This kubelet stays: it collects what is dead at every look at the disk, and no longer once a minute.
    node.end("critical");
}

/// Logs, cgroups, sandboxes, and what the doctor looks at.
pub fn nothing_is_left_of_pods_that_are_gone(node: &Node) {
    for name in node.manifests() {
        node.delete(&name);
    }
    node.wait("the kubelet has no pods", "", |pods| pods.is_empty().then_some(()));
    node.wait("the runtime has none", "", |_| node.cri().pods().unwrap().is_empty().then_some(()));
    node.wait("no cgroup is left of a pod", "", |_| {
        let left = |dir: &std::path::PathBuf| {
            dir.file_name().is_some_and(|n| n.to_string_lossy().starts_with("pod"))
        };
        (!node.cgroup().all().iter().any(left)).then_some(())
    });
    node.wait("no log is left", "", |_| node.files("/var/log/pods".as_ref()).is_empty().then_some(()));
    let doctor = node.daemon().command(&["doctor"]).output().unwrap();
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert_eq!(said, "nothing is left behind\n", "{doctor:?}");
}
