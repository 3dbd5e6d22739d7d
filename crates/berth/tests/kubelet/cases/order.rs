//! Containers that begin and end in an order.

use crate::node::Node;

pub fn init_containers_run_one_after_another(node: &Node) {
    node.apply(
        "init",
        "
spec:
  terminationGracePeriodSeconds: 0
  initContainers:
  - {name: one, image: BUSYBOX, command: [sh, -c, 'sleep 1; echo one >>/state/order'], volumeMounts: [&state {name: state, mountPath: /state}]}
  - {name: two, image: BUSYBOX, command: [sh, -c, 'echo two >>/state/order'], volumeMounts: [*state]}
  containers:
  - {name: c, image: BUSYBOX, command: [sh, -c, 'echo main >>/state/order; exec sleep 3600'], volumeMounts: [*state]}
  volumes: [{name: state, hostPath: {path: SHARED}}]
",
    );
    let pod = node.ready("init");
    assert!(pod.is("Initialized"), "{pod:#?}");
    for name in ["one", "two"] {
        assert_eq!(pod.container(name).exit_code(), Some(0), "{pod:#?}");
        assert_eq!(pod.container(name).ended().unwrap()["reason"], "Completed", "{pod:#?}");
    }
    node.wait("main runs", "init", |_| (node.lines("init", "order").len() > 2).then_some(()));
    assert_eq!(node.lines("init", "order"), ["one", "two", "main"]);
    node.end("init");
}

pub fn an_init_container_that_fails_fails_the_pod(node: &Node) {
    node.apply(
        "init-fails",
        "
spec:
  restartPolicy: Never
  initContainers:
  - {name: one, image: BUSYBOX, command: [sh, -c, 'exit 5']}
  - {name: two, image: BUSYBOX, command: [sh, -c, 'touch /state/two'], volumeMounts: [&state {name: state, mountPath: /state}]}
  containers:
  - {name: c, image: BUSYBOX, command: [touch, /state/main], volumeMounts: [*state]}
  volumes: [{name: state, hostPath: {path: SHARED}}]
",
    );
    let pod = node.pod("init-fails", "the pod has failed", |pod| pod.phase() == "Failed");
    assert_eq!(pod.container("one").exit_code(), Some(5), "{pod:#?}");
    assert_eq!(pod.container("one").ended().unwrap()["reason"], "Error", "{pod:#?}");
    assert_eq!(std::fs::read_dir(node.shared("init-fails")).unwrap().count(), 0);
    node.end("init-fails");
}

pub fn sidecars_start_before_and_stop_after_the_others(node: &Node) {
    let traps = |name: &str| {
        format!(
            "trap 'echo {name} ends >>/state/order; exit 0' TERM; echo {name} >>/state/order; touch /tmp/up; while :; do sleep 0.1; done"
        )
    };
    let spec = "
spec:
  terminationGracePeriodSeconds: 60
  initContainers:
  - name: first
    image: BUSYBOX
    restartPolicy: Always
    command: [sh, -c, FIRST]
    startupProbe: &up {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1, failureThreshold: 100}
    volumeMounts: [&state {name: state, mountPath: /state}]
  - {name: second, image: BUSYBOX, restartPolicy: Always, command: [sh, -c, SECOND], startupProbe: *up, volumeMounts: [*state]}
  containers:
  - {name: c, image: BUSYBOX, command: [sh, -c, MAIN], volumeMounts: [*state]}
  volumes: [{name: state, hostPath: {path: SHARED}}]
";
    let quoted = |name: &str| format!("{:?}", traps(name));
    let spec = spec.replace("FIRST", &quoted("first")).replace("SECOND", &quoted("second"));
    node.apply("sidecars", &spec.replace("MAIN", &quoted("main")));
    let pod = node.ready("sidecars");
    assert!(pod.container("first").is_running() && pod.container("second").is_running(), "{pod:#?}");
    node.wait("main runs", "sidecars", |_| (node.lines("sidecars", "order").len() > 2).then_some(()));
    node.end("sidecars");
    let order = ["first", "second", "main", "main ends", "second ends", "first ends"];
    assert_eq!(node.lines("sidecars", "order"), order);
}

pub fn a_sidecar_does_not_keep_a_pod_from_its_end(node: &Node) {
    node.apply(
        "job",
        "
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 30
  initContainers:
  - name: sidecar
    image: BUSYBOX
    restartPolicy: Always
    command: [sh, -c, 'test -e /state/once || { touch /state/once; exit 1; }; trap \"exit 0\" TERM; touch /state/up; while :; do sleep 0.1; done']
    volumeMounts: [&state {name: state, mountPath: /state}]
  containers:
  - {name: c, image: BUSYBOX, command: [sh, -c, 'until test -e /state/up; do sleep 0.1; done'], volumeMounts: [*state]}
  volumes: [{name: state, hostPath: {path: SHARED}}]
",
    );
    let pod = node.pod("job", "the pod has succeeded", |pod| pod.phase() == "Succeeded");
    // It ended once, and was started again although the pod is never restarted.
    assert_eq!(pod.container("sidecar").restarts(), 1, "{pod:#?}");
    assert_eq!(pod.container("sidecar").exit_code(), Some(0), "{pod:#?}");
    node.end("job");
}
