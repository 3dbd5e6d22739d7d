//! Probes.

use crate::http;
use crate::node::Node;

pub fn liveness_by_exec_restarts_the_container(node: &Node) {
    node.apply(
        "live",
        "
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: BUSYBOX
    command: [sh, -c, 'touch /tmp/alive; while :; do sleep 1; done']
    livenessProbe: {exec: {command: [test, -e, /tmp/alive]}, periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 2}
  - name: fickle
    image: BUSYBOX
    command: [sh, -c, 'touch /tmp/alive; sleep 3; rm /tmp/alive; while :; do sleep 1; done']
    livenessProbe: {exec: {command: [test, -e, /tmp/alive]}, periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 2}
",
    );
    let pod =
        node.pod("live", "fickle is restarted", |pod| pod.get("fickle").is_some_and(|c| c.restarts() > 0));
    // Ended by SIGKILL after its grace: the first process of the namespace has no handler.
    assert_eq!(pod.container("fickle").exit_code(), Some(137), "{pod:#?}");
    assert_eq!(pod.container("c").restarts(), 0, "{pod:#?}");
    node.end("live");
}

pub fn readiness_by_http_gates_the_pod(node: &Node) {
    node.apply(
        "ready-http",
        "
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: BUSYBOX
    command: [httpd, -f, -p, '8080', -h, /www]
    readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1, failureThreshold: 1}
    volumeMounts: [{name: www, mountPath: /www}]
  volumes: [{name: www, emptyDir: {}}]
",
    );
    let pod = node.pod("ready-http", "the server runs", |pod| pod.get("c").is_some_and(|c| c.has_started()));
    assert!(!pod.is_ready(), "{pod:#?}");
    let page = node.volume(&pod, "empty-dir", "www").join("ready");
    std::fs::write(&page, "yes").unwrap();
    let pod = node.ready("ready-http");
    assert_eq!(http::get(&format!("{}:8080", pod.address()), "/ready").unwrap(), "yes");
    std::fs::remove_file(&page).unwrap();
    let pod = node.pod("ready-http", "the pod is not ready", |pod| !pod.is_ready());
    assert_eq!(pod.container("c").restarts(), 0, "{pod:#?}");
    node.end("ready-http");
}

pub fn readiness_by_tcp_gates_the_pod(node: &Node) {
    node.apply(
        "ready-tcp",
        "
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: BUSYBOX
    command: [sh, -c, 'until test -e /state/go; do sleep 1; done; exec httpd -f -p 9000']
    readinessProbe: {tcpSocket: {port: 9000}, periodSeconds: 1, failureThreshold: 1}
    volumeMounts: [{name: state, mountPath: /state}]
  volumes: [{name: state, hostPath: {path: SHARED}}]
",
    );
    let pod = node.pod("ready-tcp", "it runs", |pod| pod.get("c").is_some_and(|c| c.has_started()));
    assert!(!pod.is_ready(), "{pod:#?}");
    std::fs::write(node.shared("ready-tcp").join("go"), "").unwrap();
    assert_eq!(node.ready("ready-tcp").container("c").restarts(), 0);
    node.end("ready-tcp");
}

pub fn readiness_by_grpc_gates_the_pod(node: &Node) {
    node.apply(
        "ready-grpc",
        "
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: AGNHOST
    args: [grpc-health-checking, --port=5000, --http-port=8080]
    readinessProbe: {grpc: {port: 5000}, periodSeconds: 1, failureThreshold: 1}
",
    );
    let pod = node.ready("ready-grpc");
    http::get(&format!("{}:8080", pod.address()), "/make-not-serving").unwrap();
    let pod = node.pod("ready-grpc", "the pod is not ready", |pod| !pod.is_ready());
    assert_eq!(pod.container("c").restarts(), 0, "{pod:#?}");
    node.end("ready-grpc");
}

pub fn startup_comes_before_liveness(node: &Node) {
    node.apply(
        "startup",
        "
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: BUSYBOX
    command: [sh, -c, 'while :; do sleep 1; done']
    startupProbe:
      exec: {command: [sh, -c, 'echo x >>/state/asked; test -e /state/up']}
      periodSeconds: 1
      failureThreshold: 1000
    livenessProbe: {exec: {command: [touch, /state/live]}, periodSeconds: 1}
    volumeMounts: [{name: state, mountPath: /state}]
  volumes: [{name: state, hostPath: {path: SHARED}}]
",
    );
    let live = node.shared("startup").join("live");
    let asked = || (node.lines("startup", "asked").len() > 3).then_some(());
    node.wait("the startup probe runs", "startup", |_| asked());
    assert!(!live.exists(), "liveness before startup");
    let pod = node.pod("startup", "it runs", |pod| pod.get("c").is_some_and(|c| c.is_running()));
    assert!(!pod.container("c").has_started(), "{pod:#?}");
    std::fs::write(node.shared("startup").join("up"), "").unwrap();
    let pod = node.ready("startup");
    assert!(pod.container("c").has_started(), "{pod:#?}");
    node.wait("the liveness probe runs", "startup", |_| live.exists().then_some(()));
    node.end("startup");
}

/// Contract 4: a command that takes too long is a failure by its code, and does not hold up the probe.
pub fn a_probe_that_hangs_has_failed(node: &Node) {
    node.apply(
        "hangs",
        "
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: BUSYBOX
    command: [sh, -c, 'while :; do sleep 1; done']
    livenessProbe:
      exec: {command: [sh, -c, 'test -e /tmp/asked && sleep 600; touch /tmp/asked']}
      periodSeconds: 1
      timeoutSeconds: 1
      failureThreshold: 2
",
    );
    let pod = node.pod("hangs", "it is restarted", |pod| pod.get("c").is_some_and(|c| c.restarts() > 0));
    assert_eq!(pod.container("c").exit_code(), Some(137), "{pod:#?}");
    node.end("hangs");
}
