//! PEM: text around DER.

use rustls_pki_types::pem::{self, PemObject as _, SectionKind};

/// The most sections of one text.
const MAX_SECTIONS: usize = 64;

/// All sections of a kind; a text with others is refused.
pub(super) fn all(text: &[u8], kind: SectionKind) -> Result<Vec<Vec<u8>>, String> {
    let mut found = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (what, der) = section.map_err(|e| match e {
            pem::Error::Base64Decode(why) => format!("it is not PEM: {why}"),
            other => format!("it is not PEM: {other:?}"),
        })?;
        if what != kind {
            return Err(format!("it has a {} where {} is needed", name(what), name(kind)));
        }
        if found.len() == MAX_SECTIONS {
            return Err(format!("it has more than {MAX_SECTIONS} parts"));
        }
        found.push(der);
    }
    match found.is_empty() {
        true => Err(format!("it has no {} in PEM", name(kind))),
        false => Ok(found),
    }
}

/// The only section.
pub(super) fn one(text: &[u8], kind: SectionKind) -> Result<Vec<u8>, String> {
    let mut found = all(text, kind)?;
    match (found.pop(), found.is_empty()) {
        (Some(der), true) => Ok(der),
        _ => Err(format!("it has more than one {}", name(kind))),
    }
}

fn name(kind: SectionKind) -> &'static str {
    match kind {
        SectionKind::PublicKey => "PUBLIC KEY",
        SectionKind::Certificate => "CERTIFICATE",
        _ => "section of another kind",
    }
}
