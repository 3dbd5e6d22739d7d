use super::{certificate, log, pem};
use rustls_pki_types::pem::SectionKind;

proptest::proptest! {
    /// Nothing that an annotation holds makes reading it panic.
    #[test]
    fn any_annotation_is_read_or_refused(text in ".{0,300}", bytes in proptest::collection::vec(0u8.., 0..300)) {
        let entry = log::Entry { signer: &bytes, signature: &bytes, payload: &bytes };
        drop(log::verify(&[], &text, &entry));
        drop(certificate::leaf(&text));
        drop(pem::all(&bytes, SectionKind::Certificate));
        drop(super::PublicKey::from_der(&bytes));
    }
}
