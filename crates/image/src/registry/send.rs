//! One request to one host: its headers and certificates, authentication, redirects, and what the
//! answer means.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, LOCATION, PROXY_AUTHORIZATION, RANGE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

use super::auth::{self, TokenKey};
use super::resolve::Source;
use super::transport::HttpClient;
use super::{HostError, Registry, Timeouts, redirect};
use crate::credentials::Credentials;
use crate::hosts::{Host, Role, Scheme, is_loopback};

/// The user agent.
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

/// What the answer is verified by.
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
    let key = source.token_key(host).await?;
    let mut authorization = auth::ready_made(&key.credentials).or_else(|| inner.tokens.get(&key));
    // At most two answers to a challenge: a token that was kept may have ended early.
    let mut rounds = if authorization.is_some() { 2 } else { 1 };
    let shown = key.credentials != Credentials::Anonymous;
    loop {
        let Reply { response, own } = follow(source, host, ask, authorization.as_ref()).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        // A host that was redirected to must not get the registry's credentials.
        let answer = match status {
            StatusCode::UNAUTHORIZED if own && rounds > 0 => {
                rounds -= 1;
                inner.tokens.forget(&key);
                auth::answer(&source.registry, host, &key, response.headers()).await?
            }
            // Some registries serve a part of their content without credentials: then credentials are sent without a challenge.
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND if own && shown && authorization.is_none() => {
                probe(source, host, &key).await?
            }
            _ => None,
        };
        if let Some(header) = answer
            && authorization.as_ref() != Some(&header)
        {
            authorization = Some(header);
            continue;
        }
        return Err(refusal(response, &inner.config.timeouts, shown).await);
    }
}

/// Asks for the root of the API, which registries challenge also where they serve some of their content without credentials;
/// gives the header that answers the challenge.
async fn probe(source: &Source, host: &Host, key: &TokenKey) -> Result<Option<HeaderValue>, HostError> {
    let registry = &source.registry;
    let text = format!("{}/", base(host));
    let uri: Uri = text.parse().map_err(|_| HostError::Malformed { what: "URL", problem: text })?;
    let ask =
        Ask { method: Method::GET, path: String::new(), accept: None, range: None, trust: Trust::Connection };
    let response =
        exchange(registry, &client(registry, host, &uri)?, request(host, &ask, &uri, None, true)?).await?;
    match response.status() {
        StatusCode::UNAUTHORIZED => auth::answer(registry, host, key, response.headers()).await,
        _ => Ok(None),
    }
}

/// The URL of a host's API, without a slash at the end.
pub(super) fn base(host: &Host) -> String {
    let scheme = match host.scheme {
        Scheme::Http => "http",
        Scheme::Https | Scheme::HttpsOrHttp => "https",
    };
    format!("{scheme}://{}{}", host.authority, host.path)
}

/// The last of the answers that a request and its redirects got.
struct Reply {
    response: Response<Incoming>,
    /// Whether the host itself gave it.
    own: bool,
}

/// Sends the request and follows redirects. Credentials and configured headers stay with the host
/// that they are for.
async fn follow(
    source: &Source,
    host: &Host,
    ask: &Ask<'_>,
    authorization: Option<&HeaderValue>,
) -> Result<Reply, HostError> {
    let mut uri = uri(source, host, ask)?;
    for _ in 0..=MAX_REDIRECTS {
        let own = is_own(host, &uri);
        let response = if own {
            let client = client(&source.registry, host, &uri)?;
            exchange(&source.registry, &client, request(host, ask, &uri, authorization, own)?).await?
        } else {
            stranger(source, host, ask, &uri).await?
        };
        if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
            return Ok(Reply { response, own });
        }
        uri = redirect(&uri, response.headers(), ask.trust)?;
    }
    Err(HostError::Redirects(MAX_REDIRECTS))
}

/// Asks a host that `host` redirected to. A registry behind a custom domain may want a
/// token anyway; it gets an anonymous one.
async fn stranger(
    source: &Source,
    host: &Host,
    ask: &Ask<'_>,
    uri: &Uri,
) -> Result<Response<Incoming>, HostError> {
    let registry = &source.registry;
    let client = client(registry, host, uri)?;
    let key = TokenKey {
        authority: authority(uri).to_owned(),
        repository: source.reference.path().to_owned(),
        credentials: Credentials::Anonymous,
        writes: false,
    };
    let known = registry.inner.tokens.get(&key);
    let response = exchange(registry, &client, request(host, ask, uri, known.as_ref(), false)?).await?;
    if response.status() != StatusCode::UNAUTHORIZED {
        return Ok(response);
    }
    registry.inner.tokens.forget(&key);
    match auth::answer(registry, host, &key, response.headers()).await? {
        Some(token) => exchange(registry, &client, request(host, ask, uri, Some(&token), false)?).await,
        None => Ok(response),
    }
}

/// The client for a URL that `host` led to. A host that is not reached by TLS does not decide how another's
/// certificate is checked.
pub(super) fn client(registry: &Registry, host: &Host, uri: &Uri) -> Result<HttpClient, HostError> {
    let transport = &registry.inner.transport;
    match (host.scheme, uri.scheme_str(), is_own(host, uri)) {
        // It sent us from plain HTTP to TLS: that is checked as if it had been named so.
        (Scheme::Http, Some("https"), true) => {
            transport.client(&Host { scheme: Scheme::Https, ..host.clone() })
        }
        (Scheme::Http | Scheme::HttpsOrHttp, Some("https"), false) => {
            transport.client(&Host::of(authority(uri)))
        }
        _ => transport.client(host),
    }
}

fn authority(uri: &Uri) -> &str {
    uri.authority().map(|a| a.as_str()).unwrap_or_default()
}

/// Whether a URL is on the host itself, by as good a connection.
pub(super) fn is_own(host: &Host, uri: &Uri) -> bool {
    let https = uri.scheme_str() == Some("https");
    let default_port = if https { ":443" } else { ":80" };
    let bare =
        |authority: &str| authority.strip_suffix(default_port).unwrap_or(authority).to_ascii_lowercase();
    (https || host.scheme != Scheme::Https) && bare(authority(uri)) == bare(&host.authority)
}

fn uri(source: &Source, host: &Host, ask: &Ask<'_>) -> Result<Uri, HostError> {
    let reference = &source.reference;
    let mut text = format!("{}/{}/{}", base(host), reference.path(), ask.path);
    if host.role == Role::Mirror {
        text.push_str("?ns=");
        text.extend(percent(reference.host()));
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
pub(super) fn redirect(from: &Uri, headers: &HeaderMap, trust: Trust) -> Result<Uri, HostError> {
    let to = headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let refused = |reason| HostError::Redirect { to: shown(to), reason };
    if to.is_empty() {
        return Err(refused("there is no Location"));
    }
    let absolute = redirect::resolve(&from.to_string(), to).ok_or_else(|| refused("it is not a URL"))?;
    let next: Uri = absolute.parse().map_err(|_| refused("it is not a URL"))?;
    let host = authority(&next);
    if host.is_empty() || host.contains('@') {
        return Err(refused("it is not the URL of a host"));
    }
    match next.scheme_str() {
        Some("https") => Ok(next),
        Some("http") if from.scheme_str() == Some("http") || is_loopback(host) => Ok(next),
        Some("http") if trust == Trust::Digest => Ok(next),
        Some("http") => Err(refused("it leaves TLS, and the answer has no digest to verify it by")),
        _ => Err(refused("it is neither http nor https")),
    }
}

/// Sends, and waits a bounded time for the head of the answer.
pub(super) async fn exchange(
    registry: &Registry,
    client: &HttpClient,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, HostError> {
    let mut request = request.map(|body| body.map_err(|never| match never {}).boxed_unsync());
    let timeouts = &registry.inner.config.timeouts;
    if let Some(header) = registry.inner.transport.proxy_authorization(request.uri()) {
        request.headers_mut().insert(PROXY_AUTHORIZATION, header);
    }
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
pub(super) async fn refusal(response: Response<Incoming>, timeouts: &Timeouts, shown: bool) -> HostError {
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
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
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

/// Untrusted text, cleaned up for one line.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect()
}

/// RFC 3986's unreserved characters, beside letters and digits.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encodes everything but the unreserved characters.
pub(super) fn percent(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, ESCAPED)
}
