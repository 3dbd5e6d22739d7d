use std::time::SystemTime;

use berth_testkit::collector::{Answer, Collector};
use berth_types::trace::TraceId;

use super::*;

fn span(number: u64) -> Span {
    let now = SystemTime::now();
    Span {
        trace: TraceId([1; 16]),
        id: SpanId(number.to_be_bytes()),
        parent: None,
        is_call: true,
        name: format!("span {number}"),
        began: now,
        ended: now,
        attributes: vec![("number", number.to_string())],
        failed: None,
    }
}

fn settings(scheme: &str, collector: &Collector, protocol: Protocol) -> Settings {
    let path = match protocol {
        Protocol::Grpc => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Protocol::Http => "/v1/traces",
    };
    Settings {
        endpoint: format!("{scheme}://localhost:{}{path}", collector.address().port()).parse().unwrap(),
        protocol,
        authorities: None,
        headers: vec![("x-tenant".to_owned(), "berth".to_owned())],
        resource: vec![("service.name".to_owned(), "berth".to_owned())],
    }
}

/// Sends two spans, which have to come as they are.
async fn are_taken(collector: Collector, settings: Settings) {
    let (exporter, task) = Exporter::start(&settings).unwrap();
    exporter.ended(span(1));
    exporter.ended(span(2));
    exporter.end();
    task.await.unwrap();
    assert_eq!(exporter.counts(), Counts { sent: 2, ..Counts::default() });
    let seen = collector.seen();
    let names: Vec<_> = seen.iter().map(|seen| seen.span.name.as_str()).collect();
    assert_eq!(names, ["span 1", "span 2"]);
    assert_eq!(seen[1].attribute("number").as_deref(), Some("2"));
    assert_eq!(seen[0].resource.get("service.name").map(String::as_str), Some("berth"));
    assert_eq!(seen[0].headers.get("x-tenant").map(String::as_str), Some("berth"));
}

#[tokio::test]
async fn a_collector_is_told_by_grpc() {
    let collector = Collector::grpc().unwrap();
    let settings = settings("http", &collector, Protocol::Grpc);
    are_taken(collector, settings).await;
}

#[tokio::test]
async fn a_collector_is_told_by_http() {
    let collector = Collector::http().unwrap();
    let settings = settings("http", &collector, Protocol::Http);
    are_taken(collector, settings).await;
}

/// A server that says that it is `localhost`, and a file of who says so.
fn authority(dir: &std::path::Path) -> (rustls::ServerConfig, PathBuf) {
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], private)
        .unwrap();
    server.alpn_protocols = vec![b"h2".to_vec()];
    let file = dir.join("ca.pem");
    std::fs::write(&file, cert.pem()).unwrap();
    (server, file)
}

#[tokio::test]
async fn a_collector_is_told_over_tls_if_its_authority_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let (server, file) = authority(dir.path());
    let collector = Collector::tls(server).unwrap();
    let stranger = settings("https", &collector, Protocol::Grpc);
    let (exporter, task) = Exporter::start(&stranger).unwrap();
    exporter.ended(span(1));
    exporter.end();
    task.await.unwrap();
    assert_eq!(exporter.counts(), Counts { refused: 1, ..Counts::default() });
    assert_eq!(collector.seen().len(), 0);
    let known = Settings { authorities: Some(file), ..stranger };
    are_taken(collector, known).await;
}

#[test]
fn authorities_that_are_none_are_refused_by_their_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let settings = Settings {
        endpoint: "https://localhost:4317/x".parse().unwrap(),
        protocol: Protocol::Grpc,
        authorities: Some(path.clone()),
        headers: Vec::new(),
        resource: Vec::new(),
    };
    let refused = |settings: &Settings| match Exporter::start(settings) {
        Ok(_) => panic!("it was begun"),
        Err(error) => chain(&error),
    };
    assert!(refused(&settings).contains(&format!("{}: No such file", path.display())));
    std::fs::write(&path, "no certificate").unwrap();
    assert!(refused(&settings).starts_with(&format!("{} has no certificate", path.display())));
    let headers = vec![("a b".to_owned(), String::new())];
    let plain = Settings { endpoint: "http://localhost/x".parse().unwrap(), headers, ..settings };
    assert_eq!(refused(&plain), "the header \"a b\" for the collector cannot be sent");
}

#[tokio::test]
async fn a_collector_that_hangs_costs_spans_and_no_time() {
    let collector = Collector::grpc().unwrap();
    collector.answers(Answer::Hangs);
    let (exporter, task) = Exporter::start(&settings("http", &collector, Protocol::Grpc)).unwrap();
    let more = 500;
    // The task that sends them is one of this thread, and does not run meanwhile.
    for number in 1..=QUEUE + more {
        exporter.ended(span(number as u64));
    }
    assert_eq!(exporter.counts(), Counts { overflowed: more as u64, ..Counts::default() });
    let began = Instant::now();
    exporter.end();
    task.await.unwrap();
    assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
    let lost = Counts { sent: 0, overflowed: more as u64, refused: QUEUE as u64 };
    assert_eq!(exporter.counts(), lost);
}

#[tokio::test]
async fn an_answer_of_something_else_is_told_as_such() {
    // A collector of HTTP is asked by gRPC, and the reverse.
    for (collector, protocol) in
        [(Collector::http().unwrap(), Protocol::Grpc), (Collector::grpc().unwrap(), Protocol::Http)]
    {
        let client = Client::new(&settings("http", &collector, protocol)).unwrap();
        let sent = client.send(&messages::request(&[], vec![span(1)])).await;
        assert!(sent.is_err(), "{sent:?}");
    }
}
