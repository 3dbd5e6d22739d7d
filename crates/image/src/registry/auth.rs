//! Answering a registry's 401: Basic, or Bearer with a token from the realm it names
//! (distribution specification; token and OAuth 2 protocols of the distribution project).
//!
//! Tokens are kept per host, repository and credentials: a token is never used for
//! other credentials than those it was issued for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use serde::Deserialize;

use super::challenge::{self, Challenge};
use super::send::{self, AGENT};
use super::{HostError, Registry, Timeouts};
use crate::credentials::Credentials;
use crate::hosts::{Host, Scheme, is_loopback};

/// The largest answer of a token server, bytes.
const MAX_TOKEN: u64 = 64 << 10;
/// A token's life when its server does not say, as the token protocol has it; also the shortest accepted.
const TOKEN_LIFE: Duration = Duration::from_secs(60);
/// The longest life accepted.
const TOKEN_LIFE_MAX: Duration = Duration::from_secs(3600);
/// A token is not used in its last moments.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);
/// Tokens kept; when there are more, all are dropped.
const MAX_TOKENS: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TokenKey {
    pub(super) authority: String,
    pub(super) repository: String,
    pub(super) credentials: Credentials,
    /// Whether it is for writing, too.
    pub(super) writes: bool,
}

#[derive(Debug)]
struct Cached {
    authorization: HeaderValue,
    until: Instant,
}

/// The `Authorization` headers that worked.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<HashMap<TokenKey, Cached>>);

impl Tokens {
    pub(super) fn get(&self, key: &TokenKey) -> Option<HeaderValue> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(key).filter(|t| t.until > Instant::now()).map(|t| t.authorization.clone())
    }

    pub(super) fn forget(&self, key: &TokenKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    fn put(&self, key: TokenKey, authorization: HeaderValue, life: Duration) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= MAX_TOKENS {
            tokens.retain(|_, token| token.until > Instant::now());
        }
        if tokens.len() >= MAX_TOKENS {
            tokens.clear();
        }
        tokens.insert(key, Cached { authorization, until: Instant::now() + life });
    }
}

/// The token server that a challenge names.
#[derive(Debug)]
struct Realm {
    uri: Uri,
    service: Option<String>,
    scope: String,
}

/// Answers a 401 that `host`, or a host it redirected to, gave: the header to try again with, or None
/// when it cannot be answered. `key` says whose credentials may be shown.
pub(super) async fn answer(
    registry: &Registry,
    host: &Host,
    key: &TokenKey,
    headers: &HeaderMap,
) -> Result<Option<HeaderValue>, HostError> {
    let tokens = &registry.inner.tokens;
    let challenges: Vec<Challenge> = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(challenge::parse)
        .collect();
    if let Some(bearer) = challenges.iter().find(|c| c.scheme == "bearer" && c.get("realm").is_some()) {
        let realm = Realm::of(bearer, key, host)?;
        let (token, life) = realm.token(registry, host, &key.credentials).await?;
        let header =
            sensitive(&format!("Bearer {token}")).ok_or_else(|| realm.failed("the token is malformed"))?;
        tokens.put(key.clone(), header.clone(), life);
        return Ok(Some(header));
    }
    match (&key.credentials, challenges.iter().any(|c| c.scheme == "basic")) {
        (Credentials::Basic { .. }, true) => {
            let header = basic(&key.credentials);
            if let Some(header) = &header {
                tokens.put(key.clone(), header.clone(), TOKEN_LIFE_MAX);
            }
            Ok(header)
        }
        _ => Ok(None),
    }
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The header that shows a bearer token which the request brought.
pub(super) fn ready_made(credentials: &Credentials) -> Option<HeaderValue> {
    match credentials {
        Credentials::RegistryToken(token) => sensitive(&format!("Bearer {}", token.expose())),
        Credentials::Anonymous | Credentials::Basic { .. } | Credentials::IdentityToken(_) => None,
    }
}

fn basic(credentials: &Credentials) -> Option<HeaderValue> {
    let Credentials::Basic { username, password } = credentials else { return None };
    sensitive(&format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.expose()))))
}

/// Either name of the token is in use, also with a null under the other.
#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    /// Seconds; some servers write a number as text.
    expires_in: Option<serde_json::Value>,
}

impl TokenAnswer {
    fn token(&mut self) -> Option<String> {
        let given = |token: Option<String>| token.filter(|token| !token.is_empty());
        given(self.token.take()).or_else(|| given(self.access_token.take()))
    }

    fn life(&self) -> Duration {
        let seconds = match &self.expires_in {
            Some(serde_json::Value::String(text)) => text.trim().parse().ok(),
            other => other.as_ref().and_then(serde_json::Value::as_f64),
        };
        let asked = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()).unwrap_or(TOKEN_LIFE);
        asked.clamp(TOKEN_LIFE, TOKEN_LIFE_MAX) - TOKEN_MARGIN
    }
}

/// The scope with the right to push: a push begins with a look, which a registry asks less for than for what follows.
fn with_push(scope: &str, repository: &str) -> String {
    let parts: Vec<_> = scope.split(' ').collect();
    let alone = parts.len() == 1;
    let one = |part: &str| match part.strip_prefix("repository:").and_then(|rest| rest.rsplit_once(':')) {
        Some((name, _)) if alone || name == repository => format!("repository:{name}:pull,push"),
        _ => part.to_owned(),
    };
    parts.into_iter().map(one).collect::<Vec<_>>().join(" ")
}

impl Realm {
    fn of(challenge: &Challenge, key: &TokenKey, from: &Host) -> Result<Self, HostError> {
        let realm = challenge.get("realm").unwrap_or_default();
        let failed =
            |problem: &str| HostError::Token { realm: realm.to_owned(), problem: problem.to_owned() };
        let uri: Uri = realm.parse().map_err(|_| failed("this is not a URL"))?;
        let host = uri.authority().map(|a| a.as_str()).unwrap_or_default();
        match uri.scheme_str() {
            Some("https") if !host.is_empty() && !host.contains('@') => {}
            // Plain HTTP would expose the credentials on the network. For a registry that is
            // configured for plain HTTP, the operator has accepted that.
            Some("http")
                if is_loopback(host)
                    || key.credentials == Credentials::Anonymous
                    || from.scheme == Scheme::Http => {}
            Some("http") => return Err(failed("credentials are not sent over plain HTTP")),
            _ => return Err(failed("this is not an https URL")),
        }
        let scope = challenge.get("scope").filter(|scope| !scope.is_empty());
        let scope = scope.map_or_else(|| format!("repository:{}:pull", key.repository), str::to_owned);
        Ok(Self {
            uri,
            service: challenge.get("service").map(str::to_owned),
            scope: if key.writes { with_push(&scope, &key.repository) } else { scope },
        })
    }

    fn failed(&self, problem: impl Into<String>) -> HostError {
        HostError::Token { realm: self.uri.to_string(), problem: problem.into() }
    }

    /// Fetches a token; with an identity token by OAuth 2's POST, otherwise by GET.
    async fn token(
        &self,
        registry: &Registry,
        host: &Host,
        credentials: &Credentials,
    ) -> Result<(String, Duration), HostError> {
        let timeouts: &Timeouts = &registry.inner.config.timeouts;
        let client = send::client(registry, host, &self.uri)?;
        let request = match credentials {
            Credentials::IdentityToken(token) => self.post(token.expose()),
            Credentials::Anonymous | Credentials::Basic { .. } | Credentials::RegistryToken(_) => {
                self.get(credentials)
            }
        };
        let request = request.map_err(|e| self.failed(e.to_string()))?;
        let response = send::exchange(registry, &client, request).await?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST) {
            let detail = format!(" by the token server {}", self.uri);
            let shown = *credentials != Credentials::Anonymous;
            return Err(HostError::Denied { status: status.as_u16(), detail, shown });
        }
        if !status.is_success() {
            let retry_after = send::retry_after(response.headers());
            let detail = format!(" by the token server {}", self.uri);
            let error = HostError::Status { status: status.as_u16(), detail, retry_after };
            let final_answer = || self.failed(format!("answered {}", status.as_u16()));
            return Err(if error.is_transient() { error } else { final_answer() });
        }
        let body = send::body(response.into_body(), "token", MAX_TOKEN, timeouts).await?;
        let mut answer: TokenAnswer =
            serde_json::from_slice(&body).map_err(|_| self.failed("the answer is not a token"))?;
        let token = answer.token().ok_or_else(|| self.failed("the answer has no token"))?;
        Ok((token, answer.life()))
    }

    fn get(&self, credentials: &Credentials) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut fields: Vec<(&str, &str)> = self.service.iter().map(|s| ("service", s.as_str())).collect();
        if let Credentials::Basic { username, .. } = credentials {
            fields.push(("account", username));
        }
        fields.extend(self.scope.split(' ').map(|scope| ("scope", scope)));
        let query = form(fields);
        let separator = if self.uri.query().is_some() { '&' } else { '?' };
        let mut request =
            Request::builder().uri(format!("{}{separator}{query}", self.uri)).header(USER_AGENT, AGENT);
        if let Some(basic) = basic(credentials) {
            request = request.header(AUTHORIZATION, basic);
        }
        request.body(Full::default())
    }

    fn post(&self, refresh_token: &str) -> Result<Request<Full<Bytes>>, http::Error> {
        let service = self.service.as_deref().unwrap_or_default();
        let fields = form([
            ("grant_type", "refresh_token"),
            ("service", service),
            ("client_id", "berth"),
            ("scope", &self.scope),
            ("refresh_token", refresh_token),
        ]);
        Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(fields))
    }
}

/// `application/x-www-form-urlencoded`.
fn form<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = fields.into_iter().map(|(name, value)| format!("{name}={}", send::percent(value)));
    pairs.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_pushes_asks_for_the_right_to_at_once() {
        for (asked, wanted) in [
            ("repository:a/b:pull", "repository:a/b:pull,push"),
            ("repository:a/b:pull,push", "repository:a/b:pull,push"),
            ("repository:a/b:pull repository:c:pull", "repository:a/b:pull,push repository:c:pull"),
            ("repository:prefix/a/b:pull", "repository:prefix/a/b:pull,push"),
            ("registry:catalog:*", "registry:catalog:*"),
        ] {
            assert_eq!(with_push(asked, "a/b"), wanted);
        }
    }
}
