//! Mirrors, TLS, plain HTTP and the order of hosts.

use std::path::Path;

use super::*;

const NAME: &str = "registry.example";

fn write(dir: &Path, text: &str) {
    std::fs::create_dir_all(dir.join(NAME)).unwrap();
    std::fs::write(dir.join(NAME).join("hosts.toml"), text).unwrap();
}

fn mirrored(dir: &Path, selector: &str) -> Source {
    let config = Config { certs_dirs: vec![dir.to_owned()], ..config() };
    let reference: ImageRef = format!("{NAME}/a/b{selector}").parse().unwrap();
    Source::new(&Registry::new(config), reference, Keyring::default()).unwrap()
}

fn host(registry: &TestRegistry, more: &str) -> String {
    format!("[host.\"{}\"]\n{more}\n", registry.url())
}

#[tokio::test]
async fn the_first_mirror_that_has_it_serves_it() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, full) = (TestRegistry::start().unwrap(), started(&image("a").build()));
    write(dir.path(), &(host(&empty, "") + &host(&full, "")));
    mirrored(dir.path(), ":1").resolve(&platform()).await.unwrap();
    assert_eq!(empty.requests()[0].status, 404);
    assert!(full.requests().iter().all(|r| r.query == format!("ns={NAME}")), "{:?}", full.requests());
}

#[tokio::test]
async fn a_mirror_that_is_down_damaged_or_busy_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let built = image("a").build();
    let full = started(&built);
    for action in [FaultAction::WrongBytes, FaultAction::Status(500, None), FaultAction::Status(403, None)] {
        let bad = started(&built);
        bad.fault(Fault::new(On::Any, action));
        let down = format!("[host.\"http://127.0.0.1:{}\"]\n", berth_testkit::guard::free_port());
        write(dir.path(), &(down + &host(&bad, "") + &host(&full, "")));
        let selector = format!("@{}", built.digest);
        mirrored(dir.path(), &selector).resolve(&platform()).await.unwrap();
    }
}

#[tokio::test]
async fn the_error_lists_every_host_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let empty = TestRegistry::start().unwrap();
    let port = berth_testkit::guard::free_port();
    write(dir.path(), &format!("server = \"http://127.0.0.1:{port}\"\n{}", host(&empty, "")));
    let error = mirrored(dir.path(), ":1").resolve(&platform()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("{}: not found", empty.url())), "{text}");
    assert!(text.contains(&format!("http://127.0.0.1:{port}: connect")), "{text}");
    // The registry itself did not answer: whether it has the image is open.
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn a_mirror_without_the_capability_to_resolve_gives_only_content() {
    let dir = tempfile::tempdir().unwrap();
    let built = image("a").build();
    let (mirror, server) = (started(&built), started(&built));
    let text = format!("server = \"{}\"\n", server.url());
    write(dir.path(), &(text + &host(&mirror, "capabilities = [\"pull\"]")));
    mirrored(dir.path(), ":1").resolve(&platform()).await.unwrap();
    let paths = |r: &TestRegistry| r.requests().into_iter().map(|r| r.path).collect::<Vec<_>>();
    assert_eq!(paths(&server), ["/v2/a/b/manifests/1"]);
    assert_eq!(paths(&mirror).len(), 1);
    assert!(paths(&mirror)[0].contains("/blobs/"));
}

#[tokio::test]
async fn without_any_host_that_may_resolve_the_error_says_so() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "server = \"http://127.0.0.1:1\"\ncapabilities = [\"pull\"]\n");
    let error = mirrored(dir.path(), ":1").resolve(&platform()).await.unwrap_err();
    assert!(error.to_string().contains("resolve"), "{error}");
}

#[tokio::test]
async fn configuration_is_read_at_each_pull() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, full) = (TestRegistry::start().unwrap(), started(&image("a").build()));
    write(dir.path(), &format!("server = \"{}\"\n", empty.url()));
    mirrored(dir.path(), ":1").resolve(&platform()).await.unwrap_err();
    write(dir.path(), &format!("server = \"{}\"\n", full.url()));
    mirrored(dir.path(), ":1").resolve(&platform()).await.unwrap();
}

#[tokio::test]
async fn tls_is_checked_against_the_configured_authority() {
    let registry = TestRegistry::builder().tls().start().unwrap();
    registry.push("a/b", "1", &image("a").build());
    let dir = tempfile::tempdir().unwrap();
    let server = format!("server = \"{}\"\n", registry.url());

    write(dir.path(), &server);
    let error = mirrored(dir.path(), ":1").resolve(&platform()).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(error.hint().unwrap().contains("ca"), "{:?}", error.hint());

    // In a bundle with an unreadable certificate.
    let bundle =
        ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", registry.authority().unwrap()];
    std::fs::write(dir.path().join(NAME).join("ca.crt"), bundle.concat()).unwrap();
    write(dir.path(), &format!("{server}ca = \"ca.crt\"\n"));
    mirrored(dir.path(), ":1").resolve(&platform()).await.unwrap();

    write(dir.path(), &format!("{server}skip_verify = true\n"));
    mirrored(dir.path(), ":1").resolve(&platform()).await.unwrap();
}

#[tokio::test]
async fn a_registry_that_speaks_plain_http_where_tls_belongs_gets_a_hint() {
    let registry = started(&image("a").build());
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &format!("server = \"https://{}\"\n", registry.host()));
    let error = mirrored(dir.path(), ":1").resolve(&platform()).await.unwrap_err();
    assert!(error.hint().is_some_and(|hint| hint.contains("plain HTTP")), "{error}: {:?}", error.hint());
}

#[tokio::test]
async fn certificates_that_are_none_are_named() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "server = \"https://127.0.0.1:1\"\nca = \"ca.crt\"\n");
    std::fs::write(dir.path().join(NAME).join("ca.crt"), "rubbish").unwrap();
    let error = mirrored(dir.path(), ":1").resolve(&platform()).await.unwrap_err();
    assert!(error.to_string().contains("ca.crt"), "{error}");
}

#[tokio::test]
async fn a_loopback_registry_may_speak_tls_or_plain_http() {
    let built = image("a").build();
    for registry in [started(&built), TestRegistry::builder().tls().start().unwrap()] {
        registry.push("a/b", "1", &built);
        open(&registry, "a/b:1").resolve(&platform()).await.unwrap();
    }
}

#[tokio::test]
async fn request_credentials_stay_away_from_mirrors() {
    let dir = tempfile::tempdir().unwrap();
    let basic = || Auth::Basic { user: "kim".into(), password: "s3cret".into() };
    let mirror = TestRegistry::builder().auth(basic()).start().unwrap();
    let server = TestRegistry::builder().auth(basic()).start().unwrap();
    server.push("a/b", "1", &image("a").build());
    write(dir.path(), &format!("server = \"{}\"\n{}", server.url(), host(&mirror, "")));
    let request =
        RequestAuth { username: "kim".into(), password: Secret::new("s3cret"), ..RequestAuth::default() };
    let config = Config { certs_dirs: vec![dir.path().to_owned()], ..config() };
    let reference: ImageRef = format!("{NAME}/a/b:1").parse().unwrap();
    let keyring = Keyring { request: Some(request), files: None };
    let source = Source::new(&Registry::new(config), reference, keyring).unwrap();
    source.resolve(&platform()).await.unwrap();
    assert!(mirror.requests().iter().all(|r| r.authorization.is_none()));
}

#[tokio::test]
async fn headers_go_to_their_host() {
    let dir = tempfile::tempdir().unwrap();
    let registry = started(&image("a").build());
    let header = format!("[host.\"{}\".header]\nauthorization = \"Basic configured\"\n", registry.url());
    write(dir.path(), &(host(&registry, "") + &header));
    mirrored(dir.path(), ":1").resolve(&platform()).await.unwrap();
    assert!(registry.requests().iter().all(|r| r.authorization.as_deref() == Some("Basic configured")));
}

#[tokio::test]
async fn a_silent_mirror_is_waited_for_once_in_a_pull() {
    let dir = tempfile::tempdir().unwrap();
    let built = image("a").build();
    let (silent, full) = (started(&built), started(&built));
    silent.fault(Fault::new(On::Any, FaultAction::Silence));
    write(dir.path(), &(host(&silent, "") + &host(&full, "")));
    let mut config = config();
    config.timeouts.answer = Duration::from_millis(200);
    config.certs_dirs = vec![dir.path().to_owned()];
    let reference: ImageRef = format!("{NAME}/a/b:1").parse().unwrap();
    let source = Source::new(&Registry::new(config), reference, Keyring::default()).unwrap();
    assert_eq!(source.head().await, Some(built.digest));
    source.resolve(&platform()).await.unwrap();
    assert_eq!((silent.requests().len(), full.requests().len()), (1, 3));
}
