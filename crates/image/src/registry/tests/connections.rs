//! Proxies and client certificates.

use std::sync::Mutex;

use hyper_util::client::proxy::matcher::Matcher;
use rcgen::{CertificateParams, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::scripted::Scripted;
use super::*;

const NAME: &str = "registry.example";

/// A client whose requests for anything but loopback go to this proxy.
fn through(proxy: &str, hosts_toml: &str) -> (tempfile::TempDir, Source) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(NAME)).unwrap();
    std::fs::write(dir.path().join(NAME).join("hosts.toml"), hosts_toml).unwrap();
    let config = Config { certs_dirs: vec![dir.path().to_owned()], ..config() };
    let matcher = Matcher::builder().all(proxy.to_owned()).build();
    let transport = transport::Transport::new(&config).through(matcher);
    let inner = Inner::new(config, transport);
    let reference: ImageRef = format!("{NAME}/a/b:1").parse().unwrap();
    let source = Source::new(&Registry { inner: Arc::new(inner) }, reference, Keyring::default()).unwrap();
    (dir, source)
}

#[tokio::test]
async fn plain_requests_go_to_the_proxy_in_absolute_form() {
    // A registry takes requests in either form, so it can stand in for the proxy before it.
    let registry = started(&image("a").build());
    let (_dir, source) = through(&registry.url(), &format!("server = \"http://{NAME}\""));
    source.resolve(&platform()).await.unwrap();
    assert_eq!(registry.requests().len(), 2);
}

#[tokio::test]
async fn a_proxy_of_plain_requests_is_shown_its_credentials() {
    let proxy = Scripted::start(|_, _| (404, Vec::new(), Vec::new())).await;
    let url = format!("http://kim:pw@{}", proxy.authority);
    let (_dir, source) = through(&url, &format!("server = \"http://{NAME}\""));
    source.resolve(&platform()).await.unwrap_err();
    let asked = proxy.asked();
    assert!(
        asked[0].header("proxy-authorization").is_some_and(|text| text.starts_with("Basic ")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_proxy_of_another_kind_is_refused_by_name() {
    for kind in ["socks5", "https"] {
        let (_dir, source) =
            through(&format!("{kind}://127.0.0.1:1080"), &format!("server = \"https://{NAME}\""));
        let error = source.resolve(&platform()).await.unwrap_err().to_string();
        assert!(error.contains(&format!("proxy {kind}://")), "{error}");
    }
}

/// A proxy that knows CONNECT and leads everything to one address; gives the targets asked for.
async fn tunnel(to: std::net::SocketAddr) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://kim:pw@{}", listener.local_addr().unwrap());
    let targets = Arc::new(Mutex::new(Vec::new()));
    let seen = targets.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await.unwrap_or(0) > 0 {}
            seen.lock().unwrap().push(head);
            let mut onward = TcpStream::connect(to).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut onward).await.ok() });
        }
    });
    (url, targets)
}

#[tokio::test]
async fn tls_goes_through_the_proxys_tunnel() {
    let registry = TestRegistry::builder().tls().start().unwrap();
    registry.push("a/b", "1", &image("a").build());
    let (proxy, targets) = tunnel(registry.address()).await;
    let text = format!("server = \"https://{NAME}\"\nskip_verify = true\n");
    let (_dir, source) = through(&proxy, &text);
    source.resolve(&platform()).await.unwrap();
    let heads = targets.lock().unwrap().clone();
    assert!(heads[0].starts_with(&format!("CONNECT {NAME}:443 ")), "{heads:?}");
    assert!(heads[0].to_lowercase().contains("proxy-authorization: basic "), "{heads:?}");
}

#[tokio::test]
async fn loopback_is_never_proxied() {
    let registry = started(&image("a").build());
    let down = format!("http://127.0.0.1:{}", berth_testkit::guard::free_port());
    let (_dir, source) = through(&down, &format!("server = \"{}\"", registry.url()));
    source.resolve(&platform()).await.unwrap();
}

#[tokio::test]
async fn the_client_certificate_is_shown() {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = String::new();
            let mut reader = BufReader::new(&mut stream);
            while !request.ends_with("\r\n\r\n") && reader.read_line(&mut request).await.unwrap_or(0) > 0 {}
            stream.write_all(b"HTTP/1.1 418 \r\nContent-Length: 0\r\n\r\n").await.ok();
            stream.shutdown().await.ok();
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let host = dir.path().join(NAME);
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("c.cert"), certificate.pem()).unwrap();
    std::fs::write(host.join("c.key"), key.serialize_pem()).unwrap();
    let ask = async |client: &str| {
        let text = format!("server = \"https://{address}\"\nca = \"c.cert\"\n{client}");
        std::fs::write(host.join("hosts.toml"), text).unwrap();
        let config = Config { certs_dirs: vec![dir.path().to_owned()], ..config() };
        let reference: ImageRef = format!("{NAME}/a/b:1").parse().unwrap();
        let source = Source::new(&Registry::new(config), reference, Keyring::default()).unwrap();
        reason(source.resolve(&platform()).await.unwrap_err())
    };
    let with = ask("client = [[\"c.cert\", \"c.key\"]]\n").await;
    assert!(matches!(with, HostError::Status { status: 418, .. }), "{with:?}");
    let without = ask("").await;
    assert!(matches!(without, HostError::Transport { .. } | HostError::Connect { .. }), "{without:?}");
}
