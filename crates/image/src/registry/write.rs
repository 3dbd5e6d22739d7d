//! Requests that change a registry: uploads, which have a body and no other way than the registry itself.

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};

use super::resolve::Source;
use super::send::{self, AGENT, REQUEST};
use super::transport::Body;
use super::{HostError, auth, redirect};
use crate::hosts::Host;

/// The bytes of a file that are read at a time.
const CHUNK: usize = 256 << 10;
/// How long a registry may take over a blob after its last byte: it sums it, and may move it to where it keeps it.
const KEEP_LIMIT: Duration = Duration::from_mins(10);
/// Answers to challenges for one request: a token that was kept may have ended, or be for reading alone.
const MAX_ROUNDS: usize = 3;

/// What a request carries.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    /// Nothing.
    Empty,
    /// A document.
    Bytes(Bytes),
    /// A file of this many bytes; what was sent of it is counted.
    File(Arc<std::fs::File>, u64, Arc<AtomicU64>),
}

impl Payload {
    fn length(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, length, _) => *length,
        }
    }

    fn body(&self) -> Body {
        match self {
            Self::Empty => Full::default().map_err(|never| match never {}).boxed_unsync(),
            Self::Bytes(bytes) => Full::from(bytes.clone()).map_err(|never| match never {}).boxed_unsync(),
            Self::File(file, length, sent) => of_file(file.clone(), *length, sent.clone()),
        }
    }
}

/// The file from its beginning on.
fn of_file(file: Arc<std::fs::File>, length: u64, sent: Arc<AtomicU64>) -> Body {
    sent.store(0, Ordering::Relaxed);
    let pieces = stream::try_unfold(0u64, move |at| {
        let (file, sent) = (file.clone(), sent.clone());
        async move {
            if at >= length {
                return Ok(None);
            }
            let most = usize::try_from(length - at).unwrap_or(CHUNK).min(CHUNK);
            let read = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; most];
                file.read_exact_at(&mut piece, at).map(|()| piece)
            });
            let piece = read.await.map_err(std::io::Error::other)??;
            let next = at + piece.len() as u64;
            sent.store(next, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Some((Frame::data(Bytes::from(piece)), next)))
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// What is asked.
pub(crate) struct Write<'a> {
    pub(crate) method: Method,
    pub(crate) uri: &'a Uri,
    pub(crate) content_type: Option<&'a str>,
    pub(crate) payload: &'a Payload,
}

/// The URL of something of the repository.
pub(crate) fn url(source: &Source, host: &Host, path: &str) -> Result<Uri, HostError> {
    let text = format!("{}/{}/{path}", send::base(host), source.reference().path());
    text.parse().map_err(|_| HostError::Malformed { what: "URL", problem: text })
}

/// Where the answer's `Location` leads, seen from the URL that was asked.
pub(crate) fn location(host: &Host, from: &Uri, headers: &HeaderMap) -> Result<Uri, HostError> {
    let to = headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let wrong = || HostError::Malformed { what: "Location", problem: send::shown(to) };
    if to.is_empty() {
        return Err(wrong());
    }
    let next: Uri =
        redirect::resolve(&from.to_string(), to).ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
    // What was reached by TLS is not written to without it; a loopback registry may speak either.
    match (from.scheme_str(), next.scheme_str()) {
        (_, Some("https")) | (Some("http"), Some("http")) => Ok(next),
        (_, Some("http")) if send::is_own(host, &next) => Ok(next),
        _ => Err(wrong()),
    }
}

/// Asks, answering challenges; gives whatever answer is none.
pub(crate) async fn write(
    source: &Source,
    host: &Host,
    ask: &Write<'_>,
) -> Result<Response<Incoming>, HostError> {
    let registry = source.registry();
    let key = auth::TokenKey { writes: true, ..source.token_key(host).await? };
    // Another host, as one that stores blobs, has its own secrets in the URL.
    let own = send::is_own(host, ask.uri);
    let mut authorization = if own {
        auth::ready_made(&key.credentials).or_else(|| registry.inner.tokens.get(&key))
    } else {
        None
    };
    for _ in 0..MAX_ROUNDS {
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(ask.uri.clone())
            .header(USER_AGENT, AGENT)
            .header(CONTENT_LENGTH, ask.payload.length());
        if let Some(content_type) = ask.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if own {
            for (name, value) in &host.headers {
                request = request.header(name, value);
            }
        }
        if let Some(authorization) = &authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request
            .body(ask.payload.body())
            .map_err(|e| HostError::Malformed { what: "request", problem: e.to_string() })?;
        let response = exchange(source, host, request, ask.payload).await?;
        if response.status() != StatusCode::UNAUTHORIZED || !own {
            return Ok(response);
        }
        registry.inner.tokens.forget(&key);
        match auth::answer(registry, host, &key, response.headers()).await? {
            Some(header) if authorization.as_ref() != Some(&header) => authorization = Some(header),
            _ => {
                return Err(send::refusal(
                    response,
                    &registry.inner.config.timeouts,
                    is_shown(source, host).await,
                )
                .await);
            }
        }
    }
    Err(HostError::Denied { status: 401, detail: String::new(), shown: true })
}

/// Whether there are credentials for the host.
async fn is_shown(source: &Source, host: &Host) -> bool {
    let key = source.token_key(host).await;
    key.is_ok_and(|key| key.credentials != crate::credentials::Credentials::Anonymous)
}

/// An answer that is no success, as an error.
pub(crate) async fn refusal(source: &Source, host: &Host, response: Response<Incoming>) -> HostError {
    let shown = is_shown(source, host).await;
    send::refusal(response, &source.registry().inner.config.timeouts, shown).await
}

/// Sends, and waits for the head of the answer for as long as bytes go out.
async fn exchange(
    source: &Source,
    host: &Host,
    mut request: Request<Body>,
    payload: &Payload,
) -> Result<Response<Incoming>, HostError> {
    let registry = source.registry();
    let timeouts = &registry.inner.config.timeouts;
    let client = send::client(registry, host, request.uri())?;
    if let Some(header) = registry.inner.transport.proxy_authorization(request.uri()) {
        request.headers_mut().insert(PROXY_AUTHORIZATION, header);
    }
    let mut answer = std::pin::pin!(client.request(request));
    let (mut before, mut since) = (None, Instant::now());
    loop {
        match tokio::time::timeout(timeouts.answer, &mut answer).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(e)) if e.is_connect() => return Err(HostError::Connect { source: e.into() }),
            Ok(Err(e)) => return Err(HostError::Transport { step: REQUEST, source: e.into() }),
            Err(_) => {
                let now = match payload {
                    Payload::File(_, _, sent) => Some(sent.load(Ordering::Relaxed)),
                    Payload::Empty | Payload::Bytes(_) => None,
                };
                if now != before {
                    (before, since) = (now, Instant::now());
                    continue;
                }
                let is_kept = now == Some(payload.length()) && since.elapsed() < KEEP_LIMIT;
                if !is_kept {
                    return Err(HostError::Timeout { step: REQUEST, limit: timeouts.answer });
                }
            }
        }
    }
}
