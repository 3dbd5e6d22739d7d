use super::*;

#[derive(Debug, thiserror::Error)]
#[error("pull {0}")]
struct Outer(String, #[source] std::io::Error);

impl Classify for Outer {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }
    fn hint(&self) -> Option<String> {
        Some("is the registry up?".into())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a.io/x is refused")]
struct Untrusted;

impl Classify for Untrusted {
    fn kind(&self) -> Kind {
        Kind::Untrusted
    }
}

fn outer(name: &str) -> Outer {
    Outer(name.into(), std::io::Error::other("refused"))
}

#[test]
fn a_status_has_the_chain_and_the_hint() {
    let status = status(&outer("a.io/x"));
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "pull a.io/x: refused (hint: is the registry up?)");
}

/// What a kubelet's client makes of a status: the text alone for Unknown, else the code's name before it.
fn as_the_kubelet_reads_it(status: &Status) -> String {
    match status.code() {
        Code::Unknown => status.message().to_owned(),
        code => format!("rpc error: code = {code:?} desc = {}", status.message()),
    }
}

#[test]
fn words_that_the_kubelet_acts_on_begin_what_it_reads() {
    let registry = as_the_kubelet_reads_it(&pull_status(&outer("a.io/x")));
    assert!(registry.starts_with("RegistryUnavailable: pull a.io/x"), "{registry}");
    let refused = as_the_kubelet_reads_it(&pull_status(&Untrusted));
    assert_eq!(refused, "SignatureValidationFailed: a.io/x is refused");
    let refused = EngineError::failed("use the image", Untrusted);
    let refused = as_the_kubelet_reads_it(&create_status(&refused));
    assert!(refused.starts_with("SignatureValidationFailed: use the image"), "{refused}");
    for (word, want) in [
        (KubeletError::RroUnsupported, "RROUnsupported: "),
        (KubeletError::ImageVolumeMountFailed, "ImageVolumeMountFailed: "),
    ] {
        let read = as_the_kubelet_reads_it(&FieldError::named(word, "a.b", "leave it out").into());
        assert_eq!(read, format!("{want}a.b is not supported: leave it out"));
    }
}

#[test]
fn what_is_not_there_is_said_to_be_not_found() {
    let status = not_found("container", "ab");
    assert_eq!((status.code(), status.message()), (Code::NotFound, "container \"ab\" not found"));
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let status = status(&outer(&"ü".repeat(5000)));
    assert!(status.message().len() <= MAX_MESSAGE + 4);
    assert!(status.message().ends_with("ü ..."));
}
