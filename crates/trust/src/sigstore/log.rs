//! Rekor's promise that an entry is in its log ("signed entry timestamp"), which proves when there was a signature. It counts for the
//! entry alone that it is about: each part of that is compared.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::time::{Duration, SystemTime};

use ring::digest::{SHA256, digest};
use rustls_pki_types::pem::SectionKind;

use super::pem;
use super::public::PublicKey;
use crate::json::{self, Fields, Problem, Value};

/// The largest number that JSON's canonical form writes as it is.
const MAX_NUMBER: i64 = 1 << 53;

/// What an entry has to be about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    /// The key or certificate, DER.
    pub(super) signer: &'a [u8],
    pub(super) signature: &'a [u8],
    pub(super) payload: &'a [u8],
}

/// The time of the promise, if one of the keys made it about this entry.
pub(super) fn verify(keys: &[PublicKey], promise: &str, entry: &Entry<'_>) -> Result<SystemTime, String> {
    let failed = |problem: Problem| format!("the log's promise: {problem}");
    let (signed, promise) = json::parse(promise.as_bytes()).and_then(read).map_err(failed)?;
    if !keys.iter().any(|key| key.verify(promise.canonical().as_bytes(), &signed)) {
        return Err("the log's promise is not signed by the log".to_owned());
    }
    let body = json::parse(&promise.body).and_then(record).map_err(failed)?;
    let signer =
        pem::one(&body.signer, body.kind).map_err(|e| format!("the log's promise: publicKey: {e}"))?;
    if signer != entry.signer {
        return Err("the log's promise is about another key or certificate".to_owned());
    }
    if body.signature != entry.signature {
        return Err("the log's promise is about another signature".to_owned());
    }
    let sum: String =
        digest(&SHA256, entry.payload).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    if !body.sum.eq_ignore_ascii_case(&sum) {
        return Err("the log's promise is about another payload".to_owned());
    }
    let seconds = u64::try_from(promise.time).map_err(|_| "the log's promise is before 1970".to_owned())?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

struct Promise {
    text: String,
    body: Vec<u8>,
    time: i64,
    index: i64,
    log: String,
}

impl Promise {
    /// What is signed: RFC 8785's form, which for these fields is this one.
    fn canonical(&self) -> String {
        let Self { text, time, log, index, .. } = self;
        format!(r#"{{"body":"{text}","integratedTime":{time},"logID":"{log}","logIndex":{index}}}"#)
    }
}

fn read(value: Value) -> Result<(Vec<u8>, Promise), Problem> {
    let mut fields = Fields::of(value, "")?;
    let signed = fields.need("SignedEntryTimestamp")?.bytes("SignedEntryTimestamp")?;
    let mut payload = Fields::of(fields.need("Payload")?, "Payload")?;
    fields.end()?;
    let text = payload.need_text("body")?;
    // Also what makes the canonical form right: nothing in it has to be escaped.
    let body = Value::Text(text.clone()).bytes("Payload.body")?;
    let log = payload.need_text("logID")?;
    if !log.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Problem::new("Payload.logID", "it is not hexadecimal"));
    }
    let (time, index) = (payload.number("integratedTime")?, payload.number("logIndex")?);
    if [time, index].iter().any(|number| !(0..=MAX_NUMBER).contains(number)) {
        return Err(Problem::new("Payload", "a number is out of range"));
    }
    payload.end()?;
    Ok((signed, Promise { text, body, time, index, log }))
}

struct Record {
    sum: String,
    signature: Vec<u8>,
    signer: Vec<u8>,
    kind: SectionKind,
}

/// An entry of the kind `hashedrekord`.
fn record(value: Value) -> Result<Record, Problem> {
    let mut fields = Fields::of(value, "body")?;
    for (key, wanted) in [("kind", "hashedrekord"), ("apiVersion", "0.0.1")] {
        let found = fields.need_text(key)?;
        if found != wanted {
            let found: String = found.chars().take(64).collect();
            return Err(Problem::new(format!("body.{key}"), format!("{found:?} is not {wanted:?}")));
        }
    }
    let mut spec = Fields::of(fields.need("spec")?, "body.spec")?;
    fields.end()?;
    let mut data = Fields::of(spec.need("data")?, "body.spec.data")?;
    let mut signature = Fields::of(spec.need("signature")?, "body.spec.signature")?;
    spec.end()?;
    let mut hash = Fields::of(data.need("hash")?, "body.spec.data.hash")?;
    data.end()?;
    let algorithm = hash.need_text("algorithm")?;
    if algorithm != "sha256" {
        return Err(Problem::new("body.spec.data.hash.algorithm", "it is not sha256"));
    }
    let sum = hash.need_text("value")?;
    hash.end()?;
    let content = signature.need("content")?.bytes("body.spec.signature.content")?;
    let mut key = Fields::of(signature.need("publicKey")?, "body.spec.signature.publicKey")?;
    signature.end()?;
    let signer = key.need_text("content")?;
    key.end()?;
    let signer = STANDARD
        .decode(signer)
        .map_err(|e| Problem::new("body.spec.signature.publicKey.content", e.to_string()))?;
    let is_certificate = signer.starts_with(b"-----BEGIN CERTIFICATE-----");
    let kind = if is_certificate { SectionKind::Certificate } else { SectionKind::PublicKey };
    Ok(Record { sum, signature: content, signer, kind })
}
