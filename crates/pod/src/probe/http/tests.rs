use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use rcgen::generate_simple_self_signed;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::probe::state::Outcome::{self, *};

const LOCAL: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

/// Gives its answers one after another, the last one again and again, and keeps what it was asked.
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

async fn serve(answers: &[&str], tls: bool) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers: Vec<String> = answers.iter().map(|a| a.replace("PORT", &port.to_string())).collect();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (kept, acceptor) = (asked.clone(), tls.then(acceptor));
    let mut task = JoinSet::new();
    task.spawn(async move {
        for count in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = answers.get(count).or(answers.last()).unwrap();
            match &acceptor {
                None => talk(stream, answer, &kept).await,
                Some(acceptor) => talk(acceptor.accept(stream).await.unwrap(), answer, &kept).await,
            }
        }
    });
    Server { port, asked, _task: task }
}

fn acceptor() -> TlsAcceptor {
    let made = generate_simple_self_signed(vec!["elsewhere.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str, kept: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    kept.lock().unwrap().push(String::from_utf8(head).unwrap());
    let (text, open) = answer.strip_suffix("...").map_or((answer, false), |text| (text, true));
    stream.write_all(text.as_bytes()).await.unwrap();
    if open {
        // Until the client goes.
        stream.read_u8().await.ok();
    }
    stream.shutdown().await.ok();
}

fn get(port: u16) -> HttpGet {
    HttpGet { tls: false, host: None, port, path: "/h?a=b".into(), headers: Vec::new() }
}

fn status(code: u16) -> String {
    format!("HTTP/1.1 {code} X\r\nContent-Length: 2\r\n\r\nok")
}

fn to(code: u16, location: &str) -> String {
    format!("HTTP/1.1 {code} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

async fn outcome(answers: &[&str]) -> (Outcome, Vec<String>) {
    let server = serve(answers, false).await;
    let answer = ask(LOCAL, &get(server.port), Duration::from_secs(10)).await;
    let asked = server.asked.lock().unwrap().clone();
    (answer.outcome, asked)
}

#[tokio::test]
async fn the_status_decides() {
    for (code, expected) in [
        (200, Success),
        (204, Success),
        (304, Success),
        (399, Success),
        (400, Failure),
        (404, Failure),
        (503, Failure),
    ] {
        let (outcome, asked) = outcome(&[&status(code)]).await;
        assert_eq!((outcome, asked.len()), (expected, 1), "{code}");
    }
    assert_eq!(outcome(&["no http at all\r\n\r\n"]).await.0, Failure);
    assert_eq!(outcome(&[""]).await.0, Failure);
}

#[tokio::test]
async fn a_request_is_a_kubelets() {
    let server = serve(&[&status(200)], false).await;
    let mut get = get(server.port);
    ask(LOCAL, &get, Duration::from_secs(10)).await;
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    get.headers =
        vec![pair("host", "a.example"), pair("X-A", "1"), pair("X-A", "2"), pair("User-Agent", "mine")];
    get.headers.push(pair("Accept", ""));
    ask(LOCAL, &get, Duration::from_secs(10)).await;
    let asked: Vec<_> = server.asked.lock().unwrap().iter().map(|head| head.to_lowercase()).collect();
    assert!(asked[0].starts_with("get /h?a=b http/1.1\r\n"), "{asked:?}");
    for line in
        [&format!("host: 127.0.0.1:{}\r\n", server.port), "user-agent: kube-probe/1.37", "accept: */*\r\n"]
    {
        assert!(asked[0].contains(line), "{line} in {asked:?}");
    }
    for line in
        ["host: a.example\r\n", "x-a: 1\r\n", "x-a: 2\r\n", "user-agent: mine\r\n", "connection: close\r\n"]
    {
        assert!(asked[1].contains(line), "{line} in {asked:?}");
    }
    assert!(!asked[1].contains("accept:") && !asked[1].contains("127.0.0.1"), "{asked:?}");
}

#[tokio::test]
async fn redirects_are_followed_on_the_same_host_alone() {
    let fine = status(200);
    for (location, path) in [("/next", "/next"), ("http://127.0.0.1:PORT/x", "/x"), ("y?z", "/y?z")] {
        let (outcome, asked) = outcome(&[&to(302, location), &fine]).await;
        assert_eq!(outcome, Success, "{location}");
        assert!(asked[1].starts_with(&format!("GET {path} ")), "{asked:?}");
    }
    let (outcome_of, asked) = outcome(&[&to(307, "http://elsewhere.example/"), &status(500)]).await;
    assert_eq!((outcome_of, asked.len()), (Success, 1));
    assert_eq!(outcome(&[&to(301, "/next"), &status(500)]).await.0, Failure);
    assert_eq!(outcome(&[&to(301, "ftp://127.0.0.1/")]).await.0, Failure);
    let (outcome, asked) = outcome(&[&to(302, "/again")]).await;
    assert_eq!((outcome, asked.len()), (Failure, MAX_REQUESTS));
}

#[tokio::test]
async fn an_answer_is_read_as_far_as_a_kubelet_reads_it() {
    let long = format!("HTTP/1.1 200 X\r\nContent-Length: 99999\r\n\r\n{}...", "x".repeat(MAX_BODY + 1));
    assert_eq!(outcome(&[&long]).await.0, Success);
    // One that breaks off is no result.
    assert_eq!(outcome(&["HTTP/1.1 200 X\r\nContent-Length: 99\r\n\r\nx"]).await.0, Unknown);
}

#[tokio::test]
async fn no_answer_in_time_is_a_failure() {
    let server = serve(&["..."], false).await;
    let answer = ask(LOCAL, &get(server.port), Duration::from_millis(50)).await;
    assert_eq!(answer.outcome, Failure, "{answer:?}");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let answer = ask(LOCAL, &get(nobody), Duration::from_secs(10)).await;
    assert_eq!(answer.outcome, Failure, "{answer:?}");
    assert_eq!(ask(None, &get(1), Duration::from_secs(10)).await.outcome, Unknown);
}

#[tokio::test]
async fn tls_takes_any_certificate() {
    let server = serve(&[&status(200)], true).await;
    let get = HttpGet { tls: true, ..get(server.port) };
    let answer = ask(LOCAL, &get, Duration::from_secs(10)).await;
    assert_eq!(answer.outcome, Success, "{answer:?}");
}

#[tokio::test]
async fn a_hook_takes_any_answer_and_a_server_without_tls() {
    let server = serve(&[&status(500)], false).await;
    call(LOCAL, &get(server.port)).await.unwrap();
    assert!(server.asked.lock().unwrap()[0].to_lowercase().contains("user-agent: kube-lifecycle/"));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    call(LOCAL, &get(nobody)).await.unwrap_err();
}

#[tokio::test]
async fn a_hook_with_tls_is_run_without_where_the_server_has_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let get = HttpGet { tls: true, ..get(listener.local_addr().unwrap().port()) };
    let get = HttpGet { headers: vec![pair("Authorization", "secret"), pair("X-A", "1")], ..get };
    let asked = tokio::spawn(async move {
        let (mut greeting, _) = listener.accept().await.unwrap();
        greeting.read_u8().await.unwrap();
        greeting.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let kept = Mutex::default();
        talk(stream, "HTTP/1.1 200 X\r\n\r\n", &kept).await;
        kept.into_inner().unwrap().remove(0)
    });
    call(LOCAL, &get).await.unwrap();
    let head = asked.await.unwrap().to_lowercase();
    assert!(head.contains("x-a: 1") && !head.contains("authorization"), "{head}");
}
