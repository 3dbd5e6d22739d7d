//! Authorization: none, basic, or bearer tokens from an endpoint of the registry's own.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::lock;

/// What the registry asks of its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// Nothing.
    Open,
    /// A name and a password with each request.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// A token for the repository, which `/token` gives for the right name and
    /// password, or without credentials when there are none.
    Bearer {
        /// Name and password.
        account: Option<(String, String)>,
    },
    /// A token for the repository, which `POST /token` gives for this refresh token (what
    /// `docker login` calls an identity token).
    Identity {
        /// The refresh token.
        refresh: String,
    },
}

/// The authorization state of a registry.
#[derive(Debug)]
pub(super) struct Gate {
    auth: Auth,
    /// Tokens and the repository each is for.
    tokens: Mutex<HashMap<String, String>>,
    serial: AtomicU64,
}

/// The answer of the check to a request.
pub(super) enum Verdict {
    Pass,
    /// 401 with this WWW-Authenticate header.
    Challenge(String),
}

impl Gate {
    pub(super) fn new(auth: Auth) -> Self {
        Self { auth, tokens: Mutex::default(), serial: AtomicU64::new(1) }
    }

    pub(super) fn revoke(&self) {
        lock(&self.tokens).clear();
    }

    /// Checks a request for `repository` (empty for `/v2/` itself). `base` is the registry's URL.
    pub(super) fn judge(&self, header: Option<&str>, repository: &str, base: &str) -> Verdict {
        match &self.auth {
            Auth::Open => Verdict::Pass,
            Auth::Basic { user, password } => {
                if basic(header) == Some((user.clone(), password.clone())) {
                    Verdict::Pass
                } else {
                    Verdict::Challenge("Basic realm=\"berth test, registry\"".into())
                }
            }
            Auth::Bearer { .. } | Auth::Identity { .. } => {
                let token = header.and_then(|h| strip(h, "bearer "));
                let held = token.and_then(|token| lock(&self.tokens).get(token).cloned());
                if held.is_some_and(|held| repository.is_empty() || held == repository) {
                    return Verdict::Pass;
                }
                let scope = match repository {
                    "" => String::new(),
                    name => format!(",scope=\"repository:{name}:pull\""),
                };
                Verdict::Challenge(format!("Bearer realm=\"{base}/token\",service=\"berth test\"{scope}"))
            }
        }
    }

    /// Answers a request for a token; None when the credentials are wrong.
    pub(super) fn grant(&self, header: Option<&str>, parameters: &[(String, String)]) -> Option<String> {
        let value = |key: &str| parameters.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        let allowed = match &self.auth {
            Auth::Open | Auth::Basic { .. } => false,
            Auth::Bearer { account: None } => true,
            Auth::Bearer { account: Some(account) } => basic(header).as_ref() == Some(account),
            Auth::Identity { refresh } => value("refresh_token") == Some(refresh.as_str()),
        };
        if !allowed {
            return None;
        }
        let repository = value("scope").and_then(|s| s.strip_prefix("repository:")).unwrap_or_default();
        let repository = repository.rsplit_once(':').map_or(repository, |(name, _)| name);
        let token = format!("token-{}", self.serial.fetch_add(1, Ordering::Relaxed));
        lock(&self.tokens).insert(token.clone(), repository.to_owned());
        Some(json!({ "token": token, "access_token": token, "expires_in": 300 }).to_string())
    }
}

fn strip<'a>(header: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = header.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

fn basic(header: Option<&str>) -> Option<(String, String)> {
    let decoded = STANDARD.decode(strip(header?, "basic ")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}
