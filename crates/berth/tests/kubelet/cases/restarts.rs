//! Containers that are started again, and pods that are replaced.

use crate::node::Node;

const CRASHES: &str = "
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: BUSYBOX, command: [sh, -c, 'echo started; exit 3']}
";

/// Dead containers are collected, too: once a minute, all but the last.
pub fn a_crash_loop_counts_and_backs_off(node: &Node) {
    node.apply("crashes", CRASHES);
    node.pod("crashes", "it backs off", |pod| {
        pod.get("c").is_some_and(|c| c.waits_for() == "CrashLoopBackOff" && c.restarts() >= 2)
    });
    let (pod, containers) = node.wait("dead containers are removed", "crashes", |pods| {
        let pod = pods.get("crashes")?;
        let containers = node.containers(pod);
        (pod.container("c").restarts() >= 5 && containers.len() <= 2).then(|| (pod.clone(), containers))
    });
    let container = pod.container("c");
    assert_eq!(container.exit_code(), Some(3), "{pod:#?}");
    assert_eq!(container.ended().unwrap()["reason"], "Error", "{pod:#?}");
    // Contract 25: a log is named after the count, and goes with its container by the kubelet alone.
    let newest = containers.iter().map(|c| c.metadata.as_ref().unwrap().attempt).max().unwrap();
    assert!(u64::from(newest) >= container.restarts(), "{containers:#?}");
    let logs = node.files(&node.logs(&pod, "c"));
    assert!(logs.iter().all(|name| name.ends_with(".log")) && logs.len() <= 4, "{logs:?}");
    node.end("crashes");
}

/// Contract 25: the kubelet goes on counting from the names of the logs, which removing a container leaves alone.
pub fn the_count_survives_the_loss_of_all_containers(node: &Node) {
    node.apply("forgotten", CRASHES);
    let pod = node.pod("forgotten", "it is restarted", |pod| pod.get("c").is_some_and(|c| c.restarts() >= 2));
    let count = node.wait("all its containers are removed", "forgotten", |_| {
        let known = node.containers(&pod);
        let count = known.iter().map(|c| c.metadata.as_ref().unwrap().attempt).max()?;
        for container in &known {
            node.cri().remove(&container.id).unwrap();
        }
        node.containers(&pod).is_empty().then_some(count)
    });
    let next = node.wait("it is started again", "forgotten", |_| {
        node.containers(&pod).iter().map(|c| c.metadata.as_ref().unwrap().attempt).min()
    });
    assert!(next > count, "the count goes on: {next} after {count}");
    node.end("forgotten");
}

pub fn on_failure_ends_with_the_first_success(node: &Node) {
    node.apply(
        "on-failure",
        "
spec:
  restartPolicy: OnFailure
  containers:
  - name: c
    image: BUSYBOX
    command: [sh, -c, 'echo x >>/state/starts; test $(wc -l </state/starts) = 3']
    volumeMounts: [{name: state, mountPath: /state}]
  volumes: [{name: state, hostPath: {path: SHARED}}]
",
    );
    let pod = node.pod("on-failure", "it has succeeded", |pod| pod.phase() == "Succeeded");
    assert_eq!(pod.container("c").restarts(), 2, "{pod:#?}");
    assert_eq!(node.lines("on-failure", "starts").len(), 3);
    node.end("on-failure");
}

pub fn a_changed_manifest_replaces_the_pod(node: &Node) {
    let spec = |name: &str| {
        format!(
            "
spec:
  terminationGracePeriodSeconds: 60
  containers:
  - name: c
    image: BUSYBOX
    command: [sh, -c, 'trap \"echo {name} ends >>/state/order; exit 0\" TERM; echo {name} >>/state/order; while :; do sleep 0.1; done']
    volumeMounts: [{{name: state, mountPath: /state}}]
  volumes: [{{name: state, hostPath: {{path: SHARED}}}}]
"
        )
    };
    node.apply("changed", &spec("old"));
    let old = node.ready("changed");
    node.wait("old runs", "changed", |_| (node.lines("changed", "order").len() == 1).then_some(()));
    node.apply("changed", &spec("new"));
    let new = node.pod("changed", "another pod is ready", |pod| pod.uid() != old.uid() && pod.is_ready());
    node.wait("new runs", "changed", |_| (node.lines("changed", "order").len() == 3).then_some(()));
    assert_eq!(node.lines("changed", "order"), ["old", "old ends", "new"]);
    assert_ne!(old.address(), "");
    assert_eq!(new.container("c").restarts(), 0, "{new:#?}");
    node.end("changed");
}
