//! Signatures as sigstore makes them: a payload, and in annotations its signature, the certificate of whoever made it, and
//! the log's word for when. Only what is in the policy is trusted: each annotation has to be proved by it.
//!
//! ```text
//! keys      payload <- a key of the policy                    [and the log's promise, if the policy names its key]
//! fulcio    payload <- certificate <- authority, at the time of the log's promise about this payload, signature, certificate
//! pki       payload <- certificate <- authority, now
//! ```

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::identity::Identity;
use crate::payload::{Claim, SIGSTORE};
use crate::policy::{Keys, Signer};
use crate::rule::Image;
use certificate::Authority;
use public::PublicKey;

mod certificate;
mod log;
mod pem;
mod public;

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const LOG: &str = "dev.sigstore.cosign/bundle";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";

/// A requirement, with its keys read.
#[derive(Debug)]
pub(crate) struct Verifier<'a> {
    trusted: Trusted<'a>,
    log: Option<Vec<PublicKey>>,
    identity: &'a Identity,
}

#[derive(Debug)]
enum Trusted<'a> {
    Keys(Vec<PublicKey>),
    Fulcio { authority: Authority, issuer: &'a str, email: &'a str },
    Pki { authority: Authority, email: Option<&'a str>, hostname: Option<&'a str> },
}

impl<'a> Verifier<'a> {
    /// Reads keys and certificates. One that cannot be read is an error, also where another would do: it would be found out when
    /// it is needed.
    pub(crate) fn new(
        signer: &'a Signer,
        log: Option<&Keys>,
        identity: &'a Identity,
    ) -> Result<Self, String> {
        let trusted = match signer {
            Signer::Keys(keys) => Trusted::Keys(public_keys(keys)?),
            Signer::Fulcio { authority, issuer, email } => {
                Trusted::Fulcio { authority: Authority::read(&authority.read()?, &[])?, issuer, email }
            }
            Signer::Pki { roots, intermediates, email, hostname } => {
                let intermediates = intermediates.as_ref().map(Keys::read).transpose()?.unwrap_or_default();
                let authority = Authority::read(&roots.read()?, &intermediates)?;
                Trusted::Pki { authority, email: email.as_deref(), hostname: hostname.as_deref() }
            }
        };
        let log = log.map(public_keys).transpose()?;
        if log.iter().flatten().any(|key| !key.is_ecdsa()) {
            return Err("a key of Rekor is none of ECDSA".to_owned());
        }
        Ok(Self { trusted, log, identity })
    }

    /// Whether a signature is one for the image.
    pub(crate) fn check(
        &self,
        image: Image<'_>,
        payload: &[u8],
        annotations: &BTreeMap<String, String>,
        now: SystemTime,
    ) -> Result<(), String> {
        let need =
            |name: &str| annotations.get(name).ok_or_else(|| format!("the annotation {name} is missing"));
        // Signed by hand it may have lines.
        let signature: Vec<u8> = need(SIGNATURE)?.bytes().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
        let signature = STANDARD.decode(signature).map_err(|e| format!("{SIGNATURE}: {e}"))?;
        let promise = |signer: &[u8]| {
            let keys = self.log.as_deref().ok_or("the policy has no key of the log")?;
            log::verify(keys, need(LOG)?, &log::Entry { signer, signature: &signature, payload })
        };
        let chain = || annotations.get(CHAIN).map(String::as_str).unwrap_or_default();
        let found;
        let keys: &[PublicKey] = match &self.trusted {
            Trusted::Keys(keys) => match self.log {
                None => keys,
                Some(_) => {
                    let mut reasons = String::new();
                    let proved = keys
                        .iter()
                        .position(|key| promise(key.der()).map_err(|reason| reasons = reason).is_ok());
                    std::slice::from_ref(&keys[proved.ok_or(reasons)?])
                }
            },
            Trusted::Fulcio { authority, issuer, email } => {
                let leaf = certificate::leaf(need(CERTIFICATE)?)?;
                let time = promise(&leaf)?;
                found = authority.fulcio(&leaf, chain(), time, issuer, email)?;
                std::slice::from_ref(&found)
            }
            Trusted::Pki { authority, email, hostname } => {
                let leaf = certificate::leaf(need(CERTIFICATE)?)?;
                found = authority.pki(&leaf, chain(), now, *email, *hostname)?;
                std::slice::from_ref(&found)
            }
        };
        if !keys.iter().any(|key| key.verify(payload, &signature)) {
            return Err("it fits none of the keys".to_owned());
        }
        Claim::read(payload, SIGSTORE)?.check(image, self.identity)
    }
}

fn public_keys(keys: &Keys) -> Result<Vec<PublicKey>, String> {
    let read = keys.read()?.iter().map(|key| PublicKey::from_pem(key)).collect::<Result<_, _>>();
    read.map_err(|error| format!("{keys}: {error}"))
}

#[cfg(test)]
mod tests;
