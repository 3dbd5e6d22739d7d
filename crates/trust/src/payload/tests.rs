use super::{Claim, SIGSTORE, SIMPLE};

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn text(kind: &str, optional: &str, more: &str) -> String {
    format!(
        r#"{{"critical":{{"type":"{kind}","image":{{"docker-manifest-digest":"{DIGEST}"}},"identity":{{"docker-reference":"a.io/b:1"}}{more}}},"optional":{optional}}}"#
    )
}

#[test]
fn the_form_is_read_to_the_letter() {
    let read = |text: &str, kind| Claim::read(text.as_bytes(), kind);
    let claim = Claim { digest: DIGEST.to_owned(), reference: "a.io/b:1".to_owned() };
    assert_eq!(read(&text(SIMPLE, r#"{"creator":"x","timestamp":1}"#, ""), SIMPLE).unwrap(), claim);
    assert_eq!(read(&text(SIGSTORE, "null", ""), SIGSTORE).unwrap(), claim);
    for (text, kind, words) in [
        // One kind does not pass for the other.
        (text(SIMPLE, "{}", ""), SIGSTORE, "critical.type"),
        (text(SIGSTORE, "{}", ""), SIMPLE, "critical.type"),
        (text(SIMPLE, "null", ""), SIMPLE, "optional: expected an object"),
        (text(SIMPLE, "1", ""), SIMPLE, "optional: expected an object"),
        (text(SIMPLE, "{}", r#","image":{}"#), SIMPLE, "\"image\" is there twice"),
        (text(SIMPLE, "{}", r#","more":1"#), SIMPLE, "\"more\" is unknown"),
        (text(SIMPLE, r#"{},"x":1"#, ""), SIMPLE, "\"x\" is unknown"),
        (r#"{"critical":{}}"#.to_owned(), SIMPLE, "is missing"),
        (format!("{}x", text(SIMPLE, "{}", "")), SIMPLE, "trailing"),
        (String::new(), SIMPLE, "EOF"),
    ] {
        let error = read(&text, kind).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}
