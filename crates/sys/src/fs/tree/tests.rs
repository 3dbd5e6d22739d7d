use super::*;

#[test]
fn usage_counts_a_file_with_two_names_once() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), vec![1; 10_000]).unwrap();
    std::fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
    std::os::unix::fs::symlink("/", dir.path().join("c")).unwrap();
    let (bytes, inodes) = tree_usage(dir.path()).unwrap();
    assert_eq!(inodes, 3);
    assert!(bytes >= 10_000, "{bytes}");
}

#[test]
fn removing_a_tree_does_not_follow_links_and_may_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("kept");
    std::fs::create_dir(&kept).unwrap();
    std::fs::write(kept.join("file"), "").unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::os::unix::fs::symlink(&kept, tree.join("link")).unwrap();
    remove_tree(&tree).unwrap();
    remove_tree(&tree).unwrap();
    assert!(kept.join("file").exists());
}

/// Makes directories in one another, more than can be named by one path.
fn deep(root: &Path, depth: usize) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = rustix::fs::open(root, flags, Mode::empty()).unwrap();
    for n in 0..depth {
        rustix::fs::mkdirat(&dir, "d", Mode::RWXU).unwrap();
        if n % 100 == 0 {
            rustix::fs::mknodat(&dir, "file", FileType::RegularFile, Mode::RUSR, 0).unwrap();
        }
        dir = rustix::fs::openat(&dir, "d", flags, Mode::empty()).unwrap();
    }
}

#[test]
fn a_tree_deeper_than_any_stack_is_measured_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    deep(&tree, 1_000);
    // A name that is taken.
    std::fs::create_dir(tree.join(".deep-1")).unwrap();
    let small = std::thread::Builder::new().stack_size(32 << 10);
    let worker = small.spawn(move || {
        let (_, inodes) = tree_usage(&tree).unwrap();
        assert_eq!(inodes, 1 + 1_000 + 10 + 1);
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    });
    worker.unwrap().join().unwrap();
}

#[test]
fn files_of_all_kinds_are_removed_and_nothing_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("kept")).unwrap();
    std::fs::write(at("file"), "").unwrap();
    std::os::unix::fs::symlink(at("kept"), at("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("broken")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    for name in ["file", "link", "broken", "socket", "fifo", "nothing"] {
        remove_tree(&at(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(std::fs::symlink_metadata(at(name)).is_err(), "{name}");
    }
    assert!(at("kept").is_dir());
    drop(socket);
}

#[test]
fn usage_does_not_follow_links() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("/", &link).unwrap();
    assert!(tree_usage(&link).is_err());
    assert_eq!(tree_usage(dir.path()).unwrap().1, 2);
}

#[test]
fn what_is_marked_immutable_is_removed() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: what_is_marked_immutable_is_removed: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir_all(tree.join("below")).unwrap();
    std::fs::write(tree.join("below/file"), "").unwrap();
    for path in [tree.join("below/file"), tree.join("below"), tree.clone()] {
        let file = std::fs::File::open(path).unwrap();
        let Ok(flags) = rustix::fs::ioctl_getflags(&file) else {
            eprintln!("skipped: what_is_marked_immutable_is_removed: the file system has no such mark");
            return;
        };
        rustix::fs::ioctl_setflags(&file, flags | IFlags::IMMUTABLE).unwrap();
    }
    remove_tree(&tree).unwrap();
    assert!(!tree.exists());
}

#[test]
fn what_is_mounted_in_a_tree_is_not_removed() {
    use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: what_is_mounted_in_a_tree_is_not_removed: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    let mounted = tree.join("mounted");
    std::fs::create_dir_all(&mounted).unwrap();
    std::fs::write(tree.join("file"), "").unwrap();
    // Namespaces belong to threads: this one ends with its thread.
    let inside = std::thread::spawn(move || {
        crate::namespace::unshare(crate::namespace::MOUNT).unwrap();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        rustix::mount::mount("tmpfs", &mounted, "tmpfs", MountFlags::empty(), None).unwrap();
        std::fs::write(mounted.join("precious"), "").unwrap();
        assert_eq!(tree_usage(&tree).unwrap().1, 3);
        assert!(remove_tree(&tree).is_err());
        assert!(mounted.join("precious").exists());
        assert!(!tree.join("file").exists());
        rustix::mount::unmount(&mounted, UnmountFlags::empty()).unwrap();
        remove_tree(&tree).unwrap();
    });
    inside.join().unwrap();
}
