use std::os::unix::fs::MetadataExt as _;

use super::*;

#[test]
fn a_volume_is_kept_for_root_alone_until_it_is_removed() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("volumes");
    assert!(all(&dir).is_empty());
    let document =
        Document { created_at: 5, labels: BTreeMap::from([("a".into(), "b".into())]), anonymous: false };
    assert!(make(&dir, "one", &document).unwrap());
    fs::write(data(&dir, "one").join("file"), "x").unwrap();
    assert!(!make(&dir, "one", &Document::default()).unwrap(), "it stays as it is");
    for path in [dir.clone(), dir.join("one")] {
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700, "{path:?}");
    }
    let kept = all(&dir);
    assert_eq!((kept.len(), &kept[0].document), (1, &document));
    remove(&dir, "one").unwrap();
    assert!(matches!(remove(&dir, "one"), Err(VolumeError::NotFound(_))));
    assert!(all(&dir).is_empty());
}

#[test]
fn names_are_dockers_and_never_paths() {
    for name in ["ab", "A.b-c_d", "0x", &"a".repeat(MAX_NAME)] {
        assert!(is_name(name), "{name}");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("data")).unwrap();
    for name in ["", "a", ".", "..", "../x", "a/b", "-a", "_a", "ä", "a b", &"a".repeat(MAX_NAME + 1)] {
        assert!(!is_name(name), "{name}");
        assert!(matches!(make(dir.path(), name, &Document::default()), Err(VolumeError::Name(_))), "{name}");
        assert!(matches!(remove(dir.path(), name), Err(VolumeError::NotFound(_))), "{name}");
    }
    assert!(dir.path().join("data").exists());
}

#[test]
fn only_what_is_empty_is_filled_and_never_by_halves() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), "vo", &Document::default()).unwrap();
    let place = data(dir.path(), "vo");
    // A copy that is cut off leaves nothing to see.
    fs::create_dir(place.with_file_name(FILL)).unwrap();
    fs::write(place.with_file_name(FILL).join("half"), "").unwrap();
    let failed = fill(dir.path(), "vo", |to| {
        fs::write(to.join("half"), "").unwrap();
        Err::<bool, _>("broken")
    });
    assert_eq!(failed.unwrap(), Err("broken"));
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    fill(dir.path(), "vo", |_| Ok::<_, ()>(false)).unwrap().unwrap();
    let write = |text: &'static str| {
        move |to: &Path| {
            fs::write(to.join("file"), text).unwrap();
            Ok::<_, ()>(true)
        }
    };
    fill(dir.path(), "vo", write("first")).unwrap().unwrap();
    fill(dir.path(), "vo", write("second")).unwrap().unwrap();
    assert_eq!(fs::read_to_string(place.join("file")).unwrap(), "first");
}
