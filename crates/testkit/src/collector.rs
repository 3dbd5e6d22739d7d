//! A collector of traces: OpenTelemetry's own messages and service behind a port of loopback, by gRPC and HTTP, with TLS and faults
//! on request.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
pub use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use crate::guard::{WAIT_LIMIT, wait_for};
use crate::{Error, Result};

/// What a collector does with what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Takes it.
    Takes,
    /// Says no.
    Refuses,
    /// Does not answer.
    Hangs,
    /// Takes all but so many.
    Rejects(i64),
}

/// A span that came, with what it came with.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The program that sent it.
    pub resource: BTreeMap<String, String>,
    /// The headers of its request.
    pub headers: BTreeMap<String, String>,
    /// Itself.
    pub span: Span,
}

impl Seen {
    /// The value of an attribute.
    pub fn attribute(&self, key: &str) -> Option<String> {
        texts(&self.span.attributes).remove(key)
    }
}

/// A collector, until it is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    state: Arc<State>,
    /// Serves it.
    runtime: Option<Runtime>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        // Of a test that has a runtime itself, too.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

#[derive(Debug)]
struct State {
    answer: Mutex<Answer>,
    seen: Mutex<Vec<Seen>>,
}

impl State {
    fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(
        &self,
        headers: BTreeMap<String, String>,
        request: ExportTraceServiceRequest,
    ) -> Option<ExportTraceServiceResponse> {
        let answer = *self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let partial_success = match answer {
            Answer::Hangs => std::future::pending().await,
            Answer::Refuses => return None,
            Answer::Takes => None,
            Answer::Rejects(rejected_spans) => Some(ExportTracePartialSuccess {
                rejected_spans,
                error_message: "some are too many".to_owned(),
            }),
        };
        for all in request.resource_spans {
            let resource = all.resource.map(|resource| texts(&resource.attributes)).unwrap_or_default();
            let spans = all.scope_spans.into_iter().flat_map(|scoped| scoped.spans);
            let seen = |span| Seen { resource: resource.clone(), headers: headers.clone(), span };
            self.seen().extend(spans.map(seen));
        }
        Some(ExportTraceServiceResponse { partial_success })
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |one: &KeyValue| match one.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some((one.key.clone(), text.clone())),
        _ => None,
    };
    attributes.iter().filter_map(text).collect()
}

fn said(headers: &http::HeaderMap) -> BTreeMap<String, String> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

/// The service of gRPC.
struct Service(Arc<State>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let headers = said(request.metadata().as_ref());
        let taken = self.0.take(headers, request.into_inner()).await;
        taken.map(tonic::Response::new).ok_or_else(|| tonic::Status::resource_exhausted("it is full"))
    }
}

/// The same by HTTP.
async fn posted(
    state: Arc<State>,
    request: Request<Incoming>,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let answer = |status, body: Vec<u8>| {
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = status;
        Ok(response)
    };
    let headers = said(request.headers());
    let is_export = request.uri().path() == "/v1/traces"
        && request.method() == http::Method::POST
        && headers.get("content-type").is_some_and(|kind| kind == "application/x-protobuf");
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) if is_export => match state.take(headers, request).await {
            Some(response) => answer(StatusCode::OK, response.encode_to_vec()),
            None => answer(StatusCode::TOO_MANY_REQUESTS, Vec::new()),
        },
        _ => answer(StatusCode::BAD_REQUEST, Vec::new()),
    }
}

impl Collector {
    /// One that is called by gRPC.
    pub fn grpc() -> Result<Self> {
        Self::start(None, true)
    }

    /// One that is asked by HTTP.
    pub fn http() -> Result<Self> {
        Self::start(None, false)
    }

    /// One that is called by gRPC over TLS.
    pub fn tls(config: rustls::ServerConfig) -> Result<Self> {
        Self::start(Some(config), true)
    }

    fn start(tls: Option<rustls::ServerConfig>, is_grpc: bool) -> Result<Self> {
        let state = Arc::new(State { answer: Mutex::new(Answer::Takes), seen: Mutex::default() });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(Error::io("start the collector's runtime"))?;
        // Of a test that has a runtime of its own, too.
        let bound = {
            let _entered = runtime.enter();
            std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok((listener.local_addr()?, TcpListener::from_std(listener)?))
            })
        };
        let (address, listener) = bound.map_err(Error::io("listen as a collector"))?;
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let served = Arc::clone(&state);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, tls) = (Arc::clone(&served), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, state, is_grpc).await,
                        // Who does not trust it goes away.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, state, is_grpc).await;
                            }
                        }
                    }
                });
            }
        });
        Ok(Self { address, state, runtime: Some(runtime) })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it does this.
    pub fn answers(&self, answer: Answer) {
        *self.state.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// What came until now.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen().clone()
    }

    /// Waits until spans have come that are enough.
    pub fn wait(&self, enough: impl Fn(&[Seen]) -> bool) -> Option<Vec<Seen>> {
        wait_for(WAIT_LIMIT, || Some(self.seen()).filter(|seen| enough(seen)))
    }
}

async fn serve<S>(stream: S, state: Arc<State>, is_grpc: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = TokioIo::new(stream);
    // A client that goes away is none of a collector's concern.
    if is_grpc {
        let service = TowerToHyperService::new(TraceServiceServer::new(Service(state)));
        http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await.ok();
    } else {
        let service = service_fn(move |request| posted(Arc::clone(&state), request));
        http1::Builder::new().serve_connection(stream, service).await.ok();
    }
}

/// These spans as a tree, as Jaeger shows them: when each began after the first, how long it took, what it is.
pub fn tree(seen: &[Seen]) -> String {
    let spans: Vec<&Span> = seen.iter().map(|seen| &seen.span).collect();
    let began = spans.iter().map(|span| span.start_time_unix_nano).min().unwrap_or(0);
    let is_root = |span: &&Span| !spans.iter().any(|other| other.span_id == span.parent_span_id);
    let mut text = String::new();
    let mut roots: Vec<&Span> = spans.iter().copied().filter(is_root).collect();
    roots.sort_by_key(|span| span.start_time_unix_nano);
    for root in roots {
        branch(&spans, root, (began, 0), &mut text);
    }
    text
}

fn branch(spans: &[&Span], span: &Span, (first, depth): (u64, usize), text: &mut String) {
    let ms = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e3;
    let (after, took) = (
        span.start_time_unix_nano - first,
        span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano),
    );
    let failed = span.status.as_ref().map(|status| format!("  ({})", status.message)).unwrap_or_default();
    let name = format!("{}{}", "  ".repeat(depth), span.name);
    writeln!(text, "{:>9.2} ms {:>9.2} ms  {name}{failed}", ms(after), ms(took))
        .expect("writing to a String does not fail");
    let mut parts: Vec<&Span> =
        spans.iter().copied().filter(|part| part.parent_span_id == span.span_id).collect();
    parts.sort_by_key(|part| part.start_time_unix_nano);
    for part in parts {
        branch(spans, part, (first, depth + 1), text);
    }
}
