//! Public keys of sigstore's signatures. The hash is always SHA-256, as in its tools.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use rustls_pki_types::pem::SectionKind;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::pem;

const EC: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const RSA: &str = "1.2.840.113549.1.1.1";
const ED: &str = "1.3.101.112";

/// A key.
#[derive(Debug)]
pub(super) struct PublicKey {
    der: Vec<u8>,
    bits: Vec<u8>,
    algorithm: &'static dyn VerificationAlgorithm,
    is_ecdsa: bool,
}

impl PublicKey {
    /// One key, as `openssl pkey -pubout` and cosign write it.
    pub(super) fn from_pem(text: &[u8]) -> Result<Self, String> {
        Self::from_der(&pem::one(text, SectionKind::PublicKey)?)
    }

    pub(super) fn from_der(der: &[u8]) -> Result<Self, String> {
        let (rest, key) =
            SubjectPublicKeyInfo::from_der(der).map_err(|e| format!("it is no public key: {e}"))?;
        if !rest.is_empty() {
            return Err("there is something behind the public key".to_owned());
        }
        Self::of(&key)
    }

    pub(super) fn of(key: &SubjectPublicKeyInfo<'_>) -> Result<Self, String> {
        let kind = key.algorithm.algorithm.to_id_string();
        let curve =
            key.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok()).map(|oid| oid.to_id_string());
        let algorithm: &'static dyn VerificationAlgorithm = match (kind.as_str(), curve.as_deref()) {
            (EC, Some(P256)) => &ECDSA_P256_SHA256_ASN1,
            (EC, Some(P384)) => &ECDSA_P384_SHA256_ASN1,
            (RSA, _) => &RSA_PKCS1_2048_8192_SHA256,
            (ED, _) => &ED25519,
            (other, _) => {
                let curve = curve.as_deref().unwrap_or("none");
                return Err(format!("keys of the algorithm {other} with curve {curve} are not supported"));
            }
        };
        let bits = key.subject_public_key.data.to_vec();
        Ok(Self { der: key.raw.to_vec(), bits, algorithm, is_ecdsa: kind == EC })
    }

    /// As it came.
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(super) fn is_ecdsa(&self) -> bool {
        self.is_ecdsa
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm, &self.bits).verify(message, signature).is_ok()
    }
}
