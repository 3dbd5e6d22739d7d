use std::path::Path;

use super::{Place, Policy};

const FULL: &str = include_str!("tests/full.json");

fn parse(text: &str) -> Result<Policy, String> {
    Policy::parse(Path::new("/p.json"), text.as_bytes()).map_err(|e| e.to_string())
}

/// Refused, with these words.
fn refused(text: &str, words: &[&str]) {
    let error = parse(text).unwrap_err();
    assert!(error.starts_with("policy /p.json: "), "{error}");
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
}

/// A policy whose default is this requirement.
fn with(requirement: &str) -> String {
    format!(r#"{{"default": [{requirement}]}}"#)
}

#[test]
fn everything_that_the_format_has_is_read() {
    let policy = parse(FULL).unwrap();
    assert_eq!(policy.default.len(), 1);
    assert_eq!(policy.transports["docker"].len(), 9);
    let kinds: Vec<&str> = policy.transports["docker"].values().flatten().map(|r| r.kind()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "sigstoreSigned").count(), 5);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    refused("", &["line 1"]);
    refused("{}", &["\"default\" is missing"]);
    refused("[]", &["expected an object, found a list"]);
    refused(r#"{"default": []}"#, &["default: expected 1 to 64 requirements, found 0"]);
    refused(r#"{"default": {}}"#, &["default: expected a list, found an object"]);
    refused(
        "{\"default\": [{\"type\": \"reject\"}],\n\"default\": []}",
        &["\"default\" is there twice", "line 2"],
    );
    refused(
        "{\"default\": [{\"type\": \"reject\",\n\"type\": \"reject\"}]}",
        &["\"type\" is there twice", "line 2"],
    );
    refused(r#"{"default": [{"type": "reject"}]} x"#, &["trailing characters"]);
    refused(r#"{"default": [{"type": "reject"}], "defaults": []}"#, &["did you mean \"default\"?"]);
    refused(&with(r#"{"type": "rejects"}"#), &["default[0].type", "\"rejects\" is none of"]);
    refused(&with(r#"{"type": "reject", "keyPath": "/k"}"#), &["default[0]: \"keyPath\" is unknown"]);
    refused(&with("{}"), &["default[0]: \"type\" is missing"]);
    refused(&with(r#"{"type": 1}"#), &["default[0].type: expected a string, found a number"]);
    let gpg = |rest: &str| with(&format!(r#"{{"type": "signedBy", "keyType": "GPGKeys"{rest}}}"#));
    refused(&gpg(""), &["one of keyPath, keyPaths and keyData is needed"]);
    refused(&gpg(r#", "keyPath": "/a", "keyData": "YQ==""#), &["default[0].keyData: only one of"]);
    refused(&gpg(r#", "keyPath": "a""#), &["default[0].keyPath: expected an absolute path"]);
    refused(&gpg(r#", "keyPaths": []"#), &["default[0].keyPaths: expected 1 to 64 keys"]);
    refused(&gpg(r#", "keyPaths": "/a""#), &["default[0].keyPaths: expected a list"]);
    refused(&gpg(r#", "keyData": "***""#), &["default[0].keyData: it is not base64"]);
    refused(&with(r#"{"type": "signedBy", "keyType": "X509CAs", "keyPath": "/a"}"#), &["keyType", "X509CAs"]);
    let identity = |rest: &str| gpg(&format!(r#", "keyPath": "/a", "signedIdentity": {rest}"#));
    refused(
        &identity(r#"{"type": "matchAll"}"#),
        &["default[0].signedIdentity.type: \"matchAll\" is not known"],
    );
    refused(
        &identity(r#"{"type": "exactReference", "dockerReference": "a.io/b"}"#),
        &["neither a tag nor a digest"],
    );
    refused(
        &identity(r#"{"type": "matchExact", "prefix": "a"}"#),
        &["signedIdentity: \"prefix\" is unknown"],
    );
    let sigstore = |rest: &str| with(&format!(r#"{{"type": "sigstoreSigned"{rest}}}"#));
    refused(&sigstore(""), &["exactly one of"]);
    let fulcio = r#""fulcio": {"caPath": "/c", "oidcIssuer": "https://i", "subjectEmail": "e@x"}"#;
    refused(&sigstore(&format!(", {fulcio}")), &["fulcio needs a Rekor key"]);
    refused(
        &sigstore(&format!(r#", "keyPath": "/k", {fulcio}, "rekorPublicKeyPath": "/r""#)),
        &["exactly one of"],
    );
    refused(
        &sigstore(r#", "fulcio": {"caPath": "/c", "oidcIssuer": "i"}"#),
        &["fulcio: \"subjectEmail\" is missing"],
    );
    refused(
        &sigstore(r#", "fulcio": {"caPath": "/c", "oidcIssuer": "i", "subjectEmail": ""}"#),
        &["it is empty"],
    );
}

/// A rule for images that there cannot be would only look like one.
#[test]
fn scopes_that_match_nothing_are_refused() {
    for scope in [
        "docker.io/*",
        "*",
        "*.",
        "*.a.io:5000",
        "*.a.io/b",
        "a*.io",
        "quay.io/",
        "busybox",
        "library/busybox",
    ] {
        let text = format!(
            r#"{{"default": [{{"type": "reject"}}], "transports": {{"docker": {{"{scope}": [{{"type": "reject"}}]}}}}}}"#
        );
        refused(&text, &["transports.docker", scope]);
    }
    let twice = r#"{"A.io": [{"type": "reject"}], "a.io": [{"type": "reject"}]}"#;
    refused(
        &format!(r#"{{"default": [{{"type": "reject"}}], "transports": {{"docker": {twice}}}}}"#),
        &["there twice"],
    );
}

#[test]
fn a_namespaces_policy_takes_the_place_of_the_machines() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place {
        file: dir.path().join("policy.json"),
        required: false,
        dir: dir.path().join("d"),
        registries: dir.path().into(),
    };
    assert_eq!(Policy::of(&place, Some("a")).unwrap(), None);
    let required = Place { required: true, ..place.clone() };
    assert!(
        Policy::of(&required, Some("a")).unwrap_err().to_string().contains("which the configuration names")
    );
    std::fs::create_dir(&place.dir).unwrap();
    std::fs::write(place.dir.join("a.json"), with(r#"{"type": "reject"}"#)).unwrap();
    std::fs::write(&place.file, with(r#"{"type": "insecureAcceptAnything"}"#)).unwrap();
    let path = |namespace| Policy::of(&place, namespace).unwrap().unwrap().path;
    assert_eq!(path(Some("a")), place.dir.join("a.json"));
    assert_eq!(path(Some("b")), place.file);
    assert_eq!(path(None), place.file);
    assert_eq!(path(Some("")), place.file);
    for outside in ["../policy", "a/b", ".", "..", "a\0"] {
        assert!(Policy::of(&place, Some(outside)).is_err(), "{outside:?}");
    }
}

#[test]
fn a_policy_that_cannot_be_read_is_an_error_and_not_none() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Policy::read(&dir.path().join("none")).unwrap(), None);
    assert!(Policy::read(dir.path()).is_err());
    std::os::unix::fs::symlink("/nonexistent", dir.path().join("link")).unwrap();
    assert!(Policy::read(&dir.path().join("link")).is_err());
    let large = dir.path().join("large");
    std::fs::write(&large, " ".repeat(usize::try_from(crate::MAX_FILE).unwrap() + 1)).unwrap();
    let error = Policy::read(&large).unwrap_err().to_string();
    assert!(error.contains(&large.display().to_string()), "{error}");
    // Below a file there is nothing, but that is no policy that is missing.
    std::fs::write(dir.path().join("file"), "").unwrap();
    assert!(Policy::read(&dir.path().join("file/policy.json")).is_err());
    assert!(Policy::read(Path::new("/proc/self/mem")).is_err());
}

proptest::proptest! {
    /// Nothing that a file holds makes reading it panic, and no part of a policy is one.
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,300}", cut in 0..FULL.len()) {
        drop(parse(&text));
        if FULL.is_char_boundary(cut) {
            let (head, tail) = FULL.split_at(cut);
            proptest::prop_assert!(parse(head).is_err() || tail.trim().is_empty());
            drop(parse(&format!("{head}{text}{tail}")));
        }
    }
}
