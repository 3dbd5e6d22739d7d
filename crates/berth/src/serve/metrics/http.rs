//! Where metrics are asked for: HTTP/1 on loopback or a UNIX socket, with bounds for whoever connects.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use berth_engine::Engine;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Metrics;
use crate::serve::listen;
use crate::serve::settings::MetricsAddress;

/// Connections at a time.
const MOST: usize = 16;
/// How long one may last: a scraper comes again.
const LONGEST: Duration = Duration::from_secs(60);
/// How long its head may take.
const HEAD: Duration = Duration::from_secs(5);
/// The most of a head.
const BUFFER: usize = 16 << 10;
/// The wait after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A place that was bound.
#[derive(Debug)]
pub(in crate::serve) enum Listener {
    Tcp(TcpListener),
    Unix(listen::Bound, PathBuf),
}

/// Binds the address.
pub(in crate::serve) async fn bind(address: &MetricsAddress) -> anyhow::Result<Listener> {
    match address {
        MetricsAddress::Tcp(address) => {
            let bound = TcpListener::bind(address).await;
            Ok(Listener::Tcp(bound.with_context(|| format!("listen on {address} for metrics"))?))
        }
        MetricsAddress::Unix(path) => Ok(Listener::Unix(listen::bind(path)?, path.clone())),
    }
}

impl Listener {
    /// Where it is.
    pub(in crate::serve) fn address(&self) -> String {
        let tcp =
            |listener: &TcpListener| listener.local_addr().map(|address: SocketAddr| address.to_string());
        match self {
            Self::Tcp(listener) => tcp(listener).unwrap_or_default(),
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }

    /// The socket's file, to be removed in the end.
    pub(in crate::serve) fn file(&self) -> Option<(&Path, u64)> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(bound, path) => Some((path, bound.inode)),
        }
    }

    /// Answers for ever.
    pub(in crate::serve) async fn serve(self, metrics: Arc<Metrics>, engine: Engine) {
        let places = Arc::new(Semaphore::new(MOST));
        loop {
            // Before the connection is accepted: others wait in the kernel, which has a bound too.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let (metrics, engine) = (Arc::clone(&metrics), engine.clone());
            let accepted = match &self {
                Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    tokio::spawn(answer(stream, metrics, engine, place));
                }),
                Self::Unix(bound, _) => bound.listener.accept().await.map(|(stream, _)| {
                    tokio::spawn(answer(stream, metrics, engine, place));
                }),
            };
            if let Err(error) = accepted {
                tracing::warn!(%error, "failed to accept a connection for metrics");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    metrics: Arc<Metrics>,
    engine: Engine,
    place: OwnedSemaphorePermit,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (metrics, engine) = (Arc::clone(&metrics), engine.clone());
        async move { Ok::<_, Infallible>(respond(&request, || metrics.text(&engine))) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(BUFFER).keep_alive(true);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(LONGEST, connection).await {
        tracing::debug!(%error, "a connection for metrics failed");
    }
    drop(place);
}

fn respond(request: &Request<Incoming>, text: impl FnOnce() -> String) -> Response<Full<Bytes>> {
    const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, text()),
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "metrics are at /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(TYPE));
    response
}
