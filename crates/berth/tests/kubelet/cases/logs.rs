//! Logs.

use std::path::Path;
use std::process::Command;

use crate::node::Node;

/// Contract 36.
pub fn rotation_loses_no_line(node: &Node) {
    node.apply(
        "writes",
        "
spec:
  terminationGracePeriodSeconds: 60
  containers:
  - name: c
    image: BUSYBOX
    command: [sh, -c, 'trap \"echo end; exit 0\" TERM; i=0; while :; do i=$((i+1)); echo $i; test $((i % 20)) != 0 || sleep 0.05; done']
",
    );
    let pod = node.ready("writes");
    let dir = node.logs(&pod, "c");
    // A directory of logs goes with its pod: the lines are kept from where the kubelet is about to remove them.
    let kept = node.shared("writes").join("kept");
    let numbers = node.wait("the log is rotated three times", "writes", |_| {
        (node.files(&dir).len() > 3).then(|| copied(&dir, &kept))
    });
    let wrong = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1);
    assert_eq!((numbers.first(), wrong), (Some(&1), None), "{:?}", node.files(&dir));
    assert!(numbers.len() > 1000, "{}", numbers.len());
    // The symbolic link is there after each rotation.
    let link = node.link(&pod, "c");
    assert!(link.exists(), "{}", link.display());
    node.end("writes");
}

/// The numbers in all logs of a container, in order: the rotated ones, which the kubelet compresses meanwhile, and the present one.
fn copied(from: &Path, to: &Path) -> Vec<u64> {
    // A file may be compressed, and so renamed, between a list and a copy.
    let copied = berth_testkit::wait_until(crate::node::LIMIT, || {
        std::fs::remove_dir_all(to).ok();
        Command::new("cp")
            .args(["-a", "--"])
            .args([from, to])
            .output()
            .is_ok_and(|output| output.status.success() && !has_temporary(to))
    });
    assert!(copied, "{}", from.display());
    let mut names: Vec<_> = std::fs::read_dir(to).unwrap().map(|entry| entry.unwrap().path()).collect();
    // `0.log` is the present one; the rotated ones have a date behind it.
    names.sort_by_key(|path| (path.extension().is_some_and(|e| e == "log"), path.clone()));
    let text = Command::new("zcat").arg("-f").args(&names).output().unwrap();
    assert!(text.status.success(), "{text:?}");
    let text = String::from_utf8(text.stdout).unwrap();
    text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)?.parse().ok()).collect()
}

/// Whether a compression was under way.
fn has_temporary(dir: &Path) -> bool {
    let names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let names: Vec<_> = names.iter().filter_map(|name| name.to_str()).collect();
    names.iter().any(|name| name.ends_with(".tmp") || names.contains(&format!("{name}.gz").as_str()))
}

/// Contract 37: a link is made only when the log is there right after the start.
pub fn every_log_is_linked_and_read_through_the_kubelet(node: &Node) {
    node.apply(
        "speaks",
        "
spec:
  terminationGracePeriodSeconds: 0
  initContainers: [{name: init, image: BUSYBOX, command: [echo, from init]}]
  containers:
  - {name: c, image: BUSYBOX, command: [sh, -c, 'echo to stdout; echo to stderr >&2; printf open; test -e /state/again && exec sleep 3600; touch /state/again'], volumeMounts: [{name: state, mountPath: /state}]}
  volumes: [{name: state, hostPath: {path: SHARED}}]
",
    );
    let pod = node.pod("speaks", "it is restarted", |pod| {
        pod.is_ready() && pod.get("c").is_some_and(|c| c.restarts() == 1)
    });
    let link = node.link(&pod, "c");
    node.wait("the link leads to the log", "speaks", |_| link.exists().then_some(()));
    let logs = |query: &str| {
        let url = format!("https://127.0.0.1:10250/containerLogs/default/{}/{query}", pod.name());
        let output = Command::new("curl").args(["-sSfk", "--max-time", "20", &url]).output().unwrap();
        assert!(output.status.success(), "{url}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(logs("init"), "from init\n");
    node.wait("both streams are in the log", "speaks", |_| {
        let said = logs("c");
        (said.contains("to stdout\n") && said.contains("to stderr\n")).then_some(())
    });
    // The line that has no end is there when its container has ended.
    assert!(logs("c?previous=true").contains("open"), "{}", logs("c?previous=true"));
    assert_eq!(logs("c?tailLines=1&limitBytes=3").len(), 3);
    node.end("speaks");
    node.wait("its logs are removed", "speaks", |_| (!link.exists()).then_some(()));
}
