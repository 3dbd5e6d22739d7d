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

fn outer(name: &str) -> Outer {
    Outer(name.into(), std::io::Error::other("refused"))
}

#[test]
fn a_status_has_the_chain_and_the_hint() {
    let status = status(&outer("a.io/x"));
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "pull a.io/x: refused (hint: is the registry up?)");
}

#[test]
fn an_unreachable_registry_is_named_as_the_kubelet_reads_it() {
    assert!(pull_status(&outer("a.io/x")).message().starts_with("RegistryUnavailable: pull a.io/x"));
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let status = status(&outer(&"ü".repeat(5000)));
    assert!(status.message().len() <= MAX_MESSAGE + 4);
    assert!(status.message().ends_with("ü ..."));
}
