//! A connection for one request, with TLS or without.

use std::io;
use std::sync::{Arc, OnceLock};

use berth_types::error::chain;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::url::Url;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("connect to {0}: {1}")]
    Connect(String, io::Error),
    #[error("TLS with {0}: {1}")]
    Tls(String, io::Error),
    #[error("the server speaks no TLS")]
    Plain,
    #[error("{}", chain(.0))]
    Request(hyper::Error),
    #[error("{0:?} is not a host")]
    Host(String),
    #[error("{0:?} is not a path")]
    Path(String),
    #[error("it redirects to {0:?}, which is not a URL of http")]
    Redirect(String),
    #[error("stopped after 10 redirects")]
    TooMany,
}

type Sender = SendRequest<Empty<Bytes>>;

/// Connects. The task that is returned keeps the connection going, for as long as it is held.
pub(super) async fn connect(url: &Url) -> Result<(Sender, JoinSet<()>), Refusal> {
    let refused = |e| Refusal::Connect(url.authority(), e);
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(refused)?;
    if !url.tls {
        return begin(stream).await;
    }
    let name = ServerName::try_from(url.host.clone()).map_err(|_| Refusal::Host(url.host.clone()))?;
    let stream = TlsConnector::from(config())
        .connect(name, stream)
        .await
        .map_err(|e| if speaks_no_tls(&e) { Refusal::Plain } else { Refusal::Tls(url.authority(), e) })?;
    begin(stream).await
}

async fn begin<S>(stream: S) -> Result<(Sender, JoinSet<()>), Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(Refusal::Request)?;
    let mut task = JoinSet::new();
    task.spawn(async move {
        // The request fails with the same error.
        connection.await.ok();
    });
    Ok((sender, task))
}

fn speaks_no_tls(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    matches!(inner, Some(TlsError::InvalidMessage(_)))
}

fn config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let made = CONFIG.get_or_init(|| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            Arc::new(Anyone { schemes: provider.signature_verification_algorithms.supported_schemes() });
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has what TLS 1.2 and 1.3 need")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Arc::new(config)
    });
    made.clone()
}

/// Takes every certificate, as a kubelet's probes do: a probe asks whether there is an answer, not of whom.
/// The handshake's signatures are not looked at either, as they are of registries with `skip_verify`: that needs certificates of
/// X.509 version 3, which a server that is only probed need not have.
#[derive(Debug)]
struct Anyone {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
