//! A GET request, as a kubelet makes it: with no proxy and no connection that is kept, redirects only where the host
//! stays the same.

mod connect;
mod url;

use std::net::IpAddr;
use std::time::Duration;

use berth_types::error::chain;
use http::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::HttpGet;
use super::check::{Answer, place};
use connect::Refusal;
use url::{To, Url};

/// The most bytes that are read of an answer.
const MAX_BODY: usize = 10 << 10;
/// The most requests of one probe.
const MAX_REQUESTS: usize = 10;
/// What a request has by itself.
const OWN: &[&str] = &["host", "content-length", "transfer-encoding", "trailer", "connection"];

/// Servers know a kubelet by the beginning of this.
pub(super) fn user_agent(purpose: &str) -> String {
    format!("kube-{purpose}/1.37 (berth)")
}

/// An answer, and what keeps its connection going.
struct Got {
    response: Response<Incoming>,
    _connection: JoinSet<()>,
}

/// Asks by a request.
pub(super) async fn ask(address: Option<IpAddr>, get: &HttpGet, timeout: Duration) -> Answer {
    let until = Instant::now() + timeout;
    let url = match place(get.host.as_deref(), address) {
        Ok(host) => Url::new(get.tls, host, get.port, &get.path),
        Err(answer) => return answer,
    };
    let got = match tokio::time::timeout_at(until, fetch(url, &headers(get, "probe"))).await {
        Err(_) => return Answer::late(timeout),
        Ok(Err(refusal)) => return Answer::failure(refusal.to_string()),
        Ok(Ok(got)) => got,
    };
    let status = got.response.status();
    // A kubelet reads it, and has no result when it cannot.
    match tokio::time::timeout_at(until, read(got)).await {
        Err(_) => Answer::unknown(format!("the answer was not complete within {} s", timeout.as_secs())),
        Ok(Err(e)) => Answer::unknown(format!("read the answer: {}", chain(&e))),
        Ok(Ok(())) => judge(status),
    }
}

fn judge(status: StatusCode) -> Answer {
    match status.as_u16() {
        200..=299 => Answer::success(""),
        300..=399 => Answer::success("a redirect to another host was not followed"),
        code => Answer::failure(format!("HTTP probe failed with statuscode: {code}")),
    }
}

/// Makes a request of which only an answer is expected, whatever it is.
pub(super) async fn call(address: Option<IpAddr>, get: &HttpGet) -> Result<(), String> {
    let host = place(get.host.as_deref(), address).map_err(|answer| answer.message)?;
    let (url, mut headers) = (Url::new(get.tls, host, get.port, &get.path), headers(get, "lifecycle"));
    match fetch(url.clone(), &headers).await {
        // As a kubelet does: older ones made such requests without TLS.
        Err(Refusal::Plain) => {
            headers.remove(http::header::AUTHORIZATION);
            fetch(Url { tls: false, ..url }, &headers).await.map(drop).map_err(|e| e.to_string())
        }
        Err(e) => Err(e.to_string()),
        Ok(_) => Ok(()),
    }
}

/// Follows redirects while the host stays the same.
async fn fetch(mut url: Url, headers: &HeaderMap) -> Result<Got, Refusal> {
    let mut headers = headers.clone();
    for _ in 0..MAX_REQUESTS {
        let got = send(&url, &headers).await?;
        let follows = matches!(got.response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
        let Some(location) = got.response.headers().get(LOCATION).filter(|_| follows) else { return Ok(got) };
        let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
        match url.to(&location) {
            To::Here(next) => url = next,
            To::Absolute(next) if next.host == url.host => {
                // The name was meant for the first one.
                headers.remove(HOST);
                url = next;
            }
            To::Absolute(_) => return Ok(got),
            To::Nowhere => return Err(Refusal::Redirect(location)),
        }
    }
    Err(Refusal::TooMany)
}

async fn send(url: &Url, headers: &HeaderMap) -> Result<Got, Refusal> {
    let (mut sender, connection) = connect::connect(url).await?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = url.target.parse().map_err(|_| Refusal::Path(url.target.clone()))?;
    request.headers_mut().clone_from(headers);
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    if !headers.contains_key(HOST) {
        let authority =
            HeaderValue::try_from(url.authority()).map_err(|_| Refusal::Host(url.host.clone()))?;
        request.headers_mut().insert(HOST, authority);
    }
    let response = sender.send_request(request).await.map_err(Refusal::Request)?;
    Ok(Got { response, _connection: connection })
}

/// Reads an answer to its end, or as much as is read of any.
async fn read(mut got: Got) -> Result<(), hyper::Error> {
    let mut left = MAX_BODY;
    while let Some(frame) = got.response.body_mut().frame().await {
        let bytes = frame?.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => break,
        }
    }
    Ok(())
}

/// The manifest's headers, and those that every request has.
fn headers(get: &HttpGet, purpose: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &get.headers {
        let own = OWN.iter().any(|own| name.eq_ignore_ascii_case(own));
        let name = HeaderName::try_from(name.as_str()).ok();
        // The plan has checked both.
        let pair = name
            .zip(HeaderValue::from_str(value).or_else(|_| HeaderValue::from_bytes(value.as_bytes())).ok());
        if let Some((name, value)) = pair.filter(|(name, value)| !own || (*name == HOST && !value.is_empty()))
        {
            if name == HOST {
                headers.entry(name).or_insert(value);
            } else {
                headers.append(name, value);
            }
        }
    }
    let agent = HeaderValue::try_from(user_agent(purpose)).expect("it has no control characters");
    headers.entry(USER_AGENT).or_insert(agent);
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    for name in [USER_AGENT, ACCEPT] {
        // An empty one is asked for to have none.
        if headers.get(&name).is_some_and(HeaderValue::is_empty) {
            headers.remove(&name);
        }
    }
    headers
}

#[cfg(test)]
mod tests;
