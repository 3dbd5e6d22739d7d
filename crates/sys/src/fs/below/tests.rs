use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn open(root: &Path, path: &str) -> io::Result<PathBuf> {
    let root = fs::File::open(root).unwrap();
    let found = open_or_make_below(root.as_fd(), Path::new(path))?;
    fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))
}

#[test]
fn what_is_missing_is_made_with_the_permissions_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("volume");
    fs::create_dir(&root).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(open(&root, "a/b").unwrap(), root.join("a/b"));
    for path in ["a", "a/b"] {
        assert_eq!(fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777, 0o777, "{path}");
    }
    fs::write(root.join("a/file"), "x").unwrap();
    assert_eq!(open(&root, "a/file").unwrap(), root.join("a/file"));
    assert_eq!(open(&root, "a/file/more").unwrap_err().kind(), io::ErrorKind::NotADirectory);
    symlink("a/b", root.join("link")).unwrap();
    assert_eq!(open(&root, "link/new").unwrap(), root.join("a/b/new"));
}

#[test]
fn nothing_leads_out() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("volume");
    fs::create_dir(&root).unwrap();
    fs::create_dir(dir.path().join("outside")).unwrap();
    for (link, target) in
        [("up", "../outside"), ("far", "/etc"), ("dangling", "none"), ("gone", "../outside/none")]
    {
        symlink(target, root.join(link)).unwrap();
    }
    for path in
        ["up", "up/new", "far", "far/new", "dangling", "dangling/new", "gone", "..", "a/../..", "/", ""]
    {
        assert!(open(&root, path).is_err(), "{path:?}");
    }
    assert_eq!(fs::read_dir(dir.path().join("outside")).unwrap().count(), 0);
}
