use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};

use super::*;

fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

#[test]
fn a_copy_has_modes_links_and_times_and_no_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir_all(from.join("a/b")).unwrap();
    fs::create_dir(&to).unwrap();
    fs::write(from.join("a/b/file"), "text").unwrap();
    fs::set_permissions(from.join("a/b/file"), Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(from.join("a"), Permissions::from_mode(0o1777)).unwrap();
    fs::set_permissions(&from, Permissions::from_mode(0o711)).unwrap();
    symlink("/etc", from.join("link")).unwrap();
    let fifo = rustix::fs::mknodat(rustix::fs::CWD, from.join("fifo"), FileType::Fifo, Mode::RUSR, 0);
    fifo.unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
    copy_tree(open(&from).as_fd(), &to).unwrap();
    for path in ["", "a", "a/b", "a/b/file", "fifo"] {
        let (old, new) = (fs::metadata(from.join(path)).unwrap(), fs::metadata(to.join(path)).unwrap());
        assert_eq!(old.mode(), new.mode(), "{path}");
        assert_eq!((old.mtime(), old.mtime_nsec()), (new.mtime(), new.mtime_nsec()), "{path}");
    }
    assert_eq!(fs::read_to_string(to.join("a/b/file")).unwrap(), "text");
    assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("/etc"));
    assert!(fs::metadata(to.join("fifo")).unwrap().file_type().is_fifo());
    assert!(!to.join("socket").exists());
}

#[test]
fn owners_are_kept() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: owners_are_kept: it needs root");
    }
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    fs::write(from.join("file"), "text").unwrap();
    symlink("nowhere", from.join("link")).unwrap();
    for path in ["", "file", "link"] {
        std::os::unix::fs::lchown(from.join(path), Some(123), Some(456)).unwrap();
    }
    copy_tree(open(&from).as_fd(), &to).unwrap();
    for path in ["", "file", "link"] {
        let meta = fs::symlink_metadata(to.join(path)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (123, 456), "{path}");
    }
}

#[test]
fn what_is_too_deep_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let deep: std::path::PathBuf = std::iter::repeat_n("d", DEEP + 1).collect();
    fs::create_dir_all(from.join(deep)).unwrap();
    fs::create_dir(&to).unwrap();
    assert!(copy_tree(open(&from).as_fd(), &to).is_err());
}
