use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::*;

/// What tar, which others wrote, lists.
fn listed(tar: &[u8]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    std::fs::write(&path, tar).unwrap();
    let out = std::process::Command::new("tar").arg("-tf").arg(&path).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_tree_comes_out_of_its_tar_as_it_was() {
    let from = tempfile::tempdir().unwrap();
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    std::fs::create_dir_all(from.path().join(&long).parent().unwrap()).unwrap();
    std::fs::write(from.path().join(&long), "deep").unwrap();
    std::fs::write(from.path().join("a"), vec![7; 1000]).unwrap();
    std::fs::set_permissions(from.path().join("a"), std::fs::Permissions::from_mode(0o4751)).unwrap();
    std::fs::hard_link(from.path().join("a"), from.path().join("b")).unwrap();
    symlink("x".repeat(150), from.path().join("link")).unwrap();
    let mut tar = Vec::new();
    whole(walk::root(from.path()).unwrap(), None, &mut tar).unwrap();
    assert_eq!(tar.len() % 512, 0);

    let to = tempfile::tempdir().unwrap();
    let file = to.path().join("a.tar");
    std::fs::write(&file, &tar).unwrap();
    let tree = to.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let out = std::process::Command::new("tar").arg("-xpf").arg(&file).arg("-C").arg(&tree).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(std::fs::read(tree.join(&long)).unwrap(), b"deep");
    let (a, b) = (std::fs::metadata(tree.join("a")).unwrap(), std::fs::metadata(tree.join("b")).unwrap());
    assert_eq!((a.ino(), a.mode() & 0o7777, a.len()), (b.ino(), 0o4751, 1000));
    assert_eq!(a.mtime(), std::fs::metadata(from.path().join("a")).unwrap().mtime());
    assert_eq!(std::fs::read_link(tree.join("link")).unwrap().as_os_str().len(), 150);
}

#[test]
fn a_layer_leaves_out_what_is_mounted() {
    let (upper, lower) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for path in ["etc/hosts", "etc/own", "dev/x"] {
        let path = upper.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    let without = [PathBuf::from("/etc/hosts"), PathBuf::from("/dev")];
    let mut tar = Vec::new();
    layer(upper.path(), &[lower.path().to_owned()], &without, None, &mut tar).unwrap();
    assert_eq!(listed(&tar), ["./", "etc/", "etc/own"]);
    std::fs::write(upper.path().join(".wh.x"), "").unwrap();
    let error = layer(upper.path(), &[lower.path().to_owned()], &[], None, Vec::new()).unwrap_err();
    assert!(error.to_string().contains(".wh.x"), "{error}");
}

#[test]
fn ids_are_those_that_the_container_sees() {
    let ids = Ids { first: (1000, 2000), length: 10 };
    assert_eq!(ids.inside(1000, 2009), (0, 9));
    assert_eq!(ids.inside(7, 2010), (7, 2010));
}

#[test]
fn capabilities_lose_the_namespace_that_they_were_given_in() {
    let mut version_3 = vec![1, 0, 0, 3];
    version_3.extend([9; 20]);
    let found = of_no_namespace(version_3);
    assert_eq!((found.len(), &found[..4]), (20, &[1, 0, 0, 2][..]));
    assert_eq!(of_no_namespace(vec![1, 0, 0, 2]), [1, 0, 0, 2]);
}
