use super::Registries;

fn read(files: &[(&str, &str)]) -> Result<Registries, String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    Registries::read(dir.path()).map_err(|e| e.to_string())
}

fn found(registries: &Registries, name: &str) -> (String, bool) {
    let found = registries.find(&name.parse().unwrap());
    (found.lookaside, found.attachments)
}

#[test]
fn the_most_specific_scope_is_asked_first_for_each_thing() {
    let registries = read(&[
        ("a.yaml", "default-docker:\n  lookaside: https://all.example/\n  sigstore-staging: file:///s\n"),
        (
            "b.yaml",
            "docker:\n  a.io:\n    use-sigstore-attachments: true\n  a.io/b:\n    lookaside: file:///l\n",
        ),
        ("c.yaml", "# nothing\n"),
        ("d.yml", "none: of it\n"),
    ])
    .unwrap();
    assert_eq!(found(&registries, "a.io/b/c:1"), ("file:///l/b/c".into(), true));
    assert_eq!(found(&registries, "a.io/x:1"), ("https://all.example/x".into(), true));
    assert_eq!(found(&registries, "b.io/x:1"), ("https://all.example/x".into(), false));
    let none = Registries::read(std::path::Path::new("/nonexistent/registries.d")).unwrap();
    assert_eq!(found(&none, "docker.io/x"), ("file:///var/lib/containers/sigstore/library/x".into(), false));
}

#[test]
fn what_is_wrong_is_named_with_its_file() {
    for (files, words) in [
        (
            &[("a.yaml", "docker:\n  a.io: {}\n"), ("b.yaml", "docker:\n  a.io: {}\n")][..],
            ["b.yaml", "a.yaml"],
        ),
        (&[("a.yaml", "default-docker: {}\n"), ("b.yaml", "default-docker: {}\n")], ["b.yaml", "a.yaml"]),
        (&[("a.yaml", "docker:\n  a.io:\n    lookasides: https://x\n")], ["a.yaml", "line 3"]),
        (&[("a.yaml", "docker:\n  a.io:\n    lookaside: ftp://x\n")], ["a.yaml", "ftp://x"]),
        (&[("a.yaml", "docker:\n  a.io: {}\n  a.io: {}\n")], ["a.yaml", "line 3"]),
        (&[("a.yaml", "docker:\n  a.io:\n    use-sigstore-attachments: maybe\n")], ["a.yaml", "line 3"]),
    ] {
        let error = read(files).unwrap_err();
        assert!(words.iter().all(|word| error.contains(word)) && !error.contains('\n'), "{error}");
    }
}
