use berth_sys::cgroup::{Access, DeviceKind};
use oci_spec::runtime::Linux;
use serde_json::json;

use super::*;
use crate::oci::test_container as container;

#[test]
fn a_device_has_the_permissions_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let node = json!({ "path": "/dev/own", "hostPath": "/dev/null", "permissions": "r" });
    let devices = json!([{ "name": "one", "containerEdits": { "deviceNodes": [node] } }]);
    let file = json!({ "cdiVersion": "1.1.0", "kind": "vendor.com/x", "devices": devices });
    std::fs::write(dir.path().join("x.json"), file.to_string()).unwrap();
    let mut spec = Spec::default();
    spec.set_linux(Some(Linux::default()));
    let names = ["vendor.com/x=one".parse().unwrap()];
    let (spec, rules) = add(&[dir.path().to_owned()], &container(), &names, spec).unwrap();
    let nodes = spec.linux().as_ref().unwrap().devices().clone().unwrap();
    assert!(nodes.iter().any(|node| node.path().to_str() == Some("/dev/own")), "{nodes:?}");
    let access = Access { read: true, ..Access::default() };
    let expected = DeviceRule { allow: true, kind: DeviceKind::Char, major: Some(1), minor: Some(3), access };
    assert_eq!(rules, [expected]);
}
