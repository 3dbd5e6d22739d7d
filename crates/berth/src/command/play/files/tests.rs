use super::*;

#[test]
fn a_directory_stands_for_its_manifests() {
    let dir = tempfile::tempdir().unwrap();
    let of = |paths: &[&Path]| expand(&paths.iter().map(|path| path.to_path_buf()).collect::<Vec<_>>());
    assert!(of(&[dir.path()]).unwrap_err().to_string().contains("has no manifest"));
    for name in ["b.yaml", "a.yml", "c.json", "d.txt", "sub/e.yaml", "f.yaml/x"] {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    let other = Path::new("other");
    let found = of(&[dir.path(), other]).unwrap();
    let expected: Vec<_> = ["a.yml", "b.yaml", "c.json"].map(|name| dir.path().join(name)).into();
    assert_eq!(found, [expected.as_slice(), &[other.to_path_buf()]].concat());
    assert!(of(&[Path::new("-"), Path::new("-")]).is_err());
    assert!(of(&vec![other; 101]).is_err());
}
