use super::*;

fn parse(json: &serde_json::Value) -> Result<ImageConfig, ConfigError> {
    ImageConfig::parse(&serde_json::to_vec(json).unwrap())
}

fn with(config: &serde_json::Value) -> Result<ImageConfig, ConfigError> {
    let diff_id = format!("sha256:{}", "a".repeat(64));
    parse(&serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }))
}

#[test]
fn what_an_image_says_is_read() {
    let config = with(&serde_json::json!({
        "User": "1000:1000", "Env": ["PATH=/bin", "EMPTY="], "Entrypoint": ["/init"], "Cmd": ["a", "b"],
        "WorkingDir": "/srv", "Labels": {"k": "v"}, "StopSignal": "SIGQUIT",
        "Volumes": {"/data": {}}, "ExposedPorts": {"80/tcp": {}}, "Unknown": 1,
    }))
    .unwrap();
    assert_eq!(config.user, "1000:1000");
    assert_eq!(config.env, ["PATH=/bin", "EMPTY="]);
    assert_eq!((config.entrypoint.len(), config.cmd.len()), (1, 2));
    assert_eq!((config.working_dir.as_str(), config.stop_signal.as_str()), ("/srv", "SIGQUIT"));
    assert_eq!((config.volumes[0].as_str(), config.exposed_ports[0].as_str()), ("/data", "80/tcp"));
    assert_eq!(config.labels["k"], "v");
    assert_eq!(config.diff_ids.len(), 1);
}

#[test]
fn nulls_and_absence_are_nothing() {
    let label = with(&serde_json::json!({"Labels": {"k": null}})).unwrap();
    assert_eq!(label.labels["k"], "");
    let untyped = serde_json::json!({"rootfs": {"diff_ids": [format!("sha256:{}", "a".repeat(64))]}});
    parse(&untyped).unwrap();
    let nothing =
        serde_json::json!({"User": null, "Env": null, "Cmd": null, "Labels": null, "Volumes": null});
    assert_eq!(with(&nothing).unwrap(), with(&serde_json::Value::Null).unwrap());
}

#[test]
fn what_is_not_supported_is_refused() {
    let many: Vec<String> = (0..=MAX_ITEMS).map(|n| format!("A{n}=")).collect();
    for bad in [
        serde_json::json!({"Env": many}),
        serde_json::json!({"Cmd": ["nul\0"]}),
        serde_json::json!({"Cmd": "not a list"}),
        serde_json::json!({"User": "x".repeat(MAX_TEXT + 1)}),
    ] {
        assert!(with(&bad).is_err());
    }
    for bad in [
        serde_json::json!({}),
        serde_json::json!({"rootfs": {"type": "snapshots", "diff_ids": []}}),
        serde_json::json!({"rootfs": {"type": "layers", "diff_ids": ["md5:1"]}}),
    ] {
        assert!(parse(&bad).is_err(), "{bad}");
    }
    assert!(matches!(ImageConfig::parse(&vec![b' '; MAX_BYTES + 1]), Err(ConfigError::TooLarge(_))));
}

#[test]
fn entries_of_the_environment_that_set_nothing_are_left_out() {
    let config =
        with(&serde_json::json!({"Env": ["A=1", "BARE", "=x", "B=2", "", "A", "C=a=b", "AB="]})).unwrap();
    assert_eq!(config.env, ["B=2", "C=a=b", "AB="]);
}
