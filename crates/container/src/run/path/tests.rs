use std::fs::{create_dir, read_link, write};
use std::os::unix::fs::symlink;

use super::*;

fn root() -> (tempfile::TempDir, OwnedFd) {
    let dir = tempfile::tempdir().expect("tempdir");
    let fd = std::fs::File::open(dir.path()).expect("open").into();
    (dir, fd)
}

#[test]
fn components_are_found_one_after_another() {
    let path = b"//a/./bc//";
    let (name, at, last) = component(path, 0);
    assert_eq!((name, last), (&b"a"[..], false));
    let (name, at, _) = component(path, at);
    assert_eq!(name, b".");
    let (name, at, last) = component(path, at);
    assert_eq!((name, last), (&b"bc"[..], true));
    assert_eq!(component(path, at).0, b"");
}

#[test]
fn missing_directories_and_files_are_made() {
    let (dir, fd) = root();
    ensure(fd.as_fd(), c"a/b/c", Want::Directory).expect("directories");
    assert!(dir.path().join("a/b/c").is_dir());
    ensure(fd.as_fd(), c"a/x/file", Want::File).expect("file");
    assert!(dir.path().join("a/x/file").is_file());
    // What is there stays what it is.
    ensure(fd.as_fd(), c"a/x/file", Want::Directory).expect("as it is");
    assert!(dir.path().join("a/x/file").is_file());
}

#[test]
fn links_to_nothing_are_followed_within_the_root() {
    let (dir, fd) = root();
    let path = dir.path();
    create_dir(path.join("var")).expect("mkdir");
    symlink("/run", path.join("var/run")).expect("symlink");
    ensure(fd.as_fd(), c"var/run/secrets/token", Want::File).expect("through a link");
    assert!(path.join("run/secrets/token").is_file());
    symlink("../../../../../../outside", path.join("up")).expect("symlink");
    ensure(fd.as_fd(), c"up/here", Want::Directory).expect("up is within");
    assert!(path.join("outside/here").is_dir());
    symlink("../new", path.join("var/rel")).expect("symlink");
    ensure(fd.as_fd(), c"var/rel/x", Want::Directory).expect("relative");
    assert!(path.join("new/x").is_dir());
    assert_eq!(read_link(path.join("var/run")).expect("still a link"), std::path::Path::new("/run"));
}

#[test]
fn endless_links_and_files_on_the_way_are_refused() {
    let (dir, fd) = root();
    symlink("b", dir.path().join("a")).expect("symlink");
    symlink("a", dir.path().join("b")).expect("symlink");
    assert_eq!(ensure(fd.as_fd(), c"a/x", Want::Directory).err(), Some(Errno::LOOP));
    write(dir.path().join("file"), "").expect("write");
    assert_eq!(ensure(fd.as_fd(), c"file/x", Want::Directory).err(), Some(Errno::NOTDIR));
}

#[test]
fn a_path_that_is_too_long_is_refused() {
    let (_dir, fd) = root();
    let long = std::ffi::CString::new("a/".repeat(3000)).expect("no null");
    assert_eq!(ensure(fd.as_fd(), &long, Want::Directory).err(), Some(Errno::NAMETOOLONG));
}
