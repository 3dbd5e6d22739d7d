//! Limits and what is used.

use std::path::Path;

use serde_json::Value;

use crate::node::Node;
use crate::view::Pod;

pub fn limits_are_in_cgroups_of_their_class(node: &Node) {
    let spec = |resources: &str| {
        format!(
            "
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: c, image: BUSYBOX, command: [sh, -c, 'while :; do sleep 1; done'], resources: {resources}}}]
"
        )
    };
    node.apply("guaranteed", &spec("{limits: {cpu: 500m, memory: 64Mi}}"));
    node.apply("burstable", &spec("{requests: {cpu: 250m}, limits: {memory: 32Mi}}"));
    node.apply("best-effort", &spec("{}"));
    let classes = [("guaranteed", ""), ("burstable", "burstable/"), ("best-effort", "besteffort/")];
    let [guaranteed, burstable, best] = classes.map(|(name, class)| {
        let pod = node.ready(name);
        let dir = format!("kubepods/{class}pod{}/{}", pod.uid(), pod.container("c").id());
        (pod, move |controller: &str| node.cgroup().of(controller, &dir))
    });
    let memory = |dir: &Path| setting(dir, &["memory.limit_in_bytes", "memory.max"]);
    assert_eq!(memory(&guaranteed.1("memory")), (64 << 20).to_string());
    assert_eq!(memory(&burstable.1("memory")), (32 << 20).to_string());
    assert!(best.1("memory").is_dir() && best.1("cpu").is_dir());
    assert_eq!(
        setting(&guaranteed.1("cpu"), &["cpu.cfs_quota_us", "cpu.max"]).split(' ').next(),
        Some("50000")
    );
    let resources = |pod: &Pod| pod.container("c").status()["resources"].clone();
    assert_eq!(resources(&guaranteed.0)["limits"]["memory"], "64Mi", "{:#?}", guaranteed.0);
    assert_eq!(resources(&guaranteed.0)["limits"]["cpu"], "500m", "{:#?}", guaranteed.0);
    assert_eq!(resources(&burstable.0)["requests"]["cpu"], "250m", "{:#?}", burstable.0);
    let quality = |pod: &Pod| pod.status()["qosClass"].as_str().unwrap_or_default().to_owned();
    let qualities = [&guaranteed, &burstable].map(|(pod, _)| quality(pod));
    assert_eq!([&qualities[0], &qualities[1], &quality(&best.0)], ["Guaranteed", "Burstable", "BestEffort"]);
    for (name, _) in classes {
        node.end(name);
    }
}

/// The first of these files that the hierarchy has.
fn setting(dir: &Path, names: &[&str]) -> String {
    let read = names.iter().find_map(|name| std::fs::read_to_string(dir.join(name)).ok());
    read.unwrap_or_else(|| panic!("none of {names:?} in {}", dir.display())).trim().to_owned()
}

/// Contract 22: the first status that calls it ended says why.
pub fn a_container_out_of_memory_is_called_so_at_once(node: &Node) {
    node.apply(
        "hungry",
        "
spec:
  restartPolicy: Never
  containers:
  - {name: c, image: BUSYBOX, command: [tail, /dev/zero], resources: {limits: {memory: 32Mi}}}
  - {name: same-code, image: BUSYBOX, command: [sh, -c, 'exit 137']}
",
    );
    let ended = node.wait("it has ended", "hungry", |pods| pods.get("hungry")?.get("c")?.ended().cloned());
    assert_eq!(
        (&ended["reason"], &ended["exitCode"]),
        (&Value::from("OOMKilled"), &Value::from(137)),
        "{ended:#?}"
    );
    let pod = node.pod("hungry", "the pod has failed", |pod| pod.phase() == "Failed");
    assert_eq!(
        pod.container("same-code").ended().unwrap()["reason"],
        "Error",
        "the code alone is no proof: {pod:#?}"
    );
    node.end("hungry");
}

/// By cAdvisor, which knows containers by the last part of their cgroup's path: contract 54.
pub fn the_summary_has_every_pod(node: &Node) {
    node.apply("measured", MEASURED);
    node.ready("measured");
    summary(node, "measured", |_| true);
    node.end("measured");
}

/// Uses processor, memory, disk and network.
pub const MEASURED: &str = "
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: BUSYBOX
    command: [sh, -c, 'dd if=/dev/zero of=/data bs=1M count=3; dd if=/dev/zero of=/volume/data bs=1M count=2; while :; do echo x; sleep 0.1; done']
    volumeMounts: [{name: volume, mountPath: /volume}]
  volumes: [{name: volume, emptyDir: {}}]
";

/// Waits until the summary has all of a pod's numbers. Those of the network cAdvisor finds only for runtimes that it has code of
/// its own for.
#[track_caller]
pub fn summary(node: &Node, name: &str, more: impl Fn(&Value) -> bool) {
    let mut last = Value::Null;
    let full_name = format!("{name}-node");
    let found = berth_testkit::wait_until(crate::node::LIMIT, || {
        let Ok(text) = node.ask("/stats/summary") else { return false };
        let summary: Value = serde_json::from_str(&text).unwrap();
        let pods = summary["pods"].as_array().cloned().unwrap_or_default();
        last = pods.into_iter().find(|pod| pod["podRef"]["name"] == *full_name).unwrap_or_default();
        is_complete(&last) && more(&last)
    });
    assert!(found, "{last:#?}");
}

fn is_complete(pod: &Value) -> bool {
    let container = &pod["containers"][0];
    let least = |value: &Value, least: u64| value.as_u64().is_some_and(|value| value >= least);
    container["name"] == "c"
        && least(&container["cpu"]["usageCoreNanoSeconds"], 1)
        && container["cpu"]["usageNanoCores"].is_u64()
        && least(&container["memory"]["workingSetBytes"], 1)
        && least(&container["rootfs"]["usedBytes"], 3 << 20)
        && least(&container["logs"]["usedBytes"], 1)
        && least(&pod["cpu"]["usageCoreNanoSeconds"], 1)
        && least(&pod["memory"]["workingSetBytes"], 1)
        && least(&pod["ephemeral-storage"]["usedBytes"], 5 << 20)
        && least(&pod["volume"][0]["usedBytes"], 2 << 20)
}
