//! The registry and the stand-in images compared with other programs: skopeo must be able to
//! read everything, and Debian's docker-registry must answer alike.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use berth_testkit::guard::{WAIT_LIMIT, free_port, has_program, wait_until};
use berth_testkit::image::{Compression, Format, Image, Index, Layer, standin};
use berth_testkit::registry::Auth;
use berth_testkit::{Registry, require};

fn skopeo(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("skopeo").args(arguments).output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn sample(compression: Compression) -> Image {
    let layer = Layer::new().dir("etc", 0o755).file("etc/x", 0o644, "x\n").build(compression).unwrap();
    Image::new(Format::Oci).layer(&layer).cmd(&["true"])
}

#[test]
fn skopeo_copies_images_of_every_kind() {
    require!(has_program("skopeo"), "needs the package skopeo");
    let registry = Registry::start().unwrap();
    let amd = sample(Compression::Gzip).build();
    let index = Index::new(Format::Oci)
        .image(&sample(Compression::Gzip).architecture("s390x").build())
        .image(&amd)
        .build();
    registry.push("plain", "1", &sample(Compression::Plain).build());
    registry.push("zstd", "1", &sample(Compression::Zstd).build());
    registry.push("gzip", "1", &amd);
    registry.push("index", "1", &index);
    let dir = tempfile::tempdir().unwrap();
    for name in ["plain", "zstd", "gzip", "index"] {
        let from = format!("docker://{}/{name}:1", registry.host());
        let to = format!("oci:{}:1", dir.path().join(name).display());
        skopeo(&["copy", "-q", "--src-tls-verify=false", &from, &to]).unwrap();
    }
    let inspected =
        skopeo(&["inspect", "--tls-verify=false", &format!("docker://{}/index:1", registry.host())]).unwrap();
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Digest"], index.digest.to_string());
    assert_eq!(inspected["RepoTags"], serde_json::json!(["1"]));
}

#[test]
fn skopeo_speaks_tls_and_authorizes_itself() {
    require!(has_program("skopeo"), "needs the package skopeo");
    let account = ("user".to_owned(), "pass".to_owned());
    let basic = Auth::Basic { user: account.0.clone(), password: account.1.clone() };
    for auth in [Auth::Open, basic, Auth::Bearer { account: Some(account) }, Auth::Bearer { account: None }] {
        let registry = Registry::builder().tls().auth(auth.clone()).start().unwrap();
        registry.push("a/b", "1", &sample(Compression::Gzip).build());
        let certificates = tempfile::tempdir().unwrap();
        let authority = registry.authority().unwrap();
        std::fs::write(certificates.path().join("ca.crt"), authority).unwrap();
        let reference = format!("docker://{}/a/b:1", registry.host());
        let certificates = certificates.path().to_str().unwrap();
        let mut arguments = vec!["inspect", "--raw", "--cert-dir", certificates];
        let needs_account = !matches!(auth, Auth::Open | Auth::Bearer { account: None });
        if needs_account {
            let anonymous = [arguments.as_slice(), &[&reference]].concat();
            assert!(skopeo(&anonymous).is_err(), "{auth:?}");
            arguments.extend(["--creds", "user:pass"]);
        }
        arguments.push(&reference);
        skopeo(&arguments).unwrap_or_else(|e| panic!("{auth:?}: {e}"));
    }
}

#[test]
fn every_stand_in_is_readable_and_has_what_the_suite_looks_for() {
    require!(has_program("skopeo"), "needs the package skopeo");
    require!(
        has_program("nginx") && has_program("catatonit"),
        "needs the packages nginx-light and catatonit"
    );
    let registry = Registry::start().unwrap();
    let digest = standin::publish(&registry).unwrap();
    let inspect = |name: &str| {
        let reference = format!("docker://{}/{name}", registry.host());
        let json = skopeo(&["inspect", "--config", "--tls-verify=false", &reference]).unwrap();
        serde_json::from_str::<serde_json::Value>(&json).unwrap()["config"].clone()
    };
    let by_digest = format!("{}@{digest}", standin::BY_DIGEST);
    assert_eq!(inspect(&by_digest)["Cmd"], serde_json::json!(["sh"]));
    assert_eq!(inspect("pause:3.10")["User"], "65535:65535");
    assert_eq!(inspect("pause:3.9")["Labels"]["version"], "3.9");
    assert_eq!(inspect("e2e-test-images/nginx:1.14-2")["StopSignal"], "SIGQUIT");
    assert_eq!(
        inspect("k8s-staging-cri-tools/test-image-user-username-group:latest")["User"],
        "www-data:1004"
    );
    assert_eq!(inspect("e2e-test-images/busybox:1.29-2")["Cmd"], serde_json::json!(["sh"]));
}

#[test]
fn stand_ins_are_the_same_bytes_each_time() {
    require!(has_program("busybox"), "needs the package busybox-static");
    let build = || standin::base_layer().unwrap().build(Compression::Gzip).unwrap().digest;
    assert_eq!(build(), build());
}

/// Debian's docker-registry on a port of its own; ended when dropped.
struct Reference {
    child: Child,
    port: u16,
    _data: tempfile::TempDir,
}

impl Reference {
    fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
            data.path().display()
        );
        let path = data.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let up = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(wait_until(WAIT_LIMIT, up), "docker-registry did not start");
        Self { child, port, _data: data }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Status, the headers that clients act on, and the body of an answer.
fn ask(host: &str, method: &str, path: &str, range: Option<&str>) -> (u16, Vec<String>, Vec<u8>) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let range = range.map(|r| format!("Range: {r}\r\n")).unwrap_or_default();
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*\r\n";
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{accept}{range}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let split = all.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(all[..split].to_vec()).unwrap();
    let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers: Vec<_> = head
        .lines()
        .map(str::to_lowercase)
        .filter(|line| {
            let success = ["content-length", "content-type", "docker-content-digest"];
            line.starts_with("content-range")
                || (status < 300 && success.iter().any(|name| line.starts_with(name)))
        })
        .collect();
    headers.sort();
    let body = if status < 300 { all[split + 4..].to_vec() } else { Vec::new() };
    (status, headers, body)
}

#[test]
fn answers_are_those_of_debians_registry() {
    require!(has_program("skopeo"), "needs the package skopeo");
    require!(has_program("docker-registry"), "needs the package docker-registry");
    let image = sample(Compression::Gzip).build();
    let ours = Registry::start().unwrap();
    ours.push("a/b", "1", &image);
    let theirs = Reference::start();
    let from = format!("docker://{}/a/b:1", ours.host());
    let to = format!("docker://127.0.0.1:{}/a/b:1", theirs.port);
    skopeo(&[
        "copy",
        "-q",
        "--preserve-digests",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        &from,
        &to,
    ])
    .unwrap();
    let blob = format!("/v2/a/b/blobs/{}", image.blobs[1].0);
    let no_blob = format!("/v2/a/b/blobs/sha256:{}", "0".repeat(64));
    let manifest = format!("/v2/a/b/manifests/{}", image.digest);
    let cases: [(&str, &str, Option<&str>); 11] = [
        ("GET", "/v2/a/b/manifests/1", None),
        ("HEAD", "/v2/a/b/manifests/1", None),
        ("GET", &manifest, None),
        ("GET", "/v2/a/b/manifests/2", None),
        ("GET", "/v2/none/manifests/1", None),
        ("GET", &blob, None),
        ("HEAD", &blob, None),
        ("GET", &blob, Some("bytes=5-20")),
        ("GET", &blob, Some("bytes=10-")),
        ("GET", &blob, Some("bytes=100000-")),
        ("GET", &no_blob, None),
    ];
    for (method, path, range) in cases {
        let ours = ask(&ours.host(), method, path, range);
        let theirs = ask(&format!("127.0.0.1:{}", theirs.port), method, path, range);
        assert_eq!(ours, theirs, "{method} {path} {range:?}");
    }
}
