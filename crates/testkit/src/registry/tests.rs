use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::*;
use crate::image::{Blob, Compression, Format, Image, Index, Layer, digest_of};

fn sample() -> (Blob, Built) {
    let layer = Layer::new().file("data", 0o644, vec![7u8; 5000]).build(Compression::Plain).unwrap();
    let image = Image::new(Format::Oci).layer(&layer).build();
    (layer, image)
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// One request over a connection of its own, read to its end; None for a broken connection.
fn ask(registry: &Registry, method: &str, path: &str, headers: &[(&str, &str)]) -> Option<Answer> {
    ask_within(Duration::from_secs(20), registry, method, path, headers)
}

fn ask_within(
    limit: Duration,
    registry: &Registry,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Option<Answer> {
    let mut stream = TcpStream::connect(registry.address()).unwrap();
    stream.set_read_timeout(Some(limit)).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).ok()?;
    let split = all.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8(all[..split].to_vec()).unwrap();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head, body: all[split + 4..].to_vec() })
}

fn get(registry: &Registry, path: &str) -> Option<Answer> {
    ask(registry, "GET", path, &[])
}

#[test]
fn manifests_are_found_by_tag_and_by_digest() {
    let registry = Registry::start().unwrap();
    let (_, image) = sample();
    registry.push("a/b", "1", &image);
    for selector in ["1", image.digest.as_str()] {
        let answer = get(&registry, &format!("/v2/a/b/manifests/{selector}")).unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &image.manifest[..]));
        assert_eq!(answer.header("content-type"), Some(image.media_type.as_str()));
        assert_eq!(answer.header("docker-content-digest"), Some(image.digest.as_str()));
    }
    assert_eq!(get(&registry, "/v2/a/b/manifests/2").unwrap().status, 404);
    assert_eq!(get(&registry, "/v2/c/manifests/1").unwrap().status, 404);
    assert_eq!(get(&registry, "/v2/").unwrap().status, 200);
    assert!(
        String::from_utf8(get(&registry, "/v2/a/b/tags/list").unwrap().body).unwrap().contains("[\"1\"]")
    );
}

#[test]
fn an_index_brings_its_images() {
    let registry = Registry::start().unwrap();
    let (_, image) = sample();
    let index = Index::new(Format::Docker).image(&image).build();
    registry.push("a", "1", &index);
    assert_eq!(get(&registry, &format!("/v2/a/manifests/{}", image.digest)).unwrap().status, 200);
    assert_eq!(get(&registry, "/v2/a/manifests/1").unwrap().body, index.manifest);
}

#[test]
fn blobs_are_served_whole_in_parts_and_not_at_all_for_head() {
    let registry = Registry::start().unwrap();
    let (layer, image) = sample();
    registry.push("a", "1", &image);
    let bytes = layer.bytes().unwrap();
    let path = format!("/v2/a/blobs/{}", layer.digest);
    assert_eq!(get(&registry, &path).unwrap().body, bytes);
    let head = ask(&registry, "HEAD", &path, &[]).unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(layer.size.to_string().as_str()));
    for (range, want) in [
        ("bytes=10-19", &bytes[10..20]),
        ("bytes=4000-", &bytes[4000..]),
        ("bytes=-5", &bytes[bytes.len() - 5..]),
    ] {
        let part = ask(&registry, "GET", &path, &[("Range", range)]).unwrap();
        assert_eq!((part.status, &part.body[..]), (206, want), "{range}");
    }
    assert_eq!(ask(&registry, "GET", &path, &[("Range", "bytes=99999999-")]).unwrap().status, 416);
    let other = digest_of(b"none");
    assert_eq!(get(&registry, &format!("/v2/a/blobs/{other}")).unwrap().status, 404);
    assert_eq!(get(&registry, &format!("/v2/b/blobs/{}", layer.digest)).unwrap().status, 404);
}

#[test]
fn requests_are_recorded_with_what_was_asked_and_answered() {
    let registry = Registry::start().unwrap();
    get(&registry, "/v2/x/manifests/1?ns=docker.io").unwrap();
    ask(&registry, "HEAD", "/v2/", &[("Range", "bytes=1-2"), ("Authorization", "Basic eDp5")]).unwrap();
    let requests = registry.requests();
    assert_eq!(
        (requests[0].path.as_str(), requests[0].query.as_str()),
        ("/v2/x/manifests/1", "ns=docker.io")
    );
    assert_eq!(requests[0].status, 404);
    assert_eq!(requests[1].method, "HEAD");
    assert_eq!(requests[1].range.as_deref(), Some("bytes=1-2"));
    assert_eq!(requests[1].authorization.as_deref(), Some("Basic eDp5"));
    registry.clear_requests();
    assert_eq!(registry.requests(), []);
}

#[test]
fn basic_authorization_is_asked_for_and_checked() {
    let auth = Auth::Basic { user: "u".into(), password: "p".into() };
    let registry = Registry::builder().auth(auth).start().unwrap();
    let refused = get(&registry, "/v2/").unwrap();
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").unwrap().starts_with("Basic realm="));
    let wrong = ask(&registry, "GET", "/v2/", &[("Authorization", "Basic eDp5")]).unwrap();
    assert_eq!(wrong.status, 401);
    let right = ask(&registry, "GET", "/v2/", &[("Authorization", "basic dTpw")]).unwrap();
    assert_eq!(right.status, 200);
}

fn token_of(answer: &Answer) -> String {
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    json["token"].as_str().unwrap().to_owned()
}

#[test]
fn a_bearer_token_opens_its_repository_until_it_is_revoked() {
    let registry = Registry::builder().auth(Auth::Bearer { account: None }).start().unwrap();
    let (_, image) = sample();
    registry.push("a", "1", &image);
    registry.push("b", "1", &image);
    let refused = get(&registry, "/v2/a/manifests/1").unwrap();
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(challenge.contains(&format!("realm=\"{}/token\"", registry.url())), "{challenge}");
    assert!(challenge.contains("scope=\"repository:a:pull\""), "{challenge}");
    let token = token_of(&get(&registry, "/token?service=berth+test&scope=repository%3Aa%3Apull").unwrap());
    let bearer = format!("Bearer {token}");
    let with = |path| ask(&registry, "GET", path, &[("Authorization", &bearer)]).unwrap().status;
    assert_eq!(with("/v2/a/manifests/1"), 200);
    assert_eq!(with("/v2/b/manifests/1"), 401);
    registry.revoke_tokens();
    assert_eq!(with("/v2/a/manifests/1"), 401);
}

#[test]
fn tokens_are_refused_without_the_account_and_given_for_the_refresh_token() {
    let account = Some(("u".to_owned(), "p".to_owned()));
    let registry = Registry::builder().auth(Auth::Bearer { account }).start().unwrap();
    assert_eq!(get(&registry, "/token?scope=repository:a:pull").unwrap().status, 401);
    let given = ask(&registry, "GET", "/token?scope=repository:a:pull", &[("Authorization", "Basic dTpw")]);
    assert_eq!(given.unwrap().status, 200);

    let auth = Auth::Identity { refresh: "r".into() };
    let registry = Registry::builder().auth(auth).start().unwrap();
    assert_eq!(get(&registry, "/token?scope=repository:a:pull").unwrap().status, 401);
    let given = get(&registry, "/token?scope=repository:a:pull&refresh_token=r").unwrap();
    assert_eq!(given.status, 200);
}

#[test]
fn faults_strike_what_they_concern_as_often_as_they_say() {
    let registry = Registry::start().unwrap();
    let (layer, image) = sample();
    registry.push("a", "1", &image);
    let blob = format!("/v2/a/blobs/{}", layer.digest);
    registry.fault(Fault::new(On::Blobs, FaultAction::Status(503, Some(2))).after(1).once());
    assert_eq!(get(&registry, "/v2/a/manifests/1").unwrap().status, 200);
    assert_eq!(get(&registry, &blob).unwrap().status, 200);
    let busy = get(&registry, &blob).unwrap();
    assert_eq!((busy.status, busy.header("retry-after")), (503, Some("2")));
    assert_eq!(get(&registry, &blob).unwrap().status, 200);

    registry.fault(Fault::new(On::Path("manifests/1".into()), FaultAction::WrongDigestHeader));
    let lie = get(&registry, "/v2/a/manifests/1").unwrap();
    assert_ne!(lie.header("docker-content-digest"), Some(image.digest.as_str()));
    registry.clear_faults();
    let truth = get(&registry, "/v2/a/manifests/1").unwrap();
    assert_eq!(truth.header("docker-content-digest"), Some(image.digest.as_str()));
}

#[test]
fn bodies_are_spoiled_as_the_fault_says() {
    let registry = Registry::start().unwrap();
    let (layer, image) = sample();
    registry.push("a", "1", &image);
    let bytes = layer.bytes().unwrap();
    let path = format!("/v2/a/blobs/{}", layer.digest);
    let with = |action: FaultAction, headers: &[(&str, &str)]| {
        registry.fault(Fault::new(On::Blobs, action).once());
        ask(&registry, "GET", &path, headers)
    };
    for silent in [FaultAction::StallAfter(100), FaultAction::Silence] {
        registry.fault(Fault::new(On::Blobs, silent).once());
        let answer = ask_within(Duration::from_millis(500), &registry, "GET", &path, &[]);
        assert!(answer.is_none(), "the read timed out");
    }
    let reset = with(FaultAction::ResetAfter(100), &[]);
    assert!(reset.is_none_or(|answer| answer.body.len() < bytes.len()));
    let short = with(FaultAction::TruncateAfter(100), &[]).unwrap();
    assert_eq!(short.header("content-length"), None);
    assert_eq!(short.header("transfer-encoding"), Some("chunked"));
    let wrong = with(FaultAction::WrongBytes, &[]).unwrap().body;
    assert_eq!(wrong.len(), bytes.len());
    assert_ne!(digest_of(&wrong), layer.digest);
    assert_eq!(with(FaultAction::TooLong(9), &[]).unwrap().body.len(), bytes.len() + 9);
    let whole = with(FaultAction::IgnoreRange, &[("Range", "bytes=10-")]).unwrap();
    assert_eq!((whole.status, whole.body.len()), (200, bytes.len()));
    let other = with(FaultAction::WrongRange, &[("Range", "bytes=10-19")]).unwrap();
    assert!(other.header("content-range").unwrap().starts_with("bytes 9-18/"));
    let to = with(FaultAction::Redirect("http://127.0.0.1:1/x".into()), &[]).unwrap();
    assert_eq!(
        (to.status, to.header("location")),
        (307, Some(format!("http://127.0.0.1:1/x{path}").as_str()))
    );
}

#[test]
fn content_in_files_is_served_like_content_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let layer = Layer::new().file("x", 0o644, vec![1u8; 600_000]);
    let blob = layer.build_into(Compression::Plain, &dir.path().join("l")).unwrap();
    let registry = Registry::start().unwrap();
    registry.push("a", "1", &Image::new(Format::Oci).layer(&blob).build());
    let path = format!("/v2/a/blobs/{}", blob.digest);
    assert_eq!(digest_of(&get(&registry, &path).unwrap().body), blob.digest);
    let part = ask(&registry, "GET", &path, &[("Range", "bytes=1000-1009")]).unwrap();
    assert_eq!(part.body, blob.bytes().unwrap()[1000..1010]);
}
