//! TLS under a certificate authority made for one registry.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{Error, Result};

/// The acceptor, and the authority's certificate as PEM.
pub(super) fn acceptor() -> Result<(TlsAcceptor, String)> {
    let wrong = |e: &dyn std::fmt::Display| Error::Other(format!("make a certificate: {e}"));
    let key = KeyPair::generate().map_err(|e| wrong(&e))?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "Berth test authority");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = params.self_signed(&key).map_err(|e| wrong(&e))?;
    let issuer = Issuer::new(params, key);

    let leaf_key = KeyPair::generate().map_err(|e| wrong(&e))?;
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "registry.test".to_owned()];
    let leaf = CertificateParams::new(names)
        .and_then(|params| params.signed_by(&leaf_key, &issuer))
        .map_err(|e| wrong(&e))?;

    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], private))
        .map_err(|e| wrong(&e))?;
    Ok((TlsAcceptor::from(Arc::new(config)), authority.pem()))
}
