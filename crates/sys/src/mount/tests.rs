use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;

use super::*;

#[test]
fn paths_stay_in_their_root() {
    let dir = tempfile::tempdir().expect("tempdir");
    std::fs::create_dir(dir.path().join("etc")).expect("mkdir");
    std::fs::write(dir.path().join("etc/hostname"), "inside").expect("write");
    symlink("/etc/hostname", dir.path().join("absolute")).expect("symlink");
    symlink("../../../../etc/hostname", dir.path().join("up")).expect("symlink");
    symlink("/proc/self/exe", dir.path().join("magic")).expect("symlink");
    let root = std::fs::File::open(dir.path()).expect("open");
    for path in [c"etc/hostname", c"/etc/hostname", c"../etc/hostname", c"absolute", c"up"] {
        let fd = open_in_root(root.as_fd(), path, OFlags::RDONLY, false).expect("open");
        assert_eq!(std::io::read_to_string(std::fs::File::from(fd)).expect("read"), "inside");
    }
    assert_eq!(open_in_root(root.as_fd(), c"absolute", OFlags::PATH, true).err(), Some(Errno::LOOP));
    // There is no proc in there; and in the host's root its magic links are refused.
    assert_eq!(open_in_root(root.as_fd(), c"magic", OFlags::PATH, false).err(), Some(Errno::NOENT));
    let host = std::fs::File::open("/").expect("open");
    assert_eq!(open_in_root(host.as_fd(), c"proc/self/exe", OFlags::PATH, false).err(), Some(Errno::LOOP));
}

#[test]
fn a_detached_copy_can_be_made_read_only() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: a_detached_copy_can_be_made_read_only: needs root");
        return;
    }
    let dir = tempfile::tempdir().expect("tempdir");
    let at = std::fs::File::open(dir.path()).expect("open");
    let copy = clone_tree(at.as_fd(), true).expect("clone");
    change(copy.as_fd(), c"", Change { set: RDONLY, recursive: true, ..Change::default() }).expect("change");
    let made = rustix::fs::mkdirat(&copy, c"x", Mode::from_raw_mode(0o755));
    assert_eq!(made, Err(Errno::ROFS));
    // The original is as it was.
    std::fs::create_dir(dir.path().join("x")).expect("mkdir");
}
