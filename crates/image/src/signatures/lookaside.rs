//! Signatures in a directory beside the registry, of files or by HTTP: `REPOSITORY@sha256=<hex>/signature-<n>`, counted from 1 to
//! the first that is not there.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_trust::Signature;
use berth_types::{Classify as _, Digest, Kind};
use serde::Deserialize;

use super::{MAX_BYTES, MAX_SIGNATURES, SignaturesError};
use crate::registry::{Registry, get};

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// The signatures of a manifest.
pub(super) async fn fetch(
    registry: &Registry,
    base: &str,
    manifest: &Digest,
) -> Result<Vec<Signature>, SignaturesError> {
    let mut signatures = Vec::new();
    for number in 1..=MAX_SIGNATURES {
        let url = format!("{base}@sha256={}/signature-{number}", manifest.hex());
        let Some(bytes) = one(registry, &url).await? else { return Ok(signatures) };
        let signature = read(bytes).map_err(|why| SignaturesError::Malformed { place: url, why })?;
        signatures.extend(signature);
    }
    let why = format!("{MAX_SIGNATURES} signatures and more");
    Err(SignaturesError::Malformed { place: base.to_owned(), why })
}

async fn one(registry: &Registry, url: &str) -> Result<Option<Vec<u8>>, SignaturesError> {
    let failed = |why: String, kind| SignaturesError::Lookaside { url: url.to_owned(), why, kind };
    if let Some(path) = url.strip_prefix("file://") {
        let path = PathBuf::from(path);
        let read = tokio::task::spawn_blocking(move || berth_sys::fs::read_regular(&path, MAX_BYTES)).await;
        return match read {
            Ok(Ok(bytes)) => Ok(Some(bytes)),
            Ok(Err(error)) if error.kind() == ErrorKind::NotFound => Ok(None),
            Ok(Err(error)) => Err(failed(error.to_string(), Kind::Internal)),
            Err(error) => Err(failed(error.to_string(), Kind::Cancelled)),
        };
    }
    let got = get::bounded(registry, url, MAX_BYTES).await;
    got.map(|body| body.map(|body| body.to_vec())).map_err(|error| {
        let kind = match error.kind() {
            Kind::Denied | Kind::NotFound => Kind::Precondition,
            kind => kind,
        };
        failed(berth_types::error::chain(&error), kind)
    })
}

/// A file is an OpenPGP message, whose first bit is set, or says what it is in a line after a zero. What another kind of signature
/// is, is none that a policy could ask for.
fn read(bytes: Vec<u8>) -> Result<Option<Signature>, String> {
    match bytes.first() {
        None => return Err("it is empty".to_owned()),
        Some(first) if first & 0x80 != 0 => return Ok(Some(Signature::Simple(bytes))),
        Some(0) => {}
        Some(_) => return Err("it is no signature: the first byte is neither OpenPGP's nor 0".to_owned()),
    }
    let end = bytes.iter().take(64).position(|byte| *byte == b'\n').ok_or("it does not say what it is")?;
    let body = &bytes[end + 1..];
    match &bytes[1..end] {
        b"simple-signing" => Ok(Some(Signature::Simple(body.to_vec()))),
        b"sigstore-json" => {
            #[derive(Deserialize)]
            #[serde(rename_all = "camelCase", deny_unknown_fields)]
            struct File {
                mime_type: String,
                payload: String,
                #[serde(default)]
                annotations: BTreeMap<String, String>,
            }
            let file: File = serde_json::from_slice(body).map_err(|e| e.to_string())?;
            let payload = STANDARD.decode(file.payload).map_err(|e| format!("payload: {e}"))?;
            let signature = Signature::Sigstore { payload, annotations: file.annotations };
            Ok((file.mime_type == PAYLOAD).then_some(signature))
        }
        _ => Ok(None),
    }
}
