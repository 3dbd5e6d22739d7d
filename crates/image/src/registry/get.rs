//! A file by its URL, without credentials: signatures that are beside a registry.

use bytes::Bytes;
use http::header::{LOCATION, USER_AGENT};
use http::{Request, Uri};
use http_body_util::Full;

use super::retry::Retries;
use super::send::{self, AGENT};
use super::{HostError, Registry};
use crate::hosts::{self, Host, Role, Scheme};

/// The most redirects followed.
const MAX_REDIRECTS: usize = 5;

/// The file; None when there is none. TLS is not left on the way.
pub(crate) async fn bounded(registry: &Registry, url: &str, limit: u64) -> Result<Option<Bytes>, HostError> {
    let malformed = || HostError::Malformed { what: "URL", problem: format!("{url:?}") };
    let uri: Uri = url.parse().map_err(|_| malformed())?;
    let mut retries = Retries::new(&registry.inner.config.timeouts);
    loop {
        match once(registry, uri.clone(), limit).await {
            Ok(body) => return Ok(Some(body)),
            Err(HostError::NotFound { .. }) => return Ok(None),
            Err(error) => retries.again(error).await?,
        }
    }
}

async fn once(registry: &Registry, mut uri: Uri, limit: u64) -> Result<Bytes, HostError> {
    let timeouts = &registry.inner.config.timeouts;
    for _ in 0..=MAX_REDIRECTS {
        let client = registry.inner.transport.client(&host(registry, &uri)?)?;
        let request = Request::builder().uri(uri.clone()).header(USER_AGENT, AGENT).body(Full::default());
        let request =
            request.map_err(|e| HostError::Malformed { what: "request", problem: e.to_string() })?;
        let response = send::exchange(registry, &client, request).await?;
        if response.status().is_success() {
            return send::body(response.into_body(), "signature", limit, timeouts).await;
        }
        if !response.status().is_redirection() || !response.headers().contains_key(LOCATION) {
            return Err(send::refusal(response, timeouts, false).await);
        }
        uri = send::redirect(&uri, response.headers(), send::Trust::Connection)?;
    }
    Err(HostError::Redirects(MAX_REDIRECTS))
}

/// The host of a URL, with the certificates that are configured for it.
fn host(registry: &Registry, uri: &Uri) -> Result<Host, HostError> {
    let malformed = |problem: String| HostError::Malformed { what: "URL", problem };
    let authority = uri.authority().map(|a| a.as_str()).filter(|a| !a.contains('@'));
    let authority = authority.ok_or_else(|| malformed(format!("{uri} names no host")))?;
    let scheme = match uri.scheme_str() {
        Some("https") => Scheme::Https,
        Some("http") => Scheme::Http,
        _ => return Err(malformed(format!("{uri} is neither http nor https"))),
    };
    let configured = hosts::hosts(&registry.places().certs_dirs, authority)
        .map_err(|error| malformed(berth_types::error::chain(&error)))?;
    let own = configured.into_iter().find(|host| host.role == Role::Registry && host.authority == authority);
    Ok(Host { scheme, headers: Vec::new(), ..own.unwrap_or_else(|| Host::of(authority)) })
}
