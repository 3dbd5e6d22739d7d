use super::*;

#[test]
fn a_claim_is_made_once_and_kept_until_it_is_removed() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("claims");
    let claim = Claim { namespace: "default".into(), name: "data".into(), source: "{}".into() };
    assert_eq!(all(&dir), []);
    assert!(make(&dir, &claim).unwrap());
    let path = data(&dir, "default", "data");
    fs::write(path.join("file"), "x").unwrap();
    assert!(!make(&dir, &claim).unwrap());
    assert!(path.join("file").exists());
    for (path, mode) in [(dir.clone(), 0o700), (dir.join("default/data"), 0o700), (path.clone(), 0o777)] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{path:?}");
    }
    assert_eq!(all(&dir).len(), 1);
    assert!(remove(&dir, "default", "data").unwrap());
    assert!(!remove(&dir, "default", "data").unwrap());
    assert!(!dir.join("default").exists());
}

#[test]
fn names_that_are_paths_remove_nothing() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("claims");
    let claim = Claim { namespace: "default".into(), name: "data".into(), source: "{}".into() };
    make(&dir, &claim).unwrap();
    let other = root.path().join("other");
    fs::create_dir_all(other.join("data")).unwrap();
    let absolute = other.display().to_string();
    for (namespace, name) in [
        ("default", absolute.as_str()),
        (absolute.as_str(), "data"),
        ("default", "../../other"),
        ("..", "other"),
        ("default", ""),
        ("default", "."),
        ("default", "data/"),
        ("default", "./data"),
        ("", "default"),
    ] {
        assert!(!remove(&dir, namespace, name).unwrap(), "{namespace:?} {name:?}");
    }
    assert!(other.join("data").is_dir() && data(&dir, "default", "data").is_dir());
}
