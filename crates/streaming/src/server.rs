//! The server: connections, up to their upgrade.

mod asking;
mod tls;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_engine::Engine;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::StreamingError;
use crate::handshake::{self, Agreed, Refused};
use crate::session::Session;
use crate::token::Urls;
use crate::wire::Connection;
use asking::{Asking, Place};

/// How long a client may take for TLS, and how long for its request.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// The longest head of a request.
const MAX_HEAD: usize = 16 << 10;
/// Connections that have been upgraded.
const MAX_SESSIONS: usize = 1000;
/// The wait after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How long clients may take to hear that the server ends.
const PARTING: Duration = Duration::from_millis(500);
/// After so long without a byte the kernel asks whether the client is there,
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(60);
/// this often,
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// and after so many questions without an answer the connection is over.
const KEEP_ALIVE_PROBES: u32 = 4;

/// How the server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The address to listen on.
    pub address: IpAddr,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// Speak TLS.
    pub tls: Option<TlsFiles>,
    /// After so long without a byte in either direction a connection is closed.
    pub idle: Duration,
}

/// What TLS is spoken with, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    urls: Urls,
    tls: Option<Arc<ServerConfig>>,
    idle: Duration,
}

/// The streaming server of an engine.
#[derive(Debug)]
pub struct Server {
    bound: Bound,
    shared: Arc<Shared>,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    engine: Engine,
    urls: Urls,
    idle: Duration,
    sessions: Arc<Semaphore>,
    /// True once the server ends.
    ending: watch::Sender<bool>,
}

impl Bound {
    /// Listens.
    ///
    /// # Errors
    /// The address is taken, or a file of TLS cannot be used.
    pub async fn new(settings: &Settings) -> Result<Self, StreamingError> {
        let tls = settings.tls.as_ref().map(tls::config).transpose()?;
        let address = SocketAddr::new(settings.address, settings.port);
        let failed = |source| StreamingError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let urls = Urls::of(listener.local_addr().map_err(failed)?, tls.is_some());
        Ok(Self { listener, urls, tls, idle: settings.idle })
    }

    /// Its URLs, which work once it answers.
    pub fn urls(&self) -> Urls {
        self.urls.clone()
    }

    /// Answers for this engine.
    pub fn serve(self, engine: Engine) -> Server {
        let (urls, idle) = (self.urls.clone(), self.idle);
        let sessions = Arc::new(Semaphore::new(MAX_SESSIONS));
        let shared = Shared { engine, urls, idle, sessions, ending: watch::Sender::new(false) };
        Server { bound: self, shared: Arc::new(shared) }
    }
}

impl Server {
    /// Answers until `stop` is done. Then it ends all connections and what they were for, and tells the clients so.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Server { bound, shared } = self;
        let asking = Asking::default();
        let mut connections = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let stream = tokio::select! {
                () = &mut stop => break,
                accepted = bound.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(e) => {
                        // Most likely out of descriptors: others will be closed.
                        tracing::warn!(error = %e, "failed to accept a connection for streams");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                        continue;
                    }
                },
                Some(_) = connections.join_next() => continue,
            };
            let (shared, tls) = (Arc::clone(&shared), bound.tls.clone());
            let (place, lost) = asking.enter();
            connections.spawn(async move {
                tokio::select! {
                    done = connection(stream, tls, place, shared) => {
                        if let Err(e) = done {
                            tracing::debug!(error = %e, "a connection for streams failed");
                        }
                    }
                    () = lost.wait() => tracing::debug!("a connection for streams asked for nothing, and others came"),
                }
            });
        }
        drop(bound);
        shared.ending.send_replace(true);
        let told = async { while connections.join_next().await.is_some() {} };
        drop(tokio::time::timeout(PARTING, told).await);
    }
}

/// Serves a connection to its end.
async fn connection(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    place: Place,
    shared: Arc<Shared>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    keep_alive(&stream)?;
    let stream = match tls {
        None => Connection::Tcp(stream),
        Some(tls) => {
            let accepted = tokio::time::timeout(REQUEST_LIMIT, TlsAcceptor::from(tls).accept(stream));
            Connection::Tls(Box::new(accepted.await.map_err(std::io::Error::from)??))
        }
    };
    let (agreed, mut session) = tokio::sync::mpsc::channel(1);
    let service = service_fn(|request| {
        let answer = answer(&shared, request, &place, &agreed);
        async move { Ok::<_, Infallible>(answer) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_LIMIT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await
        .map_err(std::io::Error::other)?;
    drop(place);
    match session.try_recv() {
        Ok(upgrading) => upgrade(upgrading).await,
        // Every request was refused.
        Err(_) => Ok(()),
    }
}

/// A connection that is being upgraded.
struct Upgrading {
    upgraded: hyper::upgrade::OnUpgrade,
    protocol: handshake::Protocol,
    request: crate::request::Request,
    shared: Arc<Shared>,
    /// Its place among the sessions.
    turn: OwnedSemaphorePermit,
}

async fn upgrade(upgrading: Upgrading) -> std::io::Result<()> {
    let Upgrading { upgraded, protocol, request, shared, turn } = upgrading;
    let upgraded = upgraded.await.map_err(std::io::Error::other)?;
    let parts = upgraded
        .downcast::<TokioIo<Connection>>()
        .map_err(|_| std::io::Error::other("the connection is of another kind"))?;
    let (engine, idle, ending) = (shared.engine.clone(), shared.idle, shared.ending.subscribe());
    let (connection, before) = (parts.io.into_inner(), parts.read_buf);
    let session = Session { engine, connection, before, protocol, request, idle, ending };
    let done = session.run().await;
    drop(turn);
    done
}

/// Answers a request: with the upgrade, which is left to be made, or with why not. The path is not logged: it is a secret until
/// it is used.
fn answer(
    shared: &Arc<Shared>,
    mut request: hyper::Request<Incoming>,
    place: &Place,
    agreed: &tokio::sync::mpsc::Sender<Upgrading>,
) -> hyper::Response<Full<Bytes>> {
    // First: one that is being closed for another does not use its URL up. Whatever the answer is, it asks for nothing more.
    if !place.leave() {
        return text(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many connections were opened and asked for nothing",
        );
    }
    let Some(wanted) = shared.urls.take(request.uri().path()) else {
        return text(StatusCode::NOT_FOUND, "this URL does not exist, was used already or has expired");
    };
    let Agreed { protocol, headers } = match handshake::agree(&wanted, request.method(), request.headers()) {
        Ok(agreed) => agreed,
        Err(Refused { status, headers, text: why }) => {
            let mut response = text(status, &why);
            response.headers_mut().extend(headers);
            return response;
        }
    };
    let Ok(turn) = Arc::clone(&shared.sessions).try_acquire_owned() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "too many streams are open");
    };
    let upgraded = hyper::upgrade::on(&mut request);
    let upgrading = Upgrading { upgraded, protocol, request: wanted, shared: Arc::clone(shared), turn };
    if agreed.try_send(upgrading).is_err() {
        return text(StatusCode::BAD_REQUEST, "the connection is being upgraded already");
    }
    let mut response = hyper::Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    response
}

fn text(status: StatusCode, text: &str) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::from(format!("{text}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // A connection asks once: it does not keep its place among those that have not been upgraded.
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A client whose machine has gone is noticed.
fn keep_alive(stream: &TcpStream) -> std::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEP_ALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, KEEP_ALIVE_PROBES)?;
    Ok(())
}
