//! What is refused of an artifact about to be made, and what its manifest says.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn one(title: &str) -> NewFile {
    NewFile {
        title: title.to_owned(),
        digest: sum(title.as_bytes()),
        size: 1,
        media_type: "text/plain".to_owned(),
        annotations: BTreeMap::new(),
    }
}

fn of(files: Vec<NewFile>) -> NewArtifact {
    NewArtifact { kind: "application/vnd.example.model".to_owned(), files }
}

#[test]
fn names_and_types_that_cannot_be_are_refused() {
    let refused = |new: NewArtifact| packed(&new).unwrap_err();
    assert!(refused(of(Vec::new())).contains("0 files"));
    assert!(refused(of(vec![one("../x")])).contains("is not the name of a file"));
    assert!(refused(of(vec![one("a"), one("./a")])).contains("two files are called"));
    for kind in ["", "model", "a/", "/a", "a/b c", "a/b/c", &format!("a/{}", "b".repeat(255))] {
        let new = NewArtifact { kind: kind.to_owned(), ..of(vec![one("a")]) };
        assert!(refused(new).contains("is not a media type"), "{kind}");
        let file = NewFile { media_type: kind.to_owned(), ..one("a") };
        assert!(refused(of(vec![file])).contains("is not a media type"), "{kind}");
    }
}

/// The bytes that `oras push --artifact-type` writes of it but for the time: the order of fields is the specification's.
#[test]
fn the_manifest_is_that_of_the_specification() {
    let file = NewFile { annotations: [("k".to_owned(), "v".to_owned())].into(), ..one("dir/a") };
    let (manifest, image) = packed(&of(vec![file])).unwrap();
    let expected = concat!(
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
        r#""artifactType":"application/vnd.example.model","#,
        r#""config":{"mediaType":"application/vnd.oci.empty.v1+json","#,
        // printf '{}' | sha256sum, | base64
        r#""digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="},"#,
        r#""layers":[{"mediaType":"text/plain","#,
        // printf dir/a | sha256sum
        r#""digest":"sha256:4e7e6db4093ad8bc52ec812bc1529e9ab153fea7ec76f6d0e653b4634cd6b5ca","size":1,"#,
        r#""annotations":{"k":"v","org.opencontainers.image.title":"dir/a"}}]}"#
    );
    assert_eq!(String::from_utf8(manifest).unwrap(), expected);
    assert_eq!(image.files, [std::path::PathBuf::from("dir/a")]);
}
