use super::*;

#[allow(clippy::needless_pass_by_value, reason = "it is made for it")]
fn changed(base: Value, texts: &[&str]) -> Value {
    let mut config = base.as_object().unwrap().clone();
    for text in texts {
        apply(text, &mut config).unwrap();
    }
    Value::Object(config)
}

#[test]
fn instructions_change_what_they_name() {
    let texts = [
        r#"CMD ["a", "b c"]"#,
        "entrypoint run it",
        r#"ENV A=1 B="two words" C='3'"#,
        "ENV D the rest of it",
        "EXPOSE 80 53/udp",
        r#"LABEL one=1 "two words"=x"#,
        "STOPSIGNAL SIGQUIT",
        "USER 7:8",
        r#"VOLUME ["/data"]"#,
        "VOLUME /a /b",
        "WORKDIR /srv",
        "WORKDIR app",
        "ONBUILD RUN make",
    ];
    let wanted = json!({
        "Cmd": ["a", "b c"],
        "Entrypoint": ["/bin/sh", "-c", "run it"],
        "Env": ["PATH=/bin", "A=1", "B=two words", "C=3", "D=the rest of it"],
        "ExposedPorts": { "80/tcp": {}, "53/udp": {} },
        "Labels": { "kept": "x", "one": "1", "two words": "x" },
        "StopSignal": "SIGQUIT",
        "User": "7:8",
        "Volumes": { "/data": {}, "/a": {}, "/b": {} },
        "WorkingDir": "/srv/app",
        "OnBuild": ["RUN make"],
    });
    let base = json!({ "Env": ["PATH=/bin", "A=0"], "Labels": { "kept": "x" }, "Cmd": null });
    assert_eq!(changed(base, &texts), wanted);
    // As podman's users type it, and what takes away.
    assert_eq!(
        changed(json!({}), &["CMD=/bin/x", "USER=me"]),
        json!({ "Cmd": ["/bin/sh", "-c", "/bin/x"], "User": "me" })
    );
    assert_eq!(changed(json!({ "Cmd": ["x"] }), &["CMD []"]), json!({ "Cmd": [] }));
}

#[test]
fn what_is_wrong_is_said() {
    for (text, said) in [
        ("RUN make", "RUN is not possible here"),
        ("FOO bar", "FOO is no instruction"),
        ("ENV A", "expected NAME=VALUE"),
        ("USER", "nothing follows USER"),
        ("EXPOSE 0", "is not a port"),
        ("EXPOSE 80/icmp", "is not a port"),
        ("VOLUME data", "is not a path from /"),
        ("CMD [a]", "no JSON list"),
        ("LABEL a=\"b", "a quote is not closed"),
        ("", "nothing follows"),
    ] {
        let error = apply(text, &mut Map::new()).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}
