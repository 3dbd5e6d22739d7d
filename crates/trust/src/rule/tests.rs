use std::path::Path;
use std::time::SystemTime;

use berth_types::{Digest, ImageRef};

use super::{Image, rule_for, scopes};
use crate::Policy;

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn image(text: &str) -> ImageRef {
    text.parse().unwrap()
}

#[test]
fn the_scopes_of_an_image_go_from_itself_to_its_domains() {
    assert_eq!(
        scopes(&image("r.eu.a.io:5000/b/c:1")),
        [
            "r.eu.a.io:5000/b/c:1",
            "r.eu.a.io:5000/b/c",
            "r.eu.a.io:5000/b",
            "r.eu.a.io:5000",
            "*.eu.a.io",
            "*.a.io",
            "*.io"
        ]
    );
    let by_digest = format!("a.io/b@{DIGEST}");
    assert_eq!(scopes(&image(&by_digest)), [by_digest.as_str(), "a.io/b", "a.io", "*.io"]);
    // A tag beside a digest was not asked about.
    assert_eq!(scopes(&image(&format!("a.io/b:1@{DIGEST}")))[0], by_digest);
    assert_eq!(
        scopes(&image("docker.io/busybox"))[..2],
        ["docker.io/library/busybox:latest", "docker.io/library/busybox"]
    );
    assert_eq!(scopes(&image("A.IO/b:1")), scopes(&image("a.io/b:1")));
    assert_eq!(scopes(&image("[::1]:5000/b:1")), ["[::1]:5000/b:1", "[::1]:5000/b", "[::1]:5000"]);
}

fn policy() -> Policy {
    let scopes = [
        ("a.io", "reject"),
        ("a.io/b", "insecureAcceptAnything"),
        ("a.io/b/c:bad", "reject"),
        ("*.a.io", "reject"),
        ("ok.a.io", "insecureAcceptAnything"),
    ];
    let scopes: Vec<String> =
        scopes.iter().map(|(scope, kind)| format!(r#"{scope:?}: [{{"type": {kind:?}}}]"#)).collect();
    let text = format!(
        r#"{{"default": [{{"type": "insecureAcceptAnything"}}, {{"type": "reject"}}],
            "transports": {{"docker": {{{}}}, "docker-archive": {{"": [{{"type": "insecureAcceptAnything"}}]}}}}}}"#,
        scopes.join(",")
    );
    Policy::parse(Path::new("/etc/p.json"), text.as_bytes()).unwrap()
}

#[test]
fn the_most_specific_scope_alone_decides() {
    let (policy, digest) = (policy(), DIGEST.parse::<Digest>().unwrap());
    for (name, scope, accepted) in [
        ("a.io/x:1", r#"the scope docker "a.io""#, false),
        ("a.io/b/c:1", r#"the scope docker "a.io/b""#, true),
        ("a.io/b:1", r#"the scope docker "a.io/b""#, true),
        ("a.io/bb:1", r#"the scope docker "a.io""#, false),
        ("a.io/b/c:bad", r#"the scope docker "a.io/b/c:bad""#, false),
        ("x.y.a.io/b:1", r#"the scope docker "*.a.io""#, false),
        ("X.A.io/b:1", r#"the scope docker "*.a.io""#, false),
        ("ok.a.io/b:1", r#"the scope docker "ok.a.io""#, true),
        // Another port is another registry; only "*." leaves ports out.
        ("ok.a.io:444/b:1", r#"the scope docker "*.a.io""#, false),
        ("other.io/b:1", "the default", false),
    ] {
        let reference = image(name);
        let rule = rule_for(&policy, "docker", Some(&reference));
        assert_eq!(rule.scope(), scope, "{name}");
        let decided = rule.decide(Image { reference: &reference, manifest: &digest }, &[], SystemTime::now());
        assert_eq!((decided.is_ok(), rule.before().is_ok()), (accepted, accepted), "{name}");
    }
    assert!(rule_for(&policy, "docker-archive", None).before().is_ok());
    assert!(rule_for(&policy, "oci-archive", None).before().is_err());
}

#[test]
fn a_refusal_names_file_scope_requirement_and_reason() {
    let refused = rule_for(&policy(), "docker", Some(&image("other.io/b:1"))).before().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "other.io/b:1 is refused by the default in /etc/p.json, requirement 2 (reject): it refuses every image"
    );
}
