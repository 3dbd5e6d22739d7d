//! One request to a collector: a call of gRPC, which is a request of HTTP/2 with a frame in it, or a request of HTTP/1.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Collected, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prost::Message as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::Protocol;
use crate::exporter::Settings;
use crate::messages;

/// The most of an answer that is read: it has a number and a sentence.
const MAX_ANSWER: usize = 64 << 10;
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a connection without a request is kept.
const IDLE: Duration = Duration::from_secs(90);

/// Why a collector cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file of its authorities.
    #[error("read the authorities of the collector from {path}")]
    Authorities {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is in that file.
    #[error("{path} has no certificate that can be an authority (hint: a collector's CA as PEM)")]
    NoAuthority {
        /// Where.
        path: PathBuf,
    },
    /// Something is no header.
    #[error("the header {name:?} for the collector cannot be sent")]
    Header {
        /// Its name.
        name: String,
    },
    /// There was no answer.
    #[error("ask the collector")]
    Request(#[from] hyper_util::client::legacy::Error),
    /// It broke off.
    #[error("read the collector's answer")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is longer than answers are.
    #[error("the collector's answer has more than {MAX_ANSWER} bytes")]
    TooLong,
    /// It says no, in HTTP.
    #[error("the collector answers {0} (hint: is this the port for the protocol that was chosen?)")]
    Status(StatusCode),
    /// It says no, in gRPC.
    #[error("the collector answers with gRPC's code {code}: {message}")]
    Code {
        /// The number.
        code: String,
        /// What it says.
        message: String,
    },
    /// It is not understood.
    #[error("the collector's answer is not OTLP")]
    Strange,
    /// It takes too long.
    #[error("the collector did not answer within {} s", .0.as_secs())]
    Slow(Duration),
}

/// The way to a collector.
#[derive(Debug)]
pub(crate) struct Client {
    http: HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Uri,
    protocol: Protocol,
    headers: HeaderMap,
}

impl Client {
    /// For the collector of these settings. Nothing is connected before there is something to tell.
    pub(crate) fn new(settings: &Settings) -> Result<Self, ClientError> {
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls(settings)?).https_or_http();
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let is_grpc = settings.protocol == Protocol::Grpc;
        let connector = match settings.protocol {
            Protocol::Grpc => builder.enable_http2().wrap_connector(connector),
            Protocol::Http => builder.enable_http1().wrap_connector(connector),
        };
        let http = HttpClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .http2_only(is_grpc)
            .build(connector);
        let headers = headers(settings)?;
        Ok(Self { http, endpoint: settings.endpoint.clone(), protocol: settings.protocol, headers })
    }

    /// Sends it. Gives how many spans the collector did not take, and why.
    pub(crate) async fn send(
        &self,
        request: &messages::Request,
    ) -> Result<Option<messages::PartialSuccess>, ClientError> {
        let mut body = BytesMut::new();
        if self.protocol == Protocol::Grpc {
            let length = u32::try_from(request.encoded_len()).unwrap_or(u32::MAX);
            // Not compressed.
            body.put_u8(0);
            body.put_u32(length);
        }
        request.encode(&mut body).expect("a buffer that grows has room");
        let mut message = Request::post(self.endpoint.clone());
        if let Some(headers) = message.headers_mut() {
            headers.clone_from(&self.headers);
        }
        let message = message.body(Full::new(body.freeze())).expect("its parts were checked");
        let (head, body) = self.http.request(message).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => ClientError::TooLong,
            None => ClientError::Answer(error),
        })?;
        if !head.status.is_success() {
            return Err(ClientError::Status(head.status));
        }
        let answer = match self.protocol {
            Protocol::Grpc => unframed(&head.headers, body)?,
            Protocol::Http => body.to_bytes(),
        };
        let answer = messages::Response::decode(answer).map_err(|_| ClientError::Strange)?;
        Ok(answer.partial_success.filter(|partial| partial.rejected_spans > 0))
    }
}

/// The message of gRPC's answer, which says behind it, or before all, whether it is one.
fn unframed(head: &HeaderMap, body: Collected<Bytes>) -> Result<Bytes, ClientError> {
    let said = body.trailers().cloned().unwrap_or_default();
    let text = |name: &str| {
        let value = said.get(name).or_else(|| head.get(name))?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let code = text("grpc-status").ok_or(ClientError::Strange)?;
    if code != "0" {
        let message = text("grpc-message").unwrap_or_default();
        let message = percent_encoding::percent_decode_str(&message).decode_utf8_lossy().into_owned();
        return Err(ClientError::Code { code, message });
    }
    let body = body.to_bytes();
    // Nothing was said of compression, so that none of it is.
    match body.split_first_chunk::<5>() {
        Some(([0, length @ ..], rest)) if rest.len() == u32::from_be_bytes(*length) as usize => {
            Ok(body.slice(5..))
        }
        _ => Err(ClientError::Strange),
    }
}

fn headers(settings: &Settings) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        let wrong = || ClientError::Header { name: name.clone() };
        let key = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
        let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| wrong())?;
        // It may be a secret.
        value.set_sensitive(true);
        headers.append(key, value);
    }
    let kind = match settings.protocol {
        Protocol::Grpc => {
            headers.insert(TE, HeaderValue::from_static("trailers"));
            "application/grpc"
        }
        Protocol::Http => "application/x-protobuf",
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let agent = concat!("berth/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    Ok(headers)
}

fn tls(settings: &Settings) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    let is_plain = settings.endpoint.scheme_str() == Some("http");
    match &settings.authorities {
        // Those of the system are read where they are needed alone.
        _ if is_plain => {}
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            let pem = std::fs::read(path)
                .map_err(|source| ClientError::Authorities { path: path.clone(), source })?;
            let found: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
            if roots.add_parsable_certificates(found).0 == 0 {
                return Err(ClientError::NoAuthority { path: path.clone() });
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3");
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
