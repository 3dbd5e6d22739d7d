use super::*;
use crate::ImageConfig;

fn blob(text: &str) -> Descriptor {
    Descriptor { media_type: "application/x".into(), digest: sum(text.as_bytes()), size: text.len() as u64 }
}

fn artifact(titles: &[Option<&str>]) -> Artifact {
    let titles = titles.iter().map(|title| title.map(str::to_owned)).collect();
    Artifact { kind: "application/vnd.example.model".into(), titles }
}

#[test]
fn each_blob_is_a_file_of_its_title_or_of_its_digest() {
    let blobs = [blob("a"), blob("b"), blob("c")];
    let artifact = artifact(&[Some("model.bin"), None, Some("./docs//license.txt")]);
    let image = as_image(&sum(b"m"), &artifact, &blobs, &Platform::new("linux", "amd64", "")).unwrap();
    let files: Vec<&str> = image.files.iter().map(|file| file.to_str().unwrap()).collect();
    assert_eq!(files, ["model.bin", sum(b"b").hex(), "docs/license.txt"]);
    let config = ImageConfig::parse(&image.config).unwrap();
    assert_eq!(config.artifact, "application/vnd.example.model");
    assert_eq!(config.diff_ids.len(), 3);
    assert_eq!((config.os.as_str(), config.architecture.as_str()), ("linux", "amd64"));
}

#[test]
fn what_differs_has_another_id() {
    let platform = Platform::new("linux", "amd64", "");
    let make = |manifest: &[u8], text: &str, title: &str| {
        as_image(&sum(manifest), &artifact(&[Some(title)]), &[blob(text)], &platform).unwrap().config
    };
    let one = make(b"m", "a", "x");
    assert_eq!(one, make(b"m", "a", "x"));
    for other in [make(b"n", "a", "x"), make(b"m", "b", "x"), make(b"m", "a", "y")] {
        assert_ne!(one, other);
    }
}

#[test]
fn a_title_that_leads_elsewhere_is_refused() {
    let long = "x".repeat(256);
    let deep = "x/".repeat(600) + "x";
    for title in ["/etc/passwd", "../x", "a/../../x", "a/..", ".", "./", "a/", "a\0b", &long, &deep] {
        let refused = as_image(
            &sum(b"m"),
            &artifact(&[Some(title)]),
            &[blob("a")],
            &Platform::new("linux", "amd64", ""),
        );
        let reason = refused.unwrap_err();
        assert!(reason.contains("is not the name of a file in it"), "{title:?}: {reason}");
    }
}
