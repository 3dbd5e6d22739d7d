use berth_types::ImageRef;

use super::{Identity, exact, prefix, repository};

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn fits(identity: &Identity, asked: &str, signed: &str) -> bool {
    identity.fits(&asked.parse::<ImageRef>().unwrap(), signed)
}

/// Asked for, signed, and whether `matchExact`, `matchRepoDigestOrExact` and `matchRepository` take it.
#[test]
fn what_was_asked_for_is_compared_with_what_is_signed() {
    let by_digest = format!("a.io/b/c@{DIGEST}");
    let both = format!("a.io/b/c:1@{DIGEST}");
    for (asked, signed, expected) in [
        ("a.io/b/c:1", "a.io/b/c:1", [true, true, true]),
        ("a.io/b/c:1", "a.io/b/c:2", [false, false, true]),
        ("a.io/b/c:1", "a.io/b/c", [false, false, true]),
        ("a.io/b/c:1", "a.io/b/d:1", [false, false, false]),
        ("a.io/b/c:1", "b.io/b/c:1", [false, false, false]),
        ("a.io/b/c:1", &by_digest, [false, false, true]),
        // A tag that was not asked for is not meant by whoever signs "latest".
        ("a.io/b/c", "a.io/b/c", [false, false, true]),
        ("a.io/b/c", "a.io/b/c:latest", [true, true, true]),
        (&by_digest, "a.io/b/c:1", [false, true, true]),
        (&by_digest, "a.io/b/c", [false, false, true]),
        (&by_digest, "a.io/b/cc:1", [false, false, false]),
        (&by_digest, &by_digest, [true, true, true]),
        // The digest wins: the tag was not asked about.
        (&both, "a.io/b/c:2", [false, true, true]),
        ("docker.io/library/busybox:1", "busybox:1", [true, true, true]),
        ("docker.io/busybox:1", "docker.io/library/busybox:1", [true, true, true]),
        ("A.io/b/c:1", "a.io/b/c:1", [true, true, true]),
        ("localhost:5000/c:1", "localhost:5000/c:1", [true, true, true]),
        ("localhost:5000/c:1", "localhost/c:1", [false, false, false]),
        ("a.io/b/c:1", "", [false, false, false]),
        ("a.io/b/c:1", "a.io/b/C:1", [false, false, false]),
    ] {
        let identities = [Identity::Exact, Identity::RepoDigestOrExact, Identity::Repository];
        let found = identities.map(|identity| fits(&identity, asked, signed));
        assert_eq!(found, expected, "{asked} signed as {signed}");
    }
}

#[test]
fn a_name_of_the_policys_own_takes_the_place_of_the_one_asked_for() {
    let reference = Identity::ExactReference(exact("v.io/p:1").unwrap());
    let repository = Identity::ExactRepository(repository("v.io/p").unwrap());
    assert!(fits(&reference, "mirror.io/x:9", "v.io/p:1") && !fits(&reference, "v.io/p:2", "v.io/p:2"));
    assert!(
        fits(&repository, "mirror.io/x:9", "v.io/p:2") && !fits(&repository, "mirror.io/x:9", "v.io/q:2")
    );
    assert!(exact("v.io/p").is_err() && super::repository("v.io/p:1").is_err());
}

#[test]
fn a_prefix_becomes_another_at_whole_elements() {
    let remap = |prefix: &str, signed: &str| Identity::Remap { prefix: prefix.into(), signed: signed.into() };
    let local = remap("m.io:5000/vendor", "v.io");
    assert!(fits(&local, "m.io:5000/vendor/a/b:1", "v.io/a/b:1"));
    assert!(!fits(&local, "m.io:5000/vendor/a/b:1", "v.io/a/b:2"));
    assert!(!fits(&local, "m.io:5000/vendored/a:1", "v.io/ed/a:1"));
    // Not below the prefix: as it was asked for.
    assert!(fits(&local, "m.io:5000/own/a:1", "m.io:5000/own/a:1"));
    // The host alone is no repository.
    assert!(!fits(&remap("m.io/a", "v.io"), "m.io/a:1", "v.io:1"));
    for (text, ok) in [
        ("v.io", true),
        ("v.io:5000", true),
        ("v.io/a/b", true),
        ("v.io/a:1", false),
        ("busybox", false),
        ("", false),
        ("v.io/", false),
    ] {
        assert_eq!(prefix(text).is_ok(), ok, "{text:?}");
    }
}
