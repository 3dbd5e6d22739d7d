use super::*;
use proptest::prelude::*;

fn full(text: &str) -> ImageRef {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn parts_of_full_references() {
    let hex = "a".repeat(64);
    let digest = format!("sha256:{hex}");
    // reference, host, path, tag, digest
    let cases: &[(&str, &str, &str, Option<&str>, bool)] = &[
        ("registry.k8s.io/pause:3.9", "registry.k8s.io", "pause", Some("3.9"), false),
        ("registry.k8s.io/pause", "registry.k8s.io", "pause", Some("latest"), false),
        ("127.0.0.1:5000/a/b-c/d_e:T.1", "127.0.0.1:5000", "a/b-c/d_e", Some("T.1"), false),
        ("localhost/x", "localhost", "x", Some("latest"), false),
        ("LOCAL/x", "LOCAL", "x", Some("latest"), false),
        ("[::1]:5000/x:1", "[::1]:5000", "x", Some("1"), false),
        ("quay.io/x/y@D", "quay.io", "x/y", None, true),
        ("quay.io/x/y:1@D", "quay.io", "x/y", Some("1"), true),
    ];
    for (text, host, path, tag, has_digest) in cases {
        let r = full(&text.replace("@D", &format!("@{digest}")));
        assert_eq!(
            (r.host(), r.path(), r.tag(), r.digest().is_some()),
            (*host, *path, *tag, *has_digest),
            "{text}"
        );
    }
}

#[test]
fn the_digest_is_what_is_asked_for() {
    let digest = format!("sha256:{}", "b".repeat(64));
    assert_eq!(full(&format!("a.io/x:1@{digest}")).selector(), digest);
    assert_eq!(full("a.io/x:1").selector(), "1");
    assert_eq!(full("a.io/x").selector(), "latest");
}

#[test]
fn short_names_are_short() {
    for text in ["busybox", "busybox:1.36", "library/busybox", "a/b/c:latest"] {
        assert!(matches!(ImageRef::parse(text), Ok(Parsed::Short(_))), "{text}");
        assert!(text.parse::<ImageRef>().is_err(), "{text}");
    }
}

#[test]
fn docker_io_completes_with_library() {
    let Ok(Parsed::Short(short)) = ImageRef::parse("busybox:1") else { panic!("busybox:1 is short") };
    assert_eq!(short.on_host("docker.io").unwrap().to_string(), "docker.io/library/busybox:1");
    assert_eq!(short.on_host("quay.io").unwrap().to_string(), "quay.io/busybox:1");
    let Ok(Parsed::Short(short)) = ImageRef::parse("me/busybox") else { panic!("me/busybox is short") };
    assert_eq!(short.on_host("docker.io").unwrap().to_string(), "docker.io/me/busybox:latest");
}

#[test]
fn malformed_references_are_refused() {
    let long = format!("a.io/{}", "x".repeat(300));
    let tag = format!("a.io/x:{}", "t".repeat(129));
    for text in [
        "",
        "/",
        "a.io/",
        "a.io//x",
        "a.io/X",
        "a.io/x:",
        "a.io/x:-t",
        "a.io/x@",
        "a.io/x@sha256:00",
        "a.io/../x",
        "a.io/.x",
        "a.io/x.",
        "a.io/x..y",
        "a.io/x___y",
        "-a.io/x",
        "a.io:port/x",
        "a.io:/x",
        "a.io:99999/x",
        "a.io/x y",
        "a.io/x\n",
        "http://a.io/x",
        "[::1/x",
        "[::g]/x",
        "a..io/x",
        "a.io:+80/x",
        &long,
        &tag,
    ] {
        assert!(ImageRef::parse(text).is_err(), "{text:?} was accepted");
    }
}

proptest! {
    #[test]
    fn no_input_panics(text in "\\PC{0,80}") {
        drop(ImageRef::parse(&text));
    }

    #[test]
    fn a_printed_reference_reads_back(
        host in "([a-z][a-z0-9]{0,8}\\.[a-z]{2,4}|localhost)(:[1-9][0-9]{0,3})?",
        path in "[a-z0-9]{1,8}((\\.|_|__|-|--)[a-z0-9]{1,8}){0,2}(/[a-z0-9]{1,8}){0,3}",
        tag in "[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}",
    ) {
        let text = format!("{host}/{path}:{tag}");
        let parsed: ImageRef = text.parse().unwrap();
        prop_assert_eq!(parsed.to_string(), text);
    }
}
