use std::sync::Arc;

use berth_engine::model::{ContainerView, SandboxConfig};
use berth_types::lifecycle::{container, sandbox};
use serde_json::{Value, json};

use super::*;

fn config() -> SandboxConfig {
    let asked = api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata { name: "p".into(), ..Default::default() }),
        ..Default::default()
    };
    convert::from_api(&asked, "").unwrap()
}

fn container(pid: Option<i32>, pod: &SandboxConfig) -> Arc<ContainerView> {
    let asked = api::ContainerConfig {
        metadata: Some(api::ContainerMetadata { name: "c".into(), attempt: 0 }),
        image: Some(api::ImageSpec { image: "sha256:0".into(), ..Default::default() }),
        ..Default::default()
    };
    Arc::new(ContainerView {
        id: "c".repeat(64).parse().unwrap(),
        sandbox: "d".repeat(64).parse().unwrap(),
        config: Arc::new(crate::convert::container::from_api(&asked, &pod.namespaces).unwrap()),
        state: container::State::Running,
        created_at: 1,
        started_at: None,
        exit: None,
        pid,
        cgroup: String::new(),
        image_id: String::new(),
        image_ref: String::new(),
        log_path: None,
        resources: berth_engine::model::Resources::default(),
        user: berth_engine::model::ContainerUser::default(),
        stop_signal: "SIGTERM".into(),
    })
}

fn told(containers: Vec<Option<i32>>) -> Value {
    let config = config();
    let view = SandboxView {
        id: "d".repeat(64).parse().unwrap(),
        state: sandbox::State::Ready,
        created_at: 1,
        interface: Some("eth0".into()),
        addresses: Vec::new(),
        netns: Some("/state/pods/d/netns".into()),
        shim_pid: Some(77),
        message: String::new(),
        containers: containers.into_iter().map(|pid| container(pid, &config)).collect(),
        config: Arc::new(config),
    };
    let network = json!({ "network": "pods", "result": { "ips": [] } });
    serde_json::from_str(&info(&view, Some(network))["info"]).unwrap()
}

#[test]
fn the_pid_is_that_of_a_process_in_the_pod_and_never_the_shims() {
    assert_eq!(told(vec![None, Some(81), Some(82)])["pid"], json!(81));
    let empty = told(vec![None]);
    assert_eq!((empty.get("pid"), &empty["shimPid"]), (None, &json!(77)));
}

#[test]
fn the_network_namespace_has_a_path() {
    let told = told(Vec::new());
    let path = json!("/state/pods/d/netns");
    assert_eq!(told["netns"], path);
    assert_eq!((&told["interface"], &told["cni"]["network"]), (&json!("eth0"), &json!("pods")));
    assert_eq!(told["runtimeSpec"]["linux"]["namespaces"], json!([{ "type": "network", "path": path }]));
}
