//! Real registries: scripted answers, for behaviour that the test registry does not have.

use std::sync::Mutex;

use berth_testkit::image::digest_of;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use super::*;

/// A request: its first line without the version, and its headers.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    line: String,
    headers: Vec<(String, String)>,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn authorization(&self) -> Option<&str> {
        self.header("authorization")
    }
}

/// Status, headers and body.
pub(super) type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

pub(super) struct Scripted {
    pub(super) authority: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Scripted {
    /// Answers each request on a connection of its own; the script is told the authority it answers for.
    pub(super) async fn start(script: impl Fn(&Asked, &str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (name, seen) = (authority.clone(), asked.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let mut lines = Vec::new();
                loop {
                    let mut line = Vec::new();
                    // The attempt to speak TLS comes first; it has no such line.
                    if stream.read_until(b'\n', &mut line).await.unwrap_or(0) == 0
                        || line.first() == Some(&22)
                    {
                        break;
                    }
                    let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                    if line.is_empty() {
                        break;
                    }
                    lines.push(line);
                }
                let Some((first, headers)) = lines.split_first() else { continue };
                let header = |line: &String| {
                    let (name, value) = line.split_once(':').unwrap();
                    (name.to_ascii_lowercase(), value.trim().to_owned())
                };
                let line = first.rsplit_once(' ').unwrap().0.to_owned();
                let request = Asked { line, headers: headers.iter().map(header).collect() };
                let (status, headers, body) = script(&request, &name);
                seen.lock().unwrap().push(request);
                let mut head =
                    format!("HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                stream.write_all(&[head.as_bytes(), b"\r\n", &body].concat()).await.ok();
                stream.shutdown().await.ok();
            }
        });
        Self { authority, asked }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    async fn resolve(&self, keyring: Keyring) -> Result<Resolved, RegistryError> {
        let reference: ImageRef = format!("{}/a/b:1", self.authority).parse().unwrap();
        Source::new(&Registry::new(config()), reference, keyring).unwrap().resolve(&platform()).await
    }
}

fn kim() -> Keyring {
    let request =
        RequestAuth { username: "kim".into(), password: Secret::new("s3cret"), ..RequestAuth::default() };
    Keyring { request: Some(request), files: None }
}

/// An answer with content by path: manifests by tag or digest, blobs by digest.
fn content(built: &Built, line: &str, media_type: &str) -> Answer {
    let path = line.split(['?', ' ']).nth(1).unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    if path.contains("/manifests/") {
        let mut all = vec![built];
        all.extend(&built.children);
        let found = all.iter().find(|one| one.digest.as_str() == last).unwrap_or(&built);
        return (200, vec![("Content-Type", media_type.to_owned())], found.manifest.to_vec());
    }
    let blobs = [built].into_iter().chain(&built.children).flat_map(|one| &one.blobs);
    match blobs.into_iter().find(|(digest, _)| digest.as_str() == last) {
        Some((_, berth_testkit::image::Content::Memory(bytes))) => (200, Vec::new(), bytes.to_vec()),
        _ => (404, Vec::new(), Vec::new()),
    }
}

fn challenge(authority: &str) -> Answer {
    (
        401,
        vec![("WWW-Authenticate", format!("Bearer realm=\"http://{authority}/token\",service=\"s\""))],
        Vec::new(),
    )
}

#[tokio::test]
async fn tokens_come_under_either_name_and_with_any_lifetime() {
    for token in [
        r#"{"token":"t"}"#,
        r#"{"access_token":"t"}"#,
        r#"{"token":null,"access_token":"t","expires_in":null}"#,
        r#"{"token":"","access_token":"t","expires_in":"3600"}"#,
        r#"{"token":"t","expires_in":0,"issued_at":"yesterday"}"#,
        r#"{"token":"t","expires_in":"soon","refresh_token":"r"}"#,
    ] {
        let built = image("a").build();
        let server = Scripted::start(move |asked, authority| {
            if asked.line.starts_with("GET /token") {
                return (200, Vec::new(), token.as_bytes().to_vec());
            }
            match asked.authorization() {
                Some("Bearer t") => content(&built, &asked.line, "application/json"),
                _ => challenge(authority),
            }
        })
        .await;
        server.resolve(Keyring::default()).await.unwrap_or_else(|e| panic!("{token}: {e}"));
    }
}

#[tokio::test]
async fn a_token_server_that_is_busy_is_asked_again() {
    let built = image("a").build();
    let busy = Mutex::new(2);
    let server = Scripted::start(move |asked, authority| {
        if asked.line.starts_with("GET /token") {
            let mut busy = busy.lock().unwrap();
            if *busy > 0 {
                *busy -= 1;
                return (503, vec![("Retry-After", "0".to_owned())], Vec::new());
            }
            return (200, Vec::new(), br#"{"token":"t"}"#.to_vec());
        }
        match asked.authorization() {
            Some(_) => content(&built, &asked.line, "application/json"),
            None => challenge(authority),
        }
    })
    .await;
    server.resolve(Keyring::default()).await.unwrap();
}

#[tokio::test]
async fn a_host_redirected_to_gets_an_anonymous_token_and_never_the_credentials() {
    let built = image("a").build();
    let behind = Scripted::start(move |asked, authority| {
        if asked.line.starts_with("GET /token") {
            return (200, Vec::new(), br#"{"token":"anybodys"}"#.to_vec());
        }
        match asked.authorization() {
            Some("Bearer anybodys") => content(&built, &asked.line, "application/json"),
            _ => challenge(authority),
        }
    })
    .await;
    let to = format!("http://{}", behind.authority);
    let front = Scripted::start(move |asked, _| {
        let path = asked.line.split(' ').nth(1).unwrap();
        match asked.authorization() {
            None => (401, vec![("WWW-Authenticate", "Basic realm=x".to_owned())], Vec::new()),
            Some(_) => (307, vec![("Location", format!("{to}{path}"))], Vec::new()),
        }
    })
    .await;
    front.resolve(kim()).await.unwrap();
    let shown: Vec<_> = behind.asked().iter().filter_map(|a| a.authorization().map(str::to_owned)).collect();
    assert!(!shown.is_empty() && shown.iter().all(|text| text == "Bearer anybodys"), "{shown:?}");
    let tokens = behind.asked().iter().filter(|a| a.line.contains("/token")).count();
    assert_eq!(tokens, 1, "kept for the next redirect");
}

#[tokio::test]
async fn a_host_redirected_to_cannot_ask_for_the_credentials() {
    let thief = Scripted::start(|_, authority| {
        if authority.is_empty() { (200, Vec::new(), Vec::new()) } else { challenge(authority) }
    })
    .await;
    let to = format!("http://{}/x", thief.authority);
    let front = Scripted::start(move |asked, _| match asked.authorization() {
        None => (401, vec![("WWW-Authenticate", "Basic realm=x".to_owned())], Vec::new()),
        Some(_) => (307, vec![("Location", to.clone())], Vec::new()),
    })
    .await;
    let error = front.resolve(kim()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert!(thief.asked().iter().all(|asked| asked.authorization().is_none()), "{:?}", thief.asked());
}

#[tokio::test]
async fn a_redirect_to_the_same_host_keeps_the_credentials_however_its_port_is_written() {
    let host = Host::of("registry.example");
    for (url, own) in [
        ("https://registry.example/v2/", true),
        ("https://REGISTRY.example:443/v2/", true),
        ("https://registry.example:8443/v2/", false),
        ("http://registry.example/v2/", false),
        ("https://registry.example.evil/v2/", false),
    ] {
        assert_eq!(send::is_own(&host, &url.parse().unwrap()), own, "{url}");
    }
}

#[tokio::test]
async fn a_registry_may_lack_the_headers_and_types_of_the_specification() {
    // Neither Docker-Content-Digest nor a type; a family of types that is not the document's; no HEAD.
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    for media_type in ["", "text/plain; charset=utf-8", "application/octet-stream", docker] {
        let built = image("a").build();
        let digest = built.digest.clone();
        let server = Scripted::start(move |asked, _| match asked.line.starts_with("HEAD") {
            true => (405, Vec::new(), Vec::new()),
            false => content(&built, &asked.line, media_type),
        })
        .await;
        let resolved =
            server.resolve(Keyring::default()).await.unwrap_or_else(|e| panic!("{media_type}: {e}"));
        assert_eq!(resolved.digest, digest);
    }
}

#[tokio::test]
async fn of_an_index_that_names_no_platforms_the_image_that_fits_is_found() {
    let (arm, amd) = (image("arm").architecture("arm64").build(), image("amd").build());
    let sbom = serde_json::json!({
        "schemaVersion": 2, "artifactType": "application/vnd.example.sbom", "layers": [],
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2},
    });
    let sbom = Built::document("application/vnd.oci.image.manifest.v1+json", &sbom);
    let entries: Vec<_> = [&sbom, &arm, &amd]
        .into_iter()
        .map(|one| serde_json::json!({"digest": one.digest, "size": one.manifest.len(), "platform": null}))
        .collect();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": entries});
    let mut index = Built::document("application/vnd.oci.image.index.v1+json", &index);
    index.children = vec![sbom, arm.clone(), amd.clone()];
    let registry = started(&index);
    let source = open(&registry, "a/b:1");
    assert_eq!(source.resolve(&platform()).await.unwrap().manifest_digest, amd.digest);
    let arm64 = "linux/arm64".parse().unwrap();
    assert_eq!(source.resolve(&arm64).await.unwrap().manifest_digest, arm.digest);
    let error = source.resolve(&"linux/s390x".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Platform { .. }), "{error}");
}

#[tokio::test]
async fn credentials_are_sent_without_a_challenge_where_a_part_is_public() {
    for hidden in [403, 404] {
        let built = image("a").build();
        let server = Scripted::start(move |asked, authority| {
            if asked.line.starts_with("GET /token") {
                return match asked.authorization() {
                    Some(text) if text.starts_with("Basic ") => {
                        (200, Vec::new(), br#"{"token":"t"}"#.to_vec())
                    }
                    _ => (401, Vec::new(), Vec::new()),
                };
            }
            match (asked.authorization(), asked.line.as_str()) {
                (Some("Bearer t"), _) => content(&built, &asked.line, "application/json"),
                (_, "GET /v2/") => challenge(authority),
                _ => (hidden, Vec::new(), Vec::new()),
            }
        })
        .await;
        server.resolve(kim()).await.unwrap_or_else(|e| panic!("{hidden}: {e}"));
        // Without credentials there is no probe.
        let before = server.asked().len();
        server.resolve(Keyring::default()).await.unwrap_err();
        assert_eq!(server.asked().len(), before + 1);
    }
}

/// A page for logging in, a cache's own error with a status of success: whatever a mirror says instead of a manifest.
#[tokio::test]
async fn a_mirror_that_answers_a_manifest_with_something_else_is_skipped() {
    let built = image("a").build();
    let answers: [(&str, &[u8]); 4] = [
        ("text/html; charset=utf-8", b"<!doctype html><title>Log in</title>"),
        ("application/vnd.oci.image.manifest.v1+json", b"<html>"),
        ("application/json", b"{}"),
        ("text/plain", b""),
    ];
    for (media_type, page) in answers {
        let mirror =
            Scripted::start(move |_, _| (200, vec![("Content-Type", media_type.to_owned())], page.to_vec()))
                .await;
        let full = started(&built);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("registry.example")).unwrap();
        let hosts = format!("[host.\"http://{}\"]\n[host.\"{}\"]\n", mirror.authority, full.url());
        std::fs::write(dir.path().join("registry.example/hosts.toml"), hosts).unwrap();
        let config = Config { certs_dirs: vec![dir.path().to_owned()], ..config() };
        let reference: ImageRef = "registry.example/a/b:1".parse().unwrap();
        let source = Source::new(&Registry::new(config), reference, Keyring::default()).unwrap();
        let resolved = source.resolve(&platform()).await.unwrap_or_else(|e| panic!("{media_type}: {e}"));
        assert_eq!(resolved.digest, built.digest);
        assert!(!mirror.asked().is_empty());
    }
}

#[tokio::test]
async fn a_relative_location_leads_where_the_standard_says() {
    let built = image("a").build();
    for to in
        ["../../../elsewhere/{last}", "/v2/a/../elsewhere/./{last}", "../../../../../../elsewhere/{last}"]
    {
        let copy = built.clone();
        let server = Scripted::start(move |asked, _| {
            let media_type = "application/vnd.oci.image.manifest.v1+json";
            match asked.line.contains("/elsewhere/") || asked.line.contains("/manifests/") {
                true => content(&copy, &asked.line, media_type),
                false => {
                    let last = asked.line.rsplit('/').next().unwrap_or_default();
                    (307, vec![("Location", to.replace("{last}", last))], Vec::new())
                }
            }
        })
        .await;
        server.resolve(Keyring::default()).await.unwrap_or_else(|e| panic!("{to}: {e}"));
        let asked = server.asked();
        assert!(asked.iter().all(|one| !one.line.contains("..")), "{asked:?}");
    }
}
