//! Connections and requests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::auth::{Auth, Gate, Verdict};
use super::body::{Body, End, Plan, Source, full};
use super::fault::{Fault, FaultAction};
use super::lock;
use super::store::Store;
use crate::image::Content;

/// A request that was answered, for assertions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, `POST`.
    pub method: String,
    /// The path.
    pub path: String,
    /// What follows the question mark, or nothing.
    pub query: String,
    /// The Range header.
    pub range: Option<String>,
    /// The Authorization header.
    pub authorization: Option<String>,
    /// The Accept headers, joined.
    pub accept: String,
    /// The answer's status; 0 when none was given on purpose.
    pub status: u16,
}

/// What the connections share with the handle.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Mutex<Store>,
    pub(super) faults: Mutex<Vec<Fault>>,
    pub(super) requests: Mutex<Vec<Request>>,
    pub(super) auth: Gate,
    base: String,
}

impl Shared {
    pub(super) fn new(address: SocketAddr, tls: bool, auth: Auth) -> Self {
        Self {
            store: Mutex::default(),
            faults: Mutex::default(),
            requests: Mutex::default(),
            auth: Gate::new(auth),
            base: format!("{}://{address}", if tls { "https" } else { "http" }),
        }
    }
}

/// Takes connections until the runtime ends.
pub(super) async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            // A client that hangs up or distrusts the certificate is no fault of the registry.
            drop(connection(stream, tls, shared).await);
        });
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let socket = Arc::new(rustix::io::dup(&stream)?);
    let service = service_fn(move |request| {
        let (shared, socket) = (Arc::clone(&shared), Arc::clone(&socket));
        async move { Ok::<_, std::convert::Infallible>(answer(request, &shared, &socket).await) }
    });
    let http = hyper::server::conn::http1::Builder::new();
    match tls {
        Some(tls) => http.serve_connection(TokioIo::new(tls.accept(stream).await?), service).await?,
        None => http.serve_connection(TokioIo::new(stream), service).await?,
    }
    Ok(())
}

/// A request with its strings taken out.
struct Asked {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Bytes,
}

async fn answer(
    request: hyper::Request<Incoming>,
    shared: &Shared,
    socket: &std::os::fd::OwnedFd,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, 1 << 20).collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let asked = Asked {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body,
    };
    let index = record(&asked, shared);
    let action = lock(&shared.faults).iter_mut().find_map(|fault| fault.strike(&asked.path));
    if action == Some(FaultAction::Silence) {
        return std::future::pending().await;
    }
    if let Some(FaultAction::ResetAfter(_)) = action {
        // The kernel then sends a reset instead of a proper end when the connection is dropped.
        // Where that is refused, the connection still breaks before the body is complete.
        rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO)).ok();
    }
    let response = respond(&asked, shared, action.as_ref());
    if let Some(entry) = lock(&shared.requests).get_mut(index) {
        entry.status = response.status().as_u16();
    }
    response
}

fn record(asked: &Asked, shared: &Shared) -> usize {
    let mut requests = lock(&shared.requests);
    requests.push(Request {
        method: asked.method.to_string(),
        path: asked.path.clone(),
        query: asked.query.clone(),
        range: text(&asked.headers, header::RANGE),
        authorization: text(&asked.headers, header::AUTHORIZATION),
        accept: asked
            .headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .collect::<Vec<_>>()
            .join(", "),
        status: 0,
    });
    requests.len() - 1
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn respond(asked: &Asked, shared: &Shared, action: Option<&FaultAction>) -> Response<Body> {
    match action {
        Some(FaultAction::Status(status, wait)) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = error(status, "UNAVAILABLE", "on cue");
            if let Some(seconds) = wait {
                response.headers_mut().insert(header::RETRY_AFTER, (*seconds).into());
            }
            return response;
        }
        Some(FaultAction::Redirect(to)) => {
            let query = if asked.query.is_empty() { String::new() } else { format!("?{}", asked.query) };
            let location = format!("{to}{}{query}", asked.path);
            return Response::builder()
                .status(StatusCode::TEMPORARY_REDIRECT)
                .header(header::LOCATION, location)
                .body(full(""))
                .expect("a URL is a header value");
        }
        _ => {}
    }
    if asked.path == "/token" {
        return token(asked, shared);
    }
    if !matches!(asked.method, Method::GET | Method::HEAD) {
        return error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "this registry is filled by its test");
    }
    let Some(rest) = asked.path.strip_prefix("/v2/") else {
        return error(StatusCode::NOT_FOUND, "NOT_FOUND", "no such path");
    };
    let parsed = Target::parse(rest);
    let repository = parsed.as_ref().map_or("", |(repository, _)| repository);
    let authorization = text(&asked.headers, header::AUTHORIZATION);
    if let Verdict::Challenge(challenge) =
        shared.auth.judge(authorization.as_deref(), repository, &shared.base)
    {
        let mut response = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
        let challenge = challenge.parse().expect("a challenge is a header value");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        return response;
    }
    match parsed {
        None if rest.is_empty() => Response::new(full("{}")),
        None => error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "no such path"),
        Some((repository, Target::Manifest(selector))) => {
            manifest(asked, shared, repository, selector, action)
        }
        Some((repository, Target::Blob(digest))) => blob(asked, shared, repository, digest, action),
        Some((repository, Target::Tags)) => match lock(&shared.store).tags(repository) {
            Some(tags) => Response::new(full(json!({ "name": repository, "tags": tags }).to_string())),
            None => error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "repository name not known to registry"),
        },
    }
}

/// What a path below `/v2/` names in a repository.
enum Target<'a> {
    Manifest(&'a str),
    Blob(&'a str),
    Tags,
}

impl<'a> Target<'a> {
    fn parse(rest: &'a str) -> Option<(&'a str, Self)> {
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return Some((repository, Self::Tags));
        }
        let (head, last) = rest.rsplit_once('/')?;
        if let Some(repository) = head.strip_suffix("/manifests") {
            return Some((repository, Self::Manifest(last)));
        }
        head.strip_suffix("/blobs").map(|repository| (repository, Self::Blob(last)))
    }
}

fn token(asked: &Asked, shared: &Shared) -> Response<Body> {
    let mut parameters = form(asked.query.as_bytes());
    parameters.extend(form(&asked.body));
    let authorization = text(&asked.headers, header::AUTHORIZATION);
    match shared.auth.grant(authorization.as_deref(), &parameters) {
        Some(answer) => Response::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .body(full(answer))
            .expect("a constant is a header value"),
        None => error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "wrong name or password"),
    }
}

/// `application/x-www-form-urlencoded`.
fn form(bytes: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(bytes);
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (unescape(key), unescape(value))).collect()
}

fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                let hex = std::str::from_utf8(&digits).unwrap_or_default();
                out.push(u8::from_str_radix(hex, 16).unwrap_or(b'?'));
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn manifest(
    asked: &Asked,
    shared: &Shared,
    repository: &str,
    selector: &str,
    action: Option<&FaultAction>,
) -> Response<Body> {
    let Some(found) = lock(&shared.store).manifest(repository, selector) else {
        return error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown");
    };
    let digest = match action {
        Some(FaultAction::WrongDigestHeader) => crate::image::digest_of(b"another"),
        _ => found.digest,
    };
    let builder = Response::builder()
        .header(header::CONTENT_TYPE, &found.media_type)
        .header("Docker-Content-Digest", digest.as_str());
    deliver(asked, Source::Memory(found.bytes), builder, action)
}

fn blob(
    asked: &Asked,
    shared: &Shared,
    repository: &str,
    digest: &str,
    action: Option<&FaultAction>,
) -> Response<Body> {
    let Some(content) = lock(&shared.store).blob(repository, digest) else {
        return error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry");
    };
    match Source::open(content) {
        Ok(source) => {
            let builder = Response::builder()
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::ACCEPT_RANGES, "bytes")
                .header("Docker-Content-Digest", digest);
            deliver(asked, source, builder, action)
        }
        Err(e) => error(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", &e.to_string()),
    }
}

/// Sends the content, or the range of it that was asked for, changed as the fault says.
fn deliver(
    asked: &Asked,
    source: Source,
    mut builder: http::response::Builder,
    action: Option<&FaultAction>,
) -> Response<Body> {
    let length = source.len();
    let source = match action {
        Some(FaultAction::TooLong(more)) => match longer(&source, *more) {
            Ok(source) => source,
            Err(e) => return error(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", &e.to_string()),
        },
        _ => source,
    };
    let (mut from, mut to) = (0, source.len());
    let range = text(&asked.headers, header::RANGE).filter(|_| action != Some(&FaultAction::IgnoreRange));
    if let Some(range) = range {
        let Some((first, last)) = parse_range(&range, length) else {
            let mut response = error(StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID", "no such range");
            let value = format!("bytes */{length}").parse().expect("digits are a header value");
            response.headers_mut().insert(header::CONTENT_RANGE, value);
            return response;
        };
        (from, to) = (first, last + 1);
        builder = builder.status(StatusCode::PARTIAL_CONTENT);
        if action == Some(&FaultAction::WrongRange) && from > 0 {
            (from, to) = (from - 1, to - 1);
        }
        builder = builder.header(header::CONTENT_RANGE, format!("bytes {from}-{}/{length}", to - 1));
    }
    if action.is_none_or(|m| !matches!(m, FaultAction::TruncateAfter(_))) {
        builder = builder.header(header::CONTENT_LENGTH, to - from);
    }
    if asked.method == Method::HEAD {
        return builder.body(full("")).expect("the headers are well formed");
    }
    let mut plan = Plan::plain(source, from, to);
    match action {
        Some(FaultAction::StallAfter(n)) => (plan.to, plan.end) = (to.min(from + n), End::Stall),
        Some(FaultAction::ResetAfter(n)) => (plan.to, plan.end) = (to.min(from + n), End::Break),
        Some(FaultAction::TruncateAfter(n)) => plan.to = to.min(from + n),
        Some(FaultAction::WrongBytes) => plan.invert = true,
        Some(FaultAction::Slow(pause)) => plan.pause = Some(*pause),
        _ => {}
    }
    builder.body(plan.body()).expect("the headers are well formed")
}

fn longer(source: &Source, more: u64) -> std::io::Result<Source> {
    let mut bytes = source.read(0, source.len())?.to_vec();
    bytes.resize(bytes.len() + usize::try_from(more).map_err(std::io::Error::other)?, 0);
    Source::open(Content::Memory(bytes.into()))
}

/// `bytes=A-B`, `bytes=A-` or `bytes=-N`: first and last byte. One range only.
fn parse_range(text: &str, length: u64) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let end = length.checked_sub(1)?;
    let (first, last) = match (first, last) {
        ("", count) => (length.saturating_sub(count.parse().ok()?), end),
        (first, "") => (first.parse().ok()?, end),
        (first, last) => (first.parse().ok()?, end.min(last.parse().ok()?)),
    };
    (first <= last).then_some((first, last))
}

/// An error in the form of the distribution specification.
fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = json!({ "errors": [{ "code": code, "message": message }] }).to_string();
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(full(body))
        .expect("constants are header values")
}
