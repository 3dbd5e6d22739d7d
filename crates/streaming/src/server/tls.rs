//! TLS of the server.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsFiles;
use crate::StreamingError;

/// What TLS is spoken with.
pub(super) fn config(files: &TlsFiles) -> Result<Arc<ServerConfig>, StreamingError> {
    let TlsFiles { certificate, key } = files;
    let unusable = |path: &Path, problem: &dyn std::fmt::Display| StreamingError::Tls {
        path: path.to_owned(),
        problem: problem.to_string(),
    };
    let read = |path: &Path| std::fs::read(path).map_err(|e| unusable(path, &e));
    let chain = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| unusable(certificate, &e))?;
    if chain.is_empty() {
        return Err(unusable(certificate, &"there is no certificate in it"));
    }
    let private = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|_| unusable(key, &"there is no private key in it"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|e| unusable(key, &e))?;
    // An upgrade is of HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
