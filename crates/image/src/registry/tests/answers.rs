//! Answers that are wrong, late or redirected.

use super::*;

async fn failure(registry: &TestRegistry) -> HostError {
    reason(open(registry, "a/b:1").resolve(&platform()).await.unwrap_err())
}

#[tokio::test]
async fn a_manifest_that_is_not_its_digest_is_refused() {
    let built = image("a").build();
    let registry = started(&built);
    registry.fault(Fault::new(On::Manifests, FaultAction::WrongBytes));
    let source = open(&registry, &format!("a/b@{}", built.digest));
    let error = reason(source.resolve(&platform()).await.unwrap_err());
    assert!(matches!(error, HostError::WrongDigest { what: "manifest", .. }), "{error:?}");
    registry.clear_faults();
    source.resolve(&platform()).await.unwrap();
}

#[tokio::test]
async fn a_digest_header_that_differs_is_refused() {
    let registry = started(&image("a").build());
    registry.fault(Fault::new(On::Manifests, FaultAction::WrongDigestHeader));
    assert!(matches!(failure(&registry).await, HostError::WrongDigest { .. }));
}

#[tokio::test]
async fn a_config_that_is_not_its_digest_or_size_is_refused() {
    let registry = started(&image("a").build());
    registry.fault(Fault::new(On::Blobs, FaultAction::WrongBytes));
    assert!(matches!(failure(&registry).await, HostError::WrongDigest { what: "config", .. }));
    registry.clear_faults();
    registry.fault(Fault::new(On::Blobs, FaultAction::TooLong(1)));
    assert!(matches!(failure(&registry).await, HostError::WrongSize { what: "config", .. }));
}

#[tokio::test]
async fn a_huge_manifest_is_given_up_at_the_bound() {
    let registry = started(&image("a").build());
    registry.fault(Fault::new(On::Manifests, FaultAction::TooLong(64 << 20)));
    let error = failure(&registry).await;
    assert!(matches!(error, HostError::TooLarge { what: "manifest", limit: MAX_MANIFEST }), "{error:?}");
}

#[tokio::test]
async fn a_config_that_is_announced_too_large_is_not_fetched() {
    let built = image("a").build();
    let text = String::from_utf8(built.manifest.to_vec()).unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    document["config"]["size"] = (MAX_CONFIG + 1).into();
    let registry = started(&Built::document(&built.media_type, &document));
    let error = open(&registry, "a/b:1").resolve(&platform()).await.unwrap_err();
    assert!(error.to_string().contains("config"), "{error}");
    assert_eq!(registry.requests().len(), 1);
}

#[tokio::test]
async fn malformed_manifests_get_one_clear_error() {
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let schema1 = r#"{"schemaVersion":1,"fsLayers":[]}"#;
    for (text, word) in [("", "EOF"), ("{]", "key"), ("{}", "schemaVersion"), (schema1, "schema 1")] {
        let registry = started(&Built::raw(kind, text.as_bytes().to_vec().into()));
        let error = open(&registry, "a/b:1").resolve(&platform()).await.unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("a/b:1"), "{text}: {error}");
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again_a_few_times() {
    for action in
        [FaultAction::Status(503, None), FaultAction::Status(429, Some(0)), FaultAction::ResetAfter(10)]
    {
        let registry = started(&image("a").build());
        registry.fault(Fault::new(On::Manifests, action.clone()).times(3));
        open(&registry, "a/b:1").resolve(&platform()).await.unwrap();
        registry.fault(Fault::new(On::Manifests, action));
        registry.clear_requests();
        let error = open(&registry, "a/b:1").resolve(&platform()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        assert_eq!(registry.requests().len(), 4, "a bounded number of attempts");
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_long_wait_is_not_asked_again() {
    let registry = started(&image("a").build());
    registry.fault(Fault::new(On::Manifests, FaultAction::Status(429, Some(3600))));
    let error = failure(&registry).await;
    let HostError::Status { status: 429, retry_after: Some(after), .. } = error else { panic!("{error:?}") };
    assert_eq!(after, Duration::from_secs(3600));
    assert_eq!(registry.requests().len(), 1);
}

#[tokio::test]
async fn silence_ends_in_a_timeout() {
    let registry = started(&image("a").build());
    registry.fault(Fault::new(On::Manifests, FaultAction::Silence));
    let mut config = config();
    config.timeouts.answer = Duration::from_millis(100);
    let source = source(&registry, "a/b:1", config, Keyring::default());
    let error = source.resolve(&platform()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(matches!(reason(error), HostError::Timeout { .. }));
}

#[tokio::test]
async fn redirects_are_followed_without_credentials_for_others() {
    let elsewhere = TestRegistry::start().unwrap();
    let built = image("a").build();
    elsewhere.push("a/b", "1", &built);
    let auth = Auth::Basic { user: "kim".into(), password: "s3cret".into() };
    let registry = TestRegistry::builder().auth(auth).start().unwrap();
    registry.push("a/b", "1", &built);
    registry.fault(Fault::new(On::Blobs, FaultAction::Redirect(elsewhere.url())));
    let request =
        RequestAuth { username: "kim".into(), password: Secret::new("s3cret"), ..RequestAuth::default() };
    let keyring = Keyring { request: Some(request), files: None };
    source(&registry, "a/b:1", config(), keyring).resolve(&platform()).await.unwrap();
    assert_eq!(elsewhere.requests().len(), 1);
    assert!(elsewhere.requests()[0].authorization.is_none());
    assert!(registry.requests().last().unwrap().authorization.is_some());
}

#[tokio::test]
async fn redirects_that_do_not_end_are_given_up() {
    let registry = started(&image("a").build());
    registry.fault(Fault::new(On::Any, FaultAction::Redirect(registry.url())));
    assert!(matches!(failure(&registry).await, HostError::Redirects(10)));
    assert_eq!(registry.requests().len(), 11);
}

#[tokio::test]
async fn redirects_to_something_else_than_http_are_refused() {
    for to in ["ftp://127.0.0.1", "file://", "https://user:pw@127.0.0.1"] {
        let registry = started(&image("a").build());
        registry.fault(Fault::new(On::Manifests, FaultAction::Redirect(to.into())));
        assert!(matches!(failure(&registry).await, HostError::Redirect { .. }), "{to}");
    }
}

#[tokio::test]
async fn a_tag_that_moves_between_requests_gives_one_image_or_the_other() {
    let (old, new) = (image("old").build(), image("new").build());
    let registry = Arc::new(started(&old));
    let source = open(&registry, "a/b:1");
    let move_tag = async {
        registry.push("a/b", "1", &new);
    };
    let platform = platform();
    let (resolved, ()) = tokio::join!(source.resolve(&platform), move_tag);
    let resolved = resolved.unwrap();
    let whole = [&old, &new].into_iter().any(|built| {
        resolved.digest == built.digest && Some(&resolved.manifest.config.digest) == built.id.as_ref()
    });
    assert!(whole);
}
