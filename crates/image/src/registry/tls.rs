//! TLS of one host: the system's authorities and the host's own, client certificates, and
//! `skip_verify`.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::HostError;
use crate::hosts::{ClientPem, Pem, TlsSettings, Verify};

/// The system's authorities; those that cannot be read are skipped, as every client does.
pub(super) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "system certificate authorities");
    }
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    if ignored > 0 {
        tracing::debug!(ignored, "system certificate authorities that cannot be parsed");
    }
    roots
}

/// The configuration for a host with these settings.
pub(super) fn config(settings: &TlsSettings, system: &RootCertStore) -> Result<ClientConfig, HostError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3");
    let builder = match settings.verify {
        Verify::Skip => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny { provider }))
        }
        Verify::Yes => builder.with_root_certificates(roots(&settings.authorities, system)?),
    };
    // A TLS client shows one certificate; further ones are for other hosts of the same file.
    match settings.clients.first() {
        None => Ok(builder.with_no_client_auth()),
        Some(client) => {
            let (chain, key) = client_identity(client)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| unusable(&client.certificate, &e.to_string()))
        }
    }
}

fn unusable(pem: &Pem, problem: &str) -> HostError {
    HostError::Certificates { path: pem.path.display().to_string(), problem: problem.to_owned() }
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, HostError> {
    let all = CertificateDer::pem_slice_iter(&pem.text).collect::<Result<Vec<_>, _>>();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(unusable(pem, "there is no certificate in it")),
        Err(e) => Err(unusable(pem, &e.to_string())),
    }
}

fn roots(own: &[Pem], system: &RootCertStore) -> Result<RootCertStore, HostError> {
    let mut roots = system.clone();
    for pem in own {
        // One unusable certificate in a bundle does not affect the others.
        let (added, ignored) = roots.add_parsable_certificates(certificates(pem)?);
        if added == 0 {
            return Err(unusable(pem, "none of its certificates can be an authority"));
        }
        if ignored > 0 {
            tracing::warn!(path = %pem.path.display(), ignored, "certificate authorities that cannot be parsed");
        }
    }
    Ok(roots)
}

fn client_identity(
    client: &ClientPem,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), HostError> {
    let key = PrivateKeyDer::from_pem_slice(&client.key.text)
        .map_err(|_| unusable(&client.key, "there is no private key in it"))?;
    Ok((certificates(&client.certificate)?, key))
}

/// Accepts any certificate (`skip_verify`); the handshake's signatures are still checked, so the
/// other end does hold the key of what it shows.
#[derive(Debug)]
struct AcceptAny {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
