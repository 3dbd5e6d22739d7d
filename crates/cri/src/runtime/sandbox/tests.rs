use serde_json::{Value, json};

use super::*;
use crate::fixtures;

fn told(containers: Vec<Option<i32>>) -> Value {
    let view = fixtures::sandbox(containers.into_iter().map(fixtures::container).collect());
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
