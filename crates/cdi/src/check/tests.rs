use serde_json::{Value, json};

use super::*;

/// A good file with one thing changed: the value at this JSON pointer.
fn with(pointer: &str, value: Value) -> Result<(), Fault> {
    let mut all = json!({
        "cdiVersion": "1.1.0",
        "kind": "vendor.com/class",
        "devices": [{ "name": "one", "containerEdits": {
            "env": ["A=b"],
            "deviceNodes": [{ "path": "/dev/one", "permissions": "rw" }],
            "mounts": [{ "hostPath": "/usr/lib/one", "containerPath": "/one" }],
            "hooks": [{ "hookName": "createRuntime", "path": "/bin/hook" }],
            "netDevices": [{ "hostInterfaceName": "a", "name": "b" }],
            "intelRdt": { "closID": "/" },
        } }],
        "containerEdits": {},
    });
    *all.pointer_mut(pointer).unwrap() = value;
    check(&serde_json::from_value(all).unwrap())
}

#[test]
fn what_may_not_be_said_is_refused_with_its_place() {
    with("/kind", json!("vendor.com/class")).unwrap();
    let node = |key: &str, value: &str| json!({ "path": "/dev/x", key: value });
    for (pointer, value, field) in [
        ("/cdiVersion", json!("1.2.0"), "cdiVersion"),
        ("/cdiVersion", json!(""), "cdiVersion"),
        ("/kind", json!("vendor.com"), "kind"),
        ("/devices", json!([]), "devices"),
        ("/devices/0/name", json!(""), "devices[0].name"),
        ("/devices/0/containerEdits", json!({}), "devices[0].containerEdits"),
        ("/devices/0/containerEdits/env/0", json!("A"), "devices[0].containerEdits.env[0]"),
        ("/devices/0/containerEdits/env/0", json!("=A"), "devices[0].containerEdits.env[0]"),
        (
            "/devices/0/containerEdits/deviceNodes/0/path",
            json!("dev/x"),
            "devices[0].containerEdits.deviceNodes[0].path",
        ),
        (
            "/devices/0/containerEdits/deviceNodes/0/path",
            json!("/dev/../x"),
            "devices[0].containerEdits.deviceNodes[0].path",
        ),
        (
            "/devices/0/containerEdits/deviceNodes/0",
            node("type", "x"),
            "devices[0].containerEdits.deviceNodes[0].type",
        ),
        (
            "/devices/0/containerEdits/deviceNodes/0",
            node("permissions", "rx"),
            "devices[0].containerEdits.deviceNodes[0].permissions",
        ),
        (
            "/devices/0/containerEdits/mounts/0/hostPath",
            json!(""),
            "devices[0].containerEdits.mounts[0].hostPath",
        ),
        (
            "/devices/0/containerEdits/mounts/0/containerPath",
            json!("a"),
            "devices[0].containerEdits.mounts[0].containerPath",
        ),
        (
            "/devices/0/containerEdits/hooks/0/hookName",
            json!("later"),
            "devices[0].containerEdits.hooks[0].hookName",
        ),
        ("/devices/0/containerEdits/hooks/0/path", json!("hook"), "devices[0].containerEdits.hooks[0].path"),
        (
            "/devices/0/containerEdits/netDevices/0/name",
            json!(""),
            "devices[0].containerEdits.netDevices[0].name",
        ),
        (
            "/devices/0/containerEdits/intelRdt/closID",
            json!("a/b"),
            "devices[0].containerEdits.intelRdt.closID",
        ),
        ("/containerEdits", json!({ "env": ["A"] }), "containerEdits.env[0]"),
        (
            "/devices/0/containerEdits/netDevices",
            json!([{ "hostInterfaceName": "a", "name": "b" }, { "hostInterfaceName": "a", "name": "c" }]),
            "devices[0].containerEdits.netDevices",
        ),
    ] {
        assert_eq!(with(pointer, value.clone()).unwrap_err().0, field, "{pointer} {value}");
    }
    with("/devices/0/containerEdits/deviceNodes/0", node("permissions", "none")).unwrap();
}

#[test]
fn devices_of_one_name_in_one_file_are_refused() {
    let device = json!({ "name": "one", "containerEdits": { "env": ["A=b"] } });
    let (field, why) = with("/devices", json!([device, device])).unwrap_err();
    assert_eq!((field.as_str(), why.as_str()), ("devices[1].name", "duplicate \"one\""));
}

/// The table of the specification's released versions.
#[test]
fn a_file_says_nothing_that_its_version_has_not() {
    let plain = json!({ "env": ["A=b"] });
    let file = |version: &str, kind: &str, name: &str, edits: &Value, annotations: bool| {
        let mut all = json!({ "cdiVersion": version, "kind": kind, "devices": [{ "name": name, "containerEdits": edits }] });
        if annotations {
            all["annotations"] = json!({ "a": "b" });
        }
        check(&serde_json::from_value(all).unwrap())
    };
    let node = json!({ "deviceNodes": [{ "path": "/dev/a", "hostPath": "/dev/b" }] });
    let mount = json!({ "mounts": [{ "hostPath": "/a", "containerPath": "/b", "type": "none" }] });
    let net = json!({ "netDevices": [{ "hostInterfaceName": "a", "name": "b" }] });
    let rows: [(&str, &str, &str, &str, &Value, bool); 10] = [
        ("0.3.0", "0.4.0", "v.com/c", "a", &mount, false),
        ("0.4.0", "0.5.0", "v.com/c", "a", &node, false),
        ("0.4.0", "0.5.0", "v.com/c", "0", &plain, false),
        ("0.5.0", "0.6.0", "v.com/c", "a", &plain, true),
        ("0.5.0", "0.6.0", "v.com/c.d", "a", &plain, false),
        ("0.6.0", "0.7.0", "v.com/c", "a", &json!({ "additionalGids": [1] }), false),
        ("0.6.0", "0.7.0", "v.com/c", "a", &json!({ "intelRdt": { "closID": "a" } }), false),
        ("1.0.0", "1.1.0", "v.com/c", "a", &json!({ "intelRdt": { "schemata": [] } }), false),
        ("1.0.0", "1.1.0", "v.com/c", "a", &json!({ "intelRdt": { "enableMonitoring": true } }), false),
        ("1.0.0", "1.1.0", "v.com/c", "a", &net, false),
    ];
    for (before, from, kind, name, edits, annotations) in rows {
        let (field, why) = file(before, kind, name, edits, annotations).unwrap_err();
        assert!(field == "cdiVersion" && why.contains(&format!("version {from} on")), "{from}: {why}");
        file(from, kind, name, edits, annotations).unwrap();
        file(&format!("v{from}"), kind, name, edits, annotations).unwrap();
    }
    file("0.2.0", "v.com/c", "a", &plain, false).unwrap();
}
