use super::*;

const HEX: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn config(media_type: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{HEX}","size":2}}"#)
}

fn oci_manifest() -> String {
    let layer =
        format!(r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{HEX}","size":7}}"#);
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{},"layers":[{layer},{layer}]}}"#,
        config(CONFIGS[0])
    )
}

fn problem(content_type: Option<&str>, text: &str) -> String {
    match parse(content_type, text.as_bytes()) {
        Err(Unusable::Malformed(problem) | Unusable::Unsupported(problem)) => problem,
        Ok(document) => panic!("accepted: {document:?}"),
    }
}

fn artifact(text: &str) -> Option<Artifact> {
    match parse(None, text.as_bytes()) {
        Ok(Document::Manifest(manifest)) => manifest.artifact,
        other => panic!("no manifest: {other:?}"),
    }
}

#[test]
fn a_manifest_gives_config_and_layers_in_order() {
    let Ok(Document::Manifest(manifest)) = parse(Some(OCI_MANIFEST), oci_manifest().as_bytes()) else {
        panic!("not a manifest")
    };
    assert_eq!(manifest.config.size, 2);
    assert_eq!(manifest.layers.len(), 2);
    assert_eq!(manifest.layers[0].size, 7);
}

#[test]
fn the_type_may_come_from_header_or_body_with_parameters() {
    let text = oci_manifest();
    let bare = text.replace(&format!(r#""mediaType":"{OCI_MANIFEST}","#), "");
    for (header, text) in [
        (None, &text),
        (Some("application/json"), &text),
        (Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"), &bare),
        (None, &bare),
    ] {
        assert!(matches!(parse(header, text.as_bytes()), Ok(Document::Manifest(_))), "{header:?}");
    }
}

#[test]
fn an_index_gives_its_platforms() {
    let entry =
        |platform: &str| format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{HEX}","size":9{platform}}}"#);
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{DOCKER_LIST}","manifests":[{},{}]}}"#,
        entry(r#","platform":{"os":"linux","architecture":"arm64","variant":"v8"}"#),
        entry("")
    );
    let Ok(Document::Index(entries)) = parse(Some(DOCKER_LIST), text.as_bytes()) else { panic!("no index") };
    assert_eq!(entries[0].platform.as_ref().unwrap().to_string(), "linux/arm64");
    assert_eq!(entries[1].platform, None);
}

#[test]
fn schema_1_is_refused_by_name() {
    let text = r#"{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[]}"#;
    for header in [None, Some(DOCKER_SCHEMA1_SIGNED), Some("application/json")] {
        assert!(problem(header, text).contains("schema 1"), "{header:?}");
    }
}

#[test]
fn documents_of_doubtful_kind_are_refused() {
    let both = format!(r#"{{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}}"#, config(CONFIGS[0]));
    assert!(problem(None, &both).contains("both"));
    assert!(problem(Some(OCI_INDEX), &oci_manifest()).contains("media type is"));
}

#[test]
fn what_is_not_an_image_is_an_artifact_with_the_names_of_its_files() {
    let chart = config("application/vnd.cncf.helm.config.v1+json");
    let layer = |annotations: &str| format!(r#"{{"digest":"{HEX}","size":1,"annotations":{annotations}}}"#);
    let [title, model, both, other] = [
        r#"{"org.opencontainers.image.title":"a"}"#,
        r#"{"org.cnai.model.filepath":"b"}"#,
        r#"{"org.cnai.model.filepath":"b","org.opencontainers.image.title":"c"}"#,
        r#"{"org.opencontainers.image.title":7,"x":"y"}"#,
    ]
    .map(layer);
    let layers = [title, model, both, other, layer("null"), layer("{}")].join(",");
    let text = format!(r#"{{"schemaVersion":2,"config":{chart},"layers":[{layers}]}}"#);
    let artifact = artifact(&text).unwrap();
    assert_eq!(artifact.kind, "application/vnd.cncf.helm.config.v1+json");
    let titles: Vec<_> = artifact.titles.iter().map(Option::as_deref).collect();
    assert_eq!(titles, [Some("a"), Some("b"), Some("c"), None, None, None]);
    assert_eq!(self::artifact(&oci_manifest()), None);
}

#[test]
fn a_type_that_was_lost_on_the_way_is_an_images() {
    for kind in LOST {
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"","config":{},"layers":[{}]}}"#,
            config(kind),
            config(kind)
        );
        let Ok(Document::Manifest(manifest)) = parse(Some(DOCKER_MANIFEST), text.as_bytes()) else {
            panic!("{kind}")
        };
        assert!(manifest.layers[0].is_layer(), "{kind}");
        let artifact = text.replace(r#""mediaType":"","#, r#""artifactType":"application/vnd.example","#);
        assert_eq!(self::artifact(&artifact).unwrap().kind, "application/vnd.example", "{kind}");
    }
}

#[test]
fn the_family_that_a_host_names_does_not_matter() {
    assert!(matches!(parse(Some(DOCKER_MANIFEST), oci_manifest().as_bytes()), Ok(Document::Manifest(_))));
}

#[test]
fn malformed_documents_are_refused() {
    let negative = oci_manifest().replace("\"size\":7", "\"size\":-7");
    let sha512 = oci_manifest().replace("sha256:a", "sha512:a");
    let many = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
        config(CONFIGS[0]),
        vec![config("x"); MAX_LAYERS + 1].join(",")
    );
    for text in ["", "{", "[]", "{}", "null", r#"{"schemaVersion":2}"#, &negative, &sha512, &many] {
        assert!(!problem(None, text).is_empty());
    }
    for end in (0..oci_manifest().len()).step_by(7) {
        problem(None, &oci_manifest()[..end]);
    }
}
