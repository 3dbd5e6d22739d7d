//! Debian's docker-registry on a free loopback port.

use std::process::{Child, Command, Stdio};

use berth_testkit::guard;
use berth_testkit::image::{Built, Content};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

pub(super) struct DockerRegistry {
    process: Child,
    pub(super) host: String,
    _dir: tempfile::TempDir,
}

impl DockerRegistry {
    pub(super) fn start() -> Option<Self> {
        if !guard::has_program("docker-registry") {
            eprintln!("skipped: docker-registry: apt-get install docker-registry");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let host = format!("127.0.0.1:{}", guard::free_port());
        let config = dir.path().join("config.yml");
        let data = dir.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{host}\"}}\n",
            data.display()
        );
        std::fs::write(&config, text).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let up = guard::wait_until(guard::WAIT_LIMIT, || std::net::TcpStream::connect(&host).is_ok());
        assert!(up, "docker-registry does not listen");
        Some(Self { process, host, _dir: dir })
    }

    pub(super) async fn push(&self, repository: &str, tag: &str, image: &Built) {
        let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let base = format!("http://{}/v2/{repository}", self.host);
        let send = async |method: &str, url: String, kind: &str, body: Bytes| {
            let request = Request::builder().method(method).uri(url).header("Content-Type", kind);
            client.request(request.body(Full::from(body)).unwrap()).await.unwrap()
        };
        for (digest, content) in &image.blobs {
            let Content::Memory(bytes) = content else { panic!("blobs of tests are in memory") };
            let begun = send("POST", format!("{base}/blobs/uploads/"), "text/plain", Bytes::new()).await;
            let location = begun.headers()["location"].to_str().unwrap().to_owned();
            let separator = if location.contains('?') { '&' } else { '?' };
            let url = format!("{location}{separator}digest={digest}");
            let put = send("PUT", url, "application/octet-stream", bytes.clone()).await;
            assert_eq!(put.status(), 201);
        }
        let url = format!("{base}/manifests/{tag}");
        let put = send("PUT", url, &image.media_type, image.manifest.clone()).await;
        assert_eq!(put.status(), 201);
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
