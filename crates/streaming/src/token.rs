//! URLs that work once: a random token stands for a request, for a minute.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_types::{Classify, Kind};

use crate::request::Request;

/// How long a URL works.
const LIFE: Duration = Duration::from_secs(60);
/// The most URLs that wait to be used.
const MOST: usize = 1000;

/// 256 bits of the kernel's randomness: nobody finds one by trying.
type Token = [u8; 32];

/// Gives URLs of the streaming server. Clones share the tokens.
#[derive(Debug, Clone)]
pub struct Urls {
    base: Arc<str>,
    tokens: Arc<Mutex<Tokens>>,
}

/// Too many URLs wait to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MOST} URLs of the streaming server wait to be used")]
pub struct TooMany;

impl Classify for TooMany {
    fn kind(&self) -> Kind {
        Kind::Exhausted
    }

    fn hint(&self) -> Option<String> {
        Some(format!("a URL that is not used expires after {} s", LIFE.as_secs()))
    }
}

#[derive(Debug, Default)]
struct Tokens {
    waiting: HashMap<Token, (Instant, Request)>,
    /// In the order in which they expire; those that were used are still in it.
    order: VecDeque<Token>,
}

impl Urls {
    /// URLs of the server at this address. One that listens on all addresses is reached on loopback: its clients, the kubelet
    /// above all, are on the same machine.
    pub(crate) fn of(address: SocketAddr, tls: bool) -> Self {
        let mut address = address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let scheme = if tls { "https" } else { "http" };
        Self { base: format!("{scheme}://{address}").into(), tokens: Arc::default() }
    }

    /// A URL for this request. It works once, within a minute.
    ///
    /// # Errors
    /// Too many wait to be used.
    pub fn give(&self, request: Request) -> Result<String, TooMany> {
        let word = request.word();
        let token = berth_engine::random_bytes();
        self.lock().insert(Instant::now(), token, request)?;
        Ok(format!("{}/{word}/{}", self.base, URL_SAFE_NO_PAD.encode(token)))
    }

    /// What the path of a URL stands for. It stands for nothing any more afterwards.
    pub(crate) fn take(&self, path: &str) -> Option<Request> {
        let (word, text) = path.strip_prefix('/')?.split_once('/')?;
        let mut token = Token::default();
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut token).ok()?;
        let request = (length == token.len()).then(|| self.lock().take(Instant::now(), &token))??;
        (request.word() == word).then_some(request)
    }

    fn lock(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tokens {
    fn insert(&mut self, now: Instant, token: Token, request: Request) -> Result<(), TooMany> {
        while let Some(oldest) = self.order.front() {
            match self.waiting.get(oldest) {
                Some((until, _)) if *until > now => break,
                _ => {
                    self.waiting.remove(oldest);
                    self.order.pop_front();
                }
            }
        }
        if self.order.len() >= MOST {
            // Those that were used, behind one that was not.
            let waiting = &self.waiting;
            self.order.retain(|token| waiting.contains_key(token));
        }
        if self.waiting.len() >= MOST {
            return Err(TooMany);
        }
        self.waiting.insert(token, (now + LIFE, request));
        self.order.push_back(token);
        Ok(())
    }

    fn take(&mut self, now: Instant, token: &Token) -> Option<Request> {
        let (until, request) = self.waiting.remove(token)?;
        (until > now).then_some(request)
    }
}

#[cfg(test)]
mod tests;
