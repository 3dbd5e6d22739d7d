use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::oci::test_container as container;

/// What becomes of a container that asks for the only device of a file with these edits.
fn with(edits: &Value) -> Result<(ContainerConfig, Vec<Hook>), String> {
    let dir = tempfile::tempdir().unwrap();
    let file = json!({ "cdiVersion": "1.1.0", "kind": "vendor.com/x", "devices": [{ "name": "one", "containerEdits": edits }] });
    std::fs::write(dir.path().join("x.json"), file.to_string()).unwrap();
    let asked = ContainerConfig { cdi_devices: vec!["vendor.com/x=one".into()], ..container() };
    let names = names(&asked).unwrap();
    edited(&[dir.path().to_owned()], &asked, &names).map_err(|e| e.to_string())
}

#[test]
fn devices_are_asked_for_by_field_and_by_annotation() {
    let annotations = [("cdi.k8s.io/b", "v.com/x=2,v.com/x=3"), ("other", "v.com/x=4")];
    let annotations: BTreeMap<_, _> = annotations.map(|(key, value)| (key.into(), value.into())).into();
    let asked = ContainerConfig { cdi_devices: vec!["v.com/x=1".into()], annotations, ..container() };
    let names: Vec<String> = names(&asked).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["v.com/x=1", "v.com/x=2", "v.com/x=3"]);
    assert_eq!(super::names(&container()).unwrap(), []);
    let asked = ContainerConfig { cdi_devices: vec!["/dev/null".into()], ..container() };
    assert!(super::names(&asked).unwrap_err().to_string().contains("CDI_devices"));
}

#[test]
fn what_comes_with_a_device_is_as_if_it_was_asked_for() {
    let (config, hooks) = with(&json!({
        "env": ["A=b=c"],
        "deviceNodes": [
            { "path": "/dev/own", "hostPath": "/dev/null", "type": "c", "major": 1, "minor": 3, "permissions": "r", "fileMode": 384, "uid": 7 },
            { "path": "/dev/zero" },
        ],
        "mounts": [{ "hostPath": "/etc", "containerPath": "/vendor", "options": ["ro", "nosuid", "rbind", "rslave"] }],
        "hooks": [{ "hookName": "createContainer", "path": "/bin/true", "timeout": 5 }],
        "additionalGids": [0, 44],
    }))
    .unwrap();
    assert_eq!(config.envs, [EnvVar { name: "A".into(), value: b"b=c".to_vec() }]);
    let own = DeviceNode { mode: Some(0o600), uid: Some(7), gid: None };
    let device = |place: &str, host: &str, permissions: &str, node| Device {
        container_path: place.into(),
        host_path: host.into(),
        permissions: permissions.into(),
        node: Some(node),
    };
    let plain = DeviceNode { mode: None, uid: None, gid: None };
    assert_eq!(
        config.devices,
        [device("/dev/own", "/dev/null", "r", own), device("/dev/zero", "/dev/zero", "rwm", plain)]
    );
    let mount = &config.mounts[0];
    assert_eq!((mount.readonly, mount.propagation), (true, Propagation::HostToContainer));
    assert_eq!(mount.options, ["nosuid"]);
    assert_eq!(config.security.supplemental_groups, [44]);
    let mut spec = Spec::default();
    add_hooks(&mut spec, &hooks);
    let hooks = spec.hooks().clone().unwrap();
    let hook = &hooks.create_container().as_ref().unwrap()[0];
    assert_eq!((hook.path().to_str(), hook.timeout()), (Some("/bin/true"), Some(5)));
    assert!(hooks.poststop().is_none());
}

#[test]
fn what_is_not_there_or_not_supported_is_refused_by_name() {
    for (edits, expected) in [
        (json!({ "deviceNodes": [{ "path": "/dev/nonexistent" }] }), "device /dev/nonexistent: No such file"),
        (json!({ "deviceNodes": [{ "path": "/etc/passwd" }] }), "/etc/passwd is no device"),
        (
            json!({ "deviceNodes": [{ "path": "/dev/null", "type": "b" }] }),
            "device /dev/null is c 1:3, and its file says b 0:0: the file is out of date",
        ),
        (json!({ "deviceNodes": [{ "path": "/dev/null", "minor": 5 }] }), "the file is out of date"),
        (json!({ "deviceNodes": [{ "path": "/dev/null", "permissions": "none" }] }), "without permissions"),
        (
            json!({ "mounts": [{ "hostPath": "/nonexistent/lib", "containerPath": "/lib" }] }),
            "mount of /nonexistent/lib: No such file",
        ),
        (
            json!({ "mounts": [{ "hostPath": "/tmp", "containerPath": "/tmp", "type": "tmpfs" }] }),
            "file systems of type \"tmpfs\" are not supported",
        ),
        (
            json!({ "netDevices": [{ "hostInterfaceName": "a", "name": "b" }] }),
            "netDevices (a) are not supported yet",
        ),
        (json!({ "intelRdt": { "closID": "a" } }), "intelRdt is not supported yet"),
    ] {
        let error = with(&edits).unwrap_err();
        assert!(error.contains("vendor.com/x=one") && error.contains(expected), "{edits}: {error}");
    }
}
