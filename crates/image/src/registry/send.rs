//! One request to one host: its headers and certificates, authentication, redirects, and what the
//! answer means.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, LOCATION, RANGE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::auth;
use super::resolve::Source;
use super::transport::HttpClient;
use super::{HostError, Timeouts};
use crate::hosts::{Host, Role, Scheme, is_loopback};

/// How Berth introduces itself.
pub(super) const AGENT: &str = concat!("berth/", env!("CARGO_PKG_VERSION"));
/// The step of waiting for the head of an answer.
pub(super) const REQUEST: &str = "request";
/// The most redirects followed.
const MAX_REDIRECTS: usize = 10;
/// What is read of an error's body, bytes.
const MAX_DETAIL: u64 = 8 << 10;
/// What is shown of it, characters.
const MAX_SHOWN: usize = 300;

/// What is asked of a host.
#[derive(Debug, Clone)]
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    /// Below the repository: `manifests/latest`, `blobs/sha256:...`.
    pub(crate) path: String,
    pub(crate) accept: Option<&'a str>,
    /// First byte and, if not to the end, the last.
    pub(crate) range: Option<(u64, Option<u64>)>,
    pub(crate) trust: Trust,
}

/// What vouches for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The digest asked for: the way it comes does not matter.
    Digest,
    /// Only the connection: TLS must not be left on the way.
    Connection,
}

/// Asks; gives the answer when it is a success.
pub(crate) async fn send(
    source: &Source,
    host: &Host,
    ask: &Ask<'_>,
) -> Result<Response<Incoming>, HostError> {
    let inner = &source.registry.inner;
    let timeouts = &inner.config.timeouts;
    let client = inner.transport.client(host)?;
    let key = source.token_key(host).await?;
    let mut authorization = auth::ready_made(&key.credentials).or_else(|| inner.tokens.get(&key));
    // At most two answers to a challenge: a token that was kept may have ended early.
    let mut rounds = if authorization.is_some() { 2 } else { 1 };
    loop {
        let response = follow(source, host, &client, ask, authorization.as_ref()).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let refused = status == StatusCode::UNAUTHORIZED;
        if refused && rounds > 0 {
            rounds -= 1;
            inner.tokens.forget(&key);
            let answer = auth::answer(&inner.tokens, &client, timeouts, &key, response.headers()).await?;
            if let Some(header) = answer
                && authorization.as_ref() != Some(&header)
            {
                authorization = Some(header);
                continue;
            }
        }
        let shown = key.credentials != crate::credentials::Credentials::Anonymous;
        return Err(refusal(response, timeouts, shown).await);
    }
}

/// Sends the request and follows redirects. Credentials and configured headers stay with the host
/// that they are for.
async fn follow(
    source: &Source,
    host: &Host,
    client: &HttpClient,
    ask: &Ask<'_>,
    authorization: Option<&HeaderValue>,
) -> Result<Response<Incoming>, HostError> {
    let inner = &source.registry.inner;
    let mut uri = uri(source, host, ask)?;
    let mut client = client.clone();
    for _ in 0..=MAX_REDIRECTS {
        let own = is_own(host, &uri);
        let request = request(host, ask, &uri, authorization.filter(|_| own), own)?;
        let response = exchange(&client, request, &inner.config.timeouts).await?;
        if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        let next = redirect(&uri, response.headers(), ask.trust)?;
        // A host that was not reached by TLS has no say in how another's certificate is checked.
        if host.scheme != Scheme::Https && next.scheme_str() == Some("https") && !is_own(host, &next) {
            client = inner.transport.client(&Host::of(authority(&next)))?;
        }
        uri = next;
    }
    Err(HostError::Redirects(MAX_REDIRECTS))
}

fn authority(uri: &Uri) -> &str {
    uri.authority().map(|a| a.as_str()).unwrap_or_default()
}

/// Whether a URL is on the host itself, by as good a connection.
fn is_own(host: &Host, uri: &Uri) -> bool {
    let scheme = match host.scheme {
        Scheme::Http => true,
        Scheme::Https => uri.scheme_str() == Some("https"),
        Scheme::HttpsOrHttp => true,
    };
    scheme && authority(uri).eq_ignore_ascii_case(&host.authority)
}

fn uri(source: &Source, host: &Host, ask: &Ask<'_>) -> Result<Uri, HostError> {
    let scheme = match host.scheme {
        Scheme::Http => "http",
        Scheme::Https | Scheme::HttpsOrHttp => "https",
    };
    let reference = &source.reference;
    let mut text = format!("{scheme}://{}{}/{}/{}", host.authority, host.path, reference.path(), ask.path);
    if host.role == Role::Mirror {
        text.push_str("?ns=");
        text.push_str(&percent(reference.host()));
    }
    text.parse().map_err(|_| HostError::Malformed { what: "URL", problem: format!("{text:?}") })
}

fn request(
    host: &Host,
    ask: &Ask<'_>,
    uri: &Uri,
    authorization: Option<&HeaderValue>,
    own: bool,
) -> Result<Request<Full<Bytes>>, HostError> {
    let mut request = Request::builder().method(ask.method.clone()).uri(uri.clone());
    request = request.header(USER_AGENT, AGENT);
    if let Some(accept) = ask.accept {
        request = request.header(ACCEPT, accept);
    }
    if let Some((first, last)) = ask.range {
        let last = last.map(|last| last.to_string()).unwrap_or_default();
        request = request.header(RANGE, format!("bytes={first}-{last}"));
    }
    if own {
        for (name, value) in &host.headers {
            request = request.header(name, value);
        }
    }
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    request
        .body(Full::default())
        .map_err(|e| HostError::Malformed { what: "request", problem: e.to_string() })
}

/// Where a redirect leads, if it is to be followed.
fn redirect(from: &Uri, headers: &HeaderMap, trust: Trust) -> Result<Uri, HostError> {
    let to = headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let refused = |reason| HostError::Redirect { to: shown(to), reason };
    if to.is_empty() {
        return Err(refused("there is no Location"));
    }
    let base = format!("{}://{}", from.scheme_str().unwrap_or("https"), authority(from));
    let absolute = match to {
        to if to.starts_with("//") => format!("{}:{to}", from.scheme_str().unwrap_or("https")),
        to if to.starts_with('/') => format!("{base}{to}"),
        to if to.contains("://") => to.to_owned(),
        // Relative to the last slash of the path.
        to => format!("{base}{}/{to}", from.path().rsplit_once('/').map_or("", |(parent, _)| parent)),
    };
    let next: Uri = absolute.parse().map_err(|_| refused("it is not a URL"))?;
    let host = authority(&next);
    if host.is_empty() || host.contains('@') {
        return Err(refused("it is not the URL of a host"));
    }
    match next.scheme_str() {
        Some("https") => Ok(next),
        Some("http") if from.scheme_str() == Some("http") || is_loopback(host) => Ok(next),
        Some("http") if trust == Trust::Digest => Ok(next),
        Some("http") => Err(refused("it leaves TLS, and no digest vouches for the answer")),
        _ => Err(refused("it is neither http nor https")),
    }
}

/// Sends, and waits a bounded time for the head of the answer.
pub(super) async fn exchange(
    client: &HttpClient,
    request: Request<Full<Bytes>>,
    timeouts: &Timeouts,
) -> Result<Response<Incoming>, HostError> {
    match tokio::time::timeout(timeouts.answer, client.request(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(e)) if e.is_connect() => Err(HostError::Connect { source: e.into() }),
        Ok(Err(e)) => Err(HostError::Transport { step: REQUEST, source: e.into() }),
        Err(_) => Err(HostError::Timeout { step: REQUEST, limit: timeouts.answer }),
    }
}

/// Reads a small body whole, within bounds.
pub(super) async fn body(
    body: Incoming,
    what: &'static str,
    limit: u64,
    timeouts: &Timeouts,
) -> Result<Bytes, HostError> {
    let bound = usize::try_from(limit).unwrap_or(usize::MAX);
    match tokio::time::timeout(timeouts.answer, Limited::new(body, bound).collect()).await {
        Ok(Ok(all)) => Ok(all.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(HostError::TooLarge { what, limit }),
        Ok(Err(source)) => Err(HostError::Transport { step: "read answer", source }),
        Err(_) => Err(HostError::Timeout { step: "read answer", limit: timeouts.answer }),
    }
}

/// What an answer that is no success means.
async fn refusal(response: Response<Incoming>, timeouts: &Timeouts, shown: bool) -> HostError {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers());
    let detail = match body(response.into_body(), "error", MAX_DETAIL, timeouts).await {
        Ok(body) => detail(&body),
        Err(_) => String::new(),
    };
    match status {
        404 => HostError::NotFound { detail },
        401 | 403 => HostError::Denied { status, detail, shown },
        _ => HostError::Status { status, detail, retry_after },
    }
}

/// Seconds only: a date would need trust in two clocks.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// The code and message of the specification's error body.
fn detail(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(serde::Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let first = serde_json::from_slice::<Errors>(body).ok().and_then(|e| e.errors.into_iter().next());
    first.map(|e| format!(" ({}: {})", shown(&e.code), shown(&e.message))).unwrap_or_default()
}

/// Foreign text, made fit for one line.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect()
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub(super) fn percent(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => write!(out, "%{byte:02X}").expect("writing to a String does not fail"),
        }
    }
    out
}
