//! Connections: TCP, proxies, TLS, and the fall-back to plain HTTP for loopback registries.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::RootCertStore;
use tokio::net::TcpStream;
use tower::Service;

use super::{Config, HostError, proxy, tls};
use crate::hosts::{Host, Scheme, TlsSettings, is_loopback};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// What a request carries.
pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
/// An HTTP client for hosts with the same TLS settings.
pub(super) type HttpClient = Client<Connector, Body>;

/// Clients kept; settings change when files do, so old ones are dropped.
const MAX_CLIENTS: usize = 64;
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(20);
/// The most unused connections per host.
const MAX_IDLE: usize = 8;
/// hyper's read buffer grows up to this: the size of the pieces that a layer arrives in.
const READ_BUFFER: usize = 256 << 10;
/// How long it is remembered that a loopback registry speaks plain HTTP.
const PLAIN_MEMORY: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    tls: TlsSettings,
    connect: Duration,
    /// Set for a registry that may turn out to speak plain HTTP.
    may_be_plain: Option<String>,
}

/// All clients, made when they are needed.
#[derive(Debug)]
pub(super) struct Transport {
    clients: Mutex<HashMap<Key, HttpClient>>,
    roots: OnceLock<RootCertStore>,
    proxy: Option<Arc<Matcher>>,
    connect: Duration,
}

impl Transport {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            clients: Mutex::default(),
            roots: OnceLock::new(),
            proxy: config.proxy_from_environment.then(|| Arc::new(proxy::from_environment())),
            connect: config.timeouts.connect,
        }
    }

    /// The same, with this proxy instead of the environment's.
    #[cfg(test)]
    pub(super) fn through(mut self, proxy: Matcher) -> Self {
        self.proxy = Some(Arc::new(proxy));
        self
    }

    /// The client for a host. Reading the system's authorities the first time takes a few milliseconds.
    pub(super) fn client(&self, host: &Host) -> Result<HttpClient, HostError> {
        let key = Key {
            tls: host.tls.clone(),
            connect: host.dial_timeout.filter(|t| !t.is_zero()).unwrap_or(self.connect),
            may_be_plain: (host.scheme == Scheme::HttpsOrHttp).then(|| host.authority.clone()),
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let empty = RootCertStore::empty();
        let roots = match host.scheme {
            Scheme::Https => self.roots.get_or_init(tls::system_roots),
            Scheme::Http | Scheme::HttpsOrHttp => &empty,
        };
        let client = self.make(&key, tls::config(&key.tls, roots)?);
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// What a request shows to the proxy that it is sent to as a whole: one over plain HTTP.
    pub(super) fn proxy_authorization(&self, uri: &Uri) -> Option<HeaderValue> {
        if uri.scheme_str() != Some("http") {
            return None;
        }
        proxy::of(self.proxy.as_deref(), uri)?.basic_auth().cloned()
    }

    fn make(&self, key: &Key, tls: rustls::ClientConfig) -> HttpClient {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(Duration::from_secs(30)));
        http.set_connect_timeout(Some(key.connect));
        let dialer = Dialer { http, proxy: self.proxy.clone() };
        let connector = Connector {
            https: HttpsConnector::from((dialer.clone(), tls)),
            dialer,
            limit: key.connect,
            plain: key.may_be_plain.is_some().then(Arc::default),
        };
        Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .http1_max_buf_size(READ_BUFFER)
            .build(connector)
    }
}

/// Makes TCP connections, through a proxy where the environment says so.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    http: HttpConnector,
    proxy: Option<Arc<Matcher>>,
}

impl Service<Uri> for Dialer {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<Stream>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let proxy = proxy::of(self.proxy.as_deref(), &uri);
        let mut http = self.http.clone();
        Box::pin(async move {
            let Some(proxy) = proxy else {
                return Ok(Stream { io: http.call(uri).await?, forwarded: false });
            };
            if proxy.uri().scheme_str() != Some("http") {
                return Err(format!("the proxy {} is not one of http://", proxy.uri()).into());
            }
            if uri.scheme_str() == Some("https") {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), http);
                if let Some(auth) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                Ok(Stream { io: tunnel.call(uri).await?, forwarded: false })
            } else {
                Ok(Stream { io: http.call(proxy.uri().clone()).await?, forwarded: true })
            }
        })
    }
}

/// A TCP connection; `forwarded` when requests on it go to a proxy, in absolute form.
#[derive(Debug)]
pub(super) struct Stream {
    io: TokioIo<TcpStream>,
    forwarded: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.forwarded)
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// When a loopback registry was last seen to speak plain HTTP.
type PlainMemory = Arc<Mutex<Option<Instant>>>;

/// Connects within a time limit; for loopback registries tries TLS and then plain HTTP.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    https: HttpsConnector<Dialer>,
    dialer: Dialer,
    limit: Duration,
    plain: Option<PlainMemory>,
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<Stream>;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let mut this = self.clone();
        Box::pin(async move {
            let limit = this.limit;
            let slow = || format!("no connection within {} ms", limit.as_millis());
            let loopback = uri.authority().is_some_and(|a| is_loopback(a.as_str()));
            match this.plain.clone() {
                Some(memory) if loopback && uri.scheme_str() == Some("https") => {
                    this.either(uri, &memory).await
                }
                _ => tokio::time::timeout(limit, this.https.call(uri)).await.map_err(|_| slow())?,
            }
        })
    }
}

impl Connector {
    async fn either(&mut self, uri: Uri, memory: &PlainMemory) -> Result<MaybeHttpsStream<Stream>, BoxError> {
        let seen = *memory.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_none_or(|seen| seen.elapsed() > PLAIN_MEMORY) {
            let tls = tokio::time::timeout(self.limit, self.https.call(uri.clone())).await;
            match tls {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) if is_refused(error.as_ref()) => return Err(error),
                Ok(Err(_)) | Err(_) => {}
            }
        }
        let plain = tokio::time::timeout(self.limit, self.dialer.call(uri)).await;
        let stream = plain.map_err(|_| format!("no connection within {} ms", self.limit.as_millis()))??;
        *memory.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(MaybeHttpsStream::Http(stream))
    }
}

/// Whether the connection was refused: then another protocol cannot help.
fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        next = error.source();
    }
    false
}
