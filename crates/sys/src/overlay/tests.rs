use super::*;

#[test]
fn the_number_of_lowers_is_checked_before_the_kernel_is_asked() {
    let here = Path::new("/");
    for lowers in [vec![], vec![PathBuf::from("/"); MAX_LOWERS + 1]] {
        let overlay = Overlay { lowers: &lowers, upper: here, work: here };
        assert!(matches!(mount(&overlay), Err(OverlayError::Lowers(n)) if n == lowers.len()));
    }
}

#[test]
fn a_lower_file_is_seen_and_a_change_goes_to_the_upper() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: overlay: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["a", "b", "upper", "work"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    std::fs::write(path("a/x"), "from a").unwrap();
    std::fs::write(path("b/x"), "from b").unwrap();
    std::fs::write(path("b/y"), "y").unwrap();
    let lowers = [path("a"), path("b")];
    let mounted = mount(&Overlay { lowers: &lowers, upper: &path("upper"), work: &path("work") }).unwrap();
    let open = |name: &str, flags| {
        rustix::fs::openat(&mounted, name, flags, rustix::fs::Mode::from_raw_mode(0o644)).unwrap()
    };
    let mut text = [0; 16];
    let length = rustix::io::read(open("x", OFlags::RDONLY), &mut text).unwrap();
    assert_eq!(&text[..length], b"from a");
    rustix::io::write(open("y", OFlags::WRONLY | OFlags::TRUNC), b"changed").unwrap();
    assert_eq!(std::fs::read(path("upper/y")).unwrap(), b"changed");
    assert_eq!(std::fs::read(path("b/y")).unwrap(), b"y");
}

#[test]
fn the_same_lower_twice_is_refused_with_the_kernels_words() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: overlay: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["a", "upper", "work"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    let lowers = [path("a"), path("a")];
    let error = mount(&Overlay { lowers: &lowers, upper: &path("upper"), work: &path("work") }).unwrap_err();
    assert!(matches!(error, OverlayError::Step { .. }), "{error}");
}

#[test]
fn the_older_way_takes_colons_and_backslashes() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: overlay: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let lowers = [dir.path().join("a:b"), dir.path().join("c\\d")];
    for (n, lower) in lowers.iter().enumerate() {
        std::fs::create_dir(lower).unwrap();
        std::fs::write(lower.join(n.to_string()), "").unwrap();
    }
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    let _fds = set_lowerdir(context.as_fd(), &lowers).unwrap();
    fsconfig_create(context.as_fd()).unwrap();
    let mounted = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
    for name in ["0", "1"] {
        rustix::fs::statat(&mounted, name, rustix::fs::AtFlags::empty()).unwrap();
    }
}
