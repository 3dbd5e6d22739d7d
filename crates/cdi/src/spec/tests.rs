use super::*;

/// What a driver installs.
const FULL: &str = r#"{
  "cdiVersion": "1.1.0",
  "kind": "vendor.com/accelerator",
  "annotations": { "made-by": "the driver" },
  "containerEdits": { "env": ["DRIVER=7"], "mounts": [
    { "hostPath": "/usr/lib/vendor", "containerPath": "/usr/lib/vendor", "options": ["ro", "nosuid", "bind"], "type": "none" }
  ] },
  "devices": [
    { "name": "0", "containerEdits": { "deviceNodes": [
      { "path": "/dev/acc0", "hostPath": "/dev/vendor/acc0", "type": "c", "major": 10, "minor": 200, "fileMode": 438, "permissions": "rw", "uid": 5, "gid": 6 }
    ], "hooks": [
      { "hookName": "createContainer", "path": "/usr/bin/vendor-hook", "args": ["vendor-hook", "ldcache"], "env": ["A=b"], "timeout": 5 }
    ], "additionalGids": [44, 0] } },
    { "name": "all", "annotations": { "a": "b" }, "containerEdits": { "netDevices": [
      { "hostInterfaceName": "acc0", "name": "eth1" }
    ], "intelRdt": { "closID": "fast", "schemata": ["L3:0=ff"], "enableMonitoring": true } } }
  ]
}"#;

fn parse(name: &str, text: &str) -> Result<Spec, String> {
    Spec::parse(Path::new(name), text.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn all_fields_are_read_from_json_and_yaml() {
    let spec = parse("/etc/cdi/vendor.json", FULL).unwrap();
    // JSON is YAML.
    assert_eq!(parse("/etc/cdi/vendor.yaml", FULL).unwrap(), spec);
    let node = &spec.devices[0].container_edits.device_nodes[0];
    assert_eq!(
        (node.source(), node.file_mode, node.uid),
        (Path::new("/dev/vendor/acc0"), Some(0o666), Some(5))
    );
    let hook = &spec.devices[0].container_edits.hooks[0];
    assert_eq!((hook.hook_name.as_str(), hook.args.len(), hook.timeout), ("createContainer", 2, Some(5)));
    assert_eq!(spec.devices[1].container_edits.intel_rdt.as_ref().unwrap().clos_id, "fast");

    let yaml = "cdiVersion: 0.5.0\nkind: vendor.com/net\ndevices:\n- name: one\n  containerEdits:\n    deviceNodes:\n    - path: /dev/one\n      fileMode: 0640\n";
    let spec = parse("v.yaml", yaml).unwrap();
    let node = &spec.devices[0].container_edits.device_nodes[0];
    assert_eq!((node.source(), node.file_mode), (Path::new("/dev/one"), Some(0o640)));
}

#[test]
fn errors_name_the_file_and_the_place() {
    for (name, text, expected) in [
        (
            "/e/a.json",
            "{\n  \"cdiVersion\": 7\n}",
            "/e/a.json: invalid type: integer `7`, expected a string at line 2 column 17",
        ),
        ("/e/a.json", "", "/e/a.json: EOF while parsing a value at line 1 column 0"),
        ("/e/a.yaml", "cdiVersion: 0.3.0\nkind: v.com/x\ndevice: []\n", "line 3"),
        (
            "/e/a.json",
            r#"{"cdiVersion":"0.3.0","kind":"v.com/x","devices":[],"more":1}"#,
            "unknown field `more`",
        ),
    ] {
        let error = parse(name, text).unwrap_err();
        assert!(error.starts_with(name) && error.contains(expected) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn large_files_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.json");
    std::fs::write(&path, " ".repeat(usize::try_from(MAX_BYTES).unwrap() + 1)).unwrap();
    let error = Spec::read(&path).unwrap_err().to_string();
    assert!(error.starts_with(&path.display().to_string()), "{error}");
}

proptest::proptest! {
    /// Nothing that a file holds makes reading it panic.
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,300}", cut in 0..FULL.len()) {
        drop(parse("a.json", &text));
        drop(parse("a.yaml", &text));
        if FULL.is_char_boundary(cut) {
            let (head, tail) = FULL.split_at(cut);
            proptest::prop_assert!(parse("a.json", head).is_err());
            drop(parse("a.yaml", head));
            drop(parse("a.yaml", &format!("{head}{text}{tail}")));
        }
    }
}
