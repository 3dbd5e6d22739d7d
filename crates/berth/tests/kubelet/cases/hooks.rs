//! What runs at the beginning and the end of a container, and what it leaves as its last words.

use crate::node::Node;

pub fn post_start_and_pre_stop_commands_run(node: &Node) {
    node.apply(
        "hooks",
        "
spec:
  terminationGracePeriodSeconds: 60
  containers:
  - name: c
    image: BUSYBOX
    command: [sh, -c, 'trap \"echo term >>/state/order; exit 0\" TERM; while :; do sleep 0.1; done']
    lifecycle:
      postStart: {exec: {command: [sh, -c, 'echo post >>/state/order']}}
      preStop: {exec: {command: [sh, -c, 'echo pre >>/state/order; sleep 1; echo pre ends >>/state/order']}}
    volumeMounts: [{name: state, mountPath: /state}]
  volumes: [{name: state, hostPath: {path: SHARED}}]
",
    );
    node.ready("hooks");
    assert_eq!(node.lines("hooks", "order"), ["post"], "before the pod is ready");
    node.end("hooks");
    assert_eq!(node.lines("hooks", "order"), ["post", "pre", "pre ends", "term"]);
}

pub fn pre_stop_over_http_and_asleep(node: &Node) {
    node.apply(
        "pre-stop",
        "
spec:
  terminationGracePeriodSeconds: 60
  containers:
  - name: http
    image: BUSYBOX
    command: [sh, -c, 'trap \"exit 0\" TERM; httpd -f -vv -p 8080 2>>/state/requests & wait']
    lifecycle: {preStop: {httpGet: {path: /bye, port: 8080}}}
    volumeMounts: [&state {name: state, mountPath: /state}]
  - name: asleep
    image: BUSYBOX
    command: [sh, -c, 'trap \"echo term >>/state/asleep; exit 0\" TERM; while :; do sleep 0.1; done']
    lifecycle: {preStop: {sleep: {seconds: 1}}}
    volumeMounts: [*state]
  volumes: [{name: state, hostPath: {path: SHARED}}]
",
    );
    node.ready("pre-stop");
    node.end("pre-stop");
    let requests = node.lines("pre-stop", "requests");
    assert!(requests.iter().any(|line| line.contains("/bye")), "{requests:?}");
    assert_eq!(node.lines("pre-stop", "asleep"), ["term"]);
}

pub fn a_post_start_that_fails_restarts_the_container(node: &Node) {
    node.apply(
        "post-fails",
        "
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: BUSYBOX
    command: [sh, -c, 'while :; do sleep 1; done']
    lifecycle: {postStart: {exec: {command: [sh, -c, 'exit 4']}}}
",
    );
    let pod = node.pod("post-fails", "it is restarted", |pod| pod.get("c").is_some_and(|c| c.restarts() > 0));
    assert!(!pod.is_ready(), "{pod:#?}");
    node.end("post-fails");
}

/// Contract 24: the signal is sent once, whatever the kubelet repeats.
pub fn a_grace_that_is_over_ends_in_a_kill(node: &Node) {
    node.apply(
        "grace",
        "
spec:
  terminationGracePeriodSeconds: 4
  containers:
  - name: stays
    image: BUSYBOX
    command: [sh, -c, 'trap \"echo term >>/state/stays\" TERM; while :; do sleep 0.1; done']
    volumeMounts: [&state {name: state, mountPath: /state}]
  - name: tidies
    image: BUSYBOX
    command: [sh, -c, 'trap \"sleep 1; echo done >>/state/tidies; exit 0\" TERM; while :; do sleep 0.1; done']
    volumeMounts: [*state]
  volumes: [{name: state, hostPath: {path: SHARED}}]
",
    );
    node.ready("grace");
    node.end("grace");
    assert_eq!(node.lines("grace", "stays"), ["term"]);
    assert_eq!(node.lines("grace", "tidies"), ["done"]);
}

/// Contract 26: the kubelet finds the file by the mounts of the status, and the log by its path.
pub fn termination_messages_come_from_file_or_log(node: &Node) {
    node.apply(
        "last-words",
        "
spec:
  restartPolicy: Never
  containers:
  - {name: usual, image: BUSYBOX, command: [sh, -c, 'printf said >/dev/termination-log; exit 1']}
  - name: elsewhere
    image: BUSYBOX
    command: [sh, -c, 'printf there >/tmp/last; exit 0']
    terminationMessagePath: /tmp/last
  - name: log
    image: BUSYBOX
    command: [sh, -c, 'echo first; echo last >&2; exit 2']
    terminationMessagePolicy: FallbackToLogsOnError
  - name: silent
    image: BUSYBOX
    command: [sh, -c, 'echo nothing is wrong']
    terminationMessagePolicy: FallbackToLogsOnError
",
    );
    let pod = node.pod("last-words", "the pod has failed", |pod| pod.phase() == "Failed");
    let message = |name: &str| {
        let ended = pod.container(name).ended().unwrap_or_else(|| panic!("{name} has not ended: {pod:#?}"));
        ended["message"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!([message("usual"), message("elsewhere"), message("silent")], ["said", "there", ""]);
    let mut said: Vec<_> = message("log").lines().map(str::to_owned).collect();
    said.sort();
    assert_eq!(said, ["first", "last"]);
    node.end("last-words");
}
