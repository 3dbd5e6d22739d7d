use super::*;

fn layer() -> Layer {
    Layer { file: tempfile::tempfile().unwrap(), digest: Digest::from_sha256([3; 32]), size: 512 }
}

#[test]
fn a_configuration_keeps_what_is_not_changed() {
    let below = json!({
        "architecture": "amd64", "os": "linux", "vendor": "kept", "container": "c0ffee", "author": "first",
        "config": { "Env": ["A=1"], "Cmd": ["sh"], "Healthcheck": { "Test": ["NONE"] } },
        "rootfs": { "type": "layers", "diff_ids": [Digest::from_sha256([1; 32])] },
        "history": [{ "created_by": "base" }],
    });
    let run = RunWith {
        env: vec!["A=2".into(), "B=3".into()],
        entrypoint: Some(vec!["/run".into()]),
        user: Some("7".into()),
        command: "/run it".into(),
        ..RunWith::default()
    };
    let words = Words { message: "why".into(), changes: vec!["LABEL x=y".into()], ..Words::default() };
    let made = with_layer(below, &layer(), &run, &words).unwrap();
    let made: Value = serde_json::from_slice(&made).unwrap();
    assert_eq!(
        (&made["vendor"], &made["author"], &made["container"]),
        (&json!("kept"), &json!("first"), &Value::Null)
    );
    let wanted = json!({
        "Env": ["A=2", "B=3"], "Entrypoint": ["/run"], "User": "7", "Labels": { "x": "y" }, "Healthcheck": { "Test": ["NONE"] },
    });
    assert_eq!(made["config"], wanted);
    assert_eq!(made["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
    let last = &made["history"][1];
    assert_eq!((&last["created_by"], &last["comment"]), (&json!("/run it"), &json!("why")));
}

#[test]
fn layers_below_keep_their_blobs() {
    let manifest = json!({ "layers": [
        { "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": Digest::from_sha256([1; 32]), "size": 9 },
    ]});
    let record = crate::store::record::LayerRecord {
        id: crate::LayerId::Diff(Digest::from_sha256([2; 32])),
        diff_id: Digest::from_sha256([2; 32]),
        tar_bytes: 1024,
        file_bytes: 0,
        inodes: 0,
        opaque: false,
        describes_root: false,
        reproducible: true,
    };
    let parsed = |value: &Value| serde_json::from_value::<Manifest>(value.clone()).unwrap();
    let blobs = blobs_below(parsed(&manifest), std::slice::from_ref(&record));
    let wanted = json!({
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": Digest::from_sha256([1; 32]), "size": 9,
    });
    assert_eq!(blobs, [wanted]);
    let made = source(b"{}", blobs, &layer());
    assert_eq!((made.layers.len(), made.layers[1].size), (2, 512));
    let plain = blobs_below(parsed(&manifest), &[record.clone(), record]);
    assert_eq!((plain.len(), &plain[0]["size"]), (2, &json!(1024)));
}
