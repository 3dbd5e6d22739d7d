use super::*;

#[test]
fn a_manifest_keeps_what_is_not_replaced() {
    let text = br#"{"schemaVersion":2,"layers":[{"mediaType":"a","digest":"sha256:1","size":1,"annotations":{"k":"v"}},{"mediaType":"b","digest":"sha256:2","size":2}],"annotations":{"x":"y"}}"#;
    let digest = record::sum(b"new");
    let new = Descriptor { media_type: "c".into(), digest: digest.clone(), size: 9 };
    let made = replaced(text, &[None, Some(new)]).unwrap();
    let made: serde_json::Value = serde_json::from_slice(&made).unwrap();
    assert_eq!(
        made["layers"][0],
        serde_json::json!({"mediaType":"a","digest":"sha256:1","size":1,"annotations":{"k":"v"}})
    );
    assert_eq!(made["layers"][1], serde_json::json!({"mediaType":"c","digest":digest.to_string(),"size":9}));
    assert_eq!(made["annotations"]["x"], "y");
}

/// What was said of the bytes of before is not said of others, and docker's layers stay docker's.
#[test]
fn a_layer_that_is_replaced_keeps_nothing_of_the_one_before() {
    let text = br#"{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","layers":[{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.zstd","digest":"sha256:1","size":1,"urls":["https://a.example"],"annotations":{"io.github.containers.zstd-chunked.manifest-checksum":"v"}}]}"#;
    let digest = record::sum(b"new");
    let new = Descriptor { media_type: "c".into(), digest: digest.clone(), size: 9 };
    let made: serde_json::Value = serde_json::from_slice(&replaced(text, &[Some(new)]).unwrap()).unwrap();
    let layer = serde_json::json!({"mediaType": DOCKER_LAYER, "digest": digest.to_string(), "size": 9});
    assert_eq!(made["layers"], serde_json::json!([layer]));
}
