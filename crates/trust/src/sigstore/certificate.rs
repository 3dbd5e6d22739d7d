//! Certificates: who vouches for a key, until when, and for whom. webpki finds the way to a trusted root; what sigstore puts into
//! certificates beside that is read here.

use std::time::SystemTime;

use rustls_pki_types::pem::SectionKind;
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::pem;
use super::public::PublicKey;

/// The purpose of signing code, as an object identifier's content.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
/// Fulcio's issuer: as plain text, and as a string of ASN.1.
const ISSUER: &str = "1.3.6.1.4.1.57264.1.1";
const ISSUER_V2: &str = "1.3.6.1.4.1.57264.1.8";
/// The most certificates between a leaf and a root.
const MAX_CHAIN: usize = 8;

/// Roots, and certificates on the way to them.
#[derive(Debug)]
pub(super) struct Authority {
    roots: Vec<Vec<u8>>,
    intermediates: Vec<Vec<u8>>,
}

/// The one certificate of a text.
pub(super) fn leaf(text: &str) -> Result<Vec<u8>, String> {
    pem::one(text.as_bytes(), SectionKind::Certificate).map_err(|e| format!("the certificate: {e}"))
}

impl Authority {
    pub(super) fn read(roots: &[Vec<u8>], intermediates: &[Vec<u8>]) -> Result<Self, String> {
        let all = |texts: &[Vec<u8>]| -> Result<Vec<Vec<u8>>, String> {
            let texts = texts.iter().map(|text| pem::all(text, SectionKind::Certificate));
            Ok(texts.collect::<Result<Vec<_>, _>>()?.concat())
        };
        let (roots, intermediates) = (all(roots)?, all(intermediates)?);
        for der in roots.iter().chain(&intermediates) {
            parse(der)?;
        }
        Ok(Self { roots, intermediates })
    }

    /// The key of a certificate that Fulcio gave this person at that time, on this issuer's word.
    pub(super) fn fulcio(
        &self,
        leaf: &[u8],
        chain: &str,
        time: SystemTime,
        issuer: &str,
        email: &str,
    ) -> Result<PublicKey, String> {
        self.verify(leaf, chain, time)?;
        let certificate = parse(leaf)?;
        let found = issuer_of(&certificate)?;
        if found != issuer {
            return Err(format!("the certificate is on the word of {found:?}, not of {issuer:?}"));
        }
        check_email(&certificate, email)?;
        PublicKey::of(&certificate.tbs_certificate.subject_pki)
    }

    /// The key of a certificate that is valid at this time, for a person or a host or both.
    pub(super) fn pki(
        &self,
        leaf: &[u8],
        chain: &str,
        now: SystemTime,
        email: Option<&str>,
        hostname: Option<&str>,
    ) -> Result<PublicKey, String> {
        self.verify(leaf, chain, now)?;
        let certificate = parse(leaf)?;
        email.map(|email| check_email(&certificate, email)).transpose()?;
        if let Some(hostname) = hostname {
            let der = CertificateDer::from(leaf);
            let entity = EndEntityCert::try_from(&der).map_err(|e| format!("the certificate: {e}"))?;
            let name =
                ServerName::try_from(hostname).map_err(|_| format!("{hostname:?} is no host's name"))?;
            let fits = entity.verify_is_valid_for_subject_name(&name);
            fits.map_err(|_| format!("the certificate is not for {hostname}"))?;
        }
        PublicKey::of(&certificate.tbs_certificate.subject_pki)
    }

    /// Whether a root vouches for a leaf at this time, for signing.
    fn verify(&self, leaf: &[u8], chain: &str, time: SystemTime) -> Result<(), String> {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|e| e.to_string())?;
        let seconds = i64::try_from(since.as_secs()).map_err(|e| e.to_string())?;
        let certificate = parse(leaf)?;
        let purposes = certificate.extended_key_usage().map_err(|e| format!("the certificate: {e}"))?;
        if !purposes.is_some_and(|purposes| purposes.value.code_signing) {
            return Err("the certificate is not for signing code".to_owned());
        }
        let mut between = self.intermediates.clone();
        if !chain.trim().is_empty() {
            let chain = pem::all(chain.as_bytes(), SectionKind::Certificate)
                .map_err(|e| format!("the chain: {e}"))?;
            between.extend(chain);
        }
        if between.len() > self.intermediates.len() + MAX_CHAIN {
            return Err(format!("the chain has more than {MAX_CHAIN} certificates"));
        }
        // webpki takes a root for trusted whatever its dates are.
        let mut anchors: Vec<TrustAnchor<'static>> = Vec::new();
        for root in &self.roots {
            let parsed = parse(root)?;
            let validity = &parsed.validity;
            if (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&seconds) {
                let der = CertificateDer::from(root.as_slice());
                let anchor = anchor_from_trusted_cert(&der).map_err(|e| format!("a root: {e}"))?;
                anchors.push(anchor.to_owned());
            }
        }
        let der = CertificateDer::from(leaf);
        let entity = EndEntityCert::try_from(&der).map_err(|e| format!("the certificate: {e}"))?;
        let between: Vec<CertificateDer<'_>> = between.iter().map(|der| der.as_slice().into()).collect();
        let usage = KeyUsage::required_if_present(CODE_SIGNING);
        let time = UnixTime::since_unix_epoch(since);
        let path =
            entity.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &between, time, usage, None, None);
        path.map(|_| ())
            .map_err(|e| format!("no root vouches for the certificate at {}: {e}", since.as_secs()))
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err("there is something behind a certificate".to_owned()),
        Err(error) => Err(format!("a certificate cannot be read: {error}")),
    }
}

fn check_email(certificate: &X509Certificate<'_>, email: &str) -> Result<(), String> {
    let names = certificate.subject_alternative_name().map_err(|e| format!("the certificate: {e}"))?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let emails = names.iter().filter_map(|name| match name {
        GeneralName::RFC822Name(name) => Some(*name),
        _ => None,
    });
    let emails: Vec<&str> = emails.collect();
    match emails.contains(&email) {
        true => Ok(()),
        false => Err(format!("the certificate is for {emails:?}, not for {email:?}")),
    }
}

/// Who vouched for the person to Fulcio. It says so once, or twice the same.
fn issuer_of(certificate: &X509Certificate<'_>) -> Result<String, String> {
    let values = |oid: &str| {
        let extensions = certificate.extensions().iter();
        extensions.filter(|e| e.oid.to_id_string() == oid).map(|e| e.value).collect::<Vec<_>>()
    };
    let text =
        |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| "the issuer is no text".to_owned());
    let plain = match values(ISSUER)[..] {
        [] => None,
        [value] => Some(text(value)?),
        _ => return Err("the certificate names its issuer twice".to_owned()),
    };
    let typed = match values(ISSUER_V2)[..] {
        [] => None,
        [value] => Some(text(string(value).ok_or("the issuer is no string")?)?),
        _ => return Err("the certificate names its issuer twice".to_owned()),
    };
    match (plain, typed) {
        (Some(plain), Some(typed)) if plain != typed => Err("the certificate names two issuers".to_owned()),
        (Some(issuer), _) | (None, Some(issuer)) => Ok(issuer),
        (None, None) => Err("the certificate names no issuer".to_owned()),
    }
}

/// A UTF-8 string of ASN.1, with nothing behind it.
fn string(der: &[u8]) -> Option<&[u8]> {
    match der {
        [0x0c, length @ 0..=0x7f, text @ ..] if text.len() == usize::from(*length) => Some(text),
        [0x0c, 0x81, length @ 0x80..=0xff, text @ ..] if text.len() == usize::from(*length) => Some(text),
        _ => None,
    }
}
