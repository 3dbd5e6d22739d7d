use super::*;

#[test]
fn the_number_of_lowers_is_checked_before_the_kernel_is_asked() {
    let here = Path::new("/");
    for lowers in [vec![], vec![PathBuf::from("/"); MAX_LOWERS + 1]] {
        let overlay = Overlay { lowers: &lowers, upper: here, work: here };
        assert!(matches!(mount(&overlay), Err(OverlayError::Lowers(n)) if n == lowers.len()));
    }
}

/// Layers 0 to `count`, the upper and the work directory, with names that options would need escapes for.
/// Every layer has a file of its own, and all have one that tells them apart.
fn layers(dir: &Path, count: usize) -> (Vec<PathBuf>, PathBuf, PathBuf) {
    let make = |name: String| {
        let path = dir.join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let lowers: Vec<PathBuf> = (0..count).map(|n| make(format!("a:b,c\\d={n}"))).collect();
    for (n, lower) in lowers.iter().enumerate() {
        std::fs::write(lower.join(format!("own{n}")), "").unwrap();
        std::fs::write(lower.join("shared"), format!("from {n}")).unwrap();
    }
    (lowers, make("upper,:".to_owned()), make("work,:".to_owned()))
}

/// 2 layers, and so many that their names do not fit in one value of fsconfig(2).
#[test]
fn every_way_stacks_the_layers_in_order_and_writes_to_the_upper() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: overlay: needs root");
        return;
    }
    type Way = fn(&Overlay<'_>) -> Result<OwnedFd, OverlayError>;
    for (name, way) in [("mount", mount as Way), ("joined", mount_joined as Way)] {
        for count in [2, 127] {
            let case = format!("{name}, {count} layers");
            let dir = tempfile::tempdir().unwrap();
            let (lowers, upper, work) = layers(dir.path(), count);
            let mounted = way(&Overlay { lowers: &lowers, upper: &upper, work: &work }).expect(&case);
            let open = |name: &str, flags| {
                rustix::fs::openat(&mounted, name, flags, Mode::from_raw_mode(0o644)).expect(&case)
            };
            let mut text = [0; 16];
            let length = rustix::io::read(open("shared", OFlags::RDONLY), &mut text).unwrap();
            assert_eq!(&text[..length], b"from 0", "{case}");
            let last = format!("own{}", count - 1);
            rustix::io::write(open(&last, OFlags::WRONLY | OFlags::TRUNC), b"changed").unwrap();
            assert_eq!(std::fs::read(upper.join(&last)).unwrap(), b"changed", "{case}");
            assert_eq!(std::fs::read(lowers[count - 1].join(&last)).unwrap(), b"", "{case}");
            let here = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert!(!here.contains(dir.path().to_str().unwrap()), "{case}: {here}");
        }
    }
}

#[test]
fn more_layers_than_an_old_kernel_has_room_for_are_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: overlay: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let lowers = vec![dir.path().to_owned(); 400];
    let error = mount_joined(&Overlay { lowers: &lowers, upper: dir.path(), work: dir.path() }).unwrap_err();
    assert!(matches!(error, OverlayError::OldKernel(400)), "{error}");
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
fn a_directory_on_an_overlay_is_unfit_and_one_on_its_upper_is_not() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: overlay: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (lowers, upper, work) = layers(dir.path(), 1);
    trial(&upper).unwrap();
    let mounted = mount(&Overlay { lowers: &lowers, upper: &upper, work: &work }).unwrap();
    // A detached mount is reached through its descriptor.
    let inside = PathBuf::from(format!("/proc/self/fd/{}", mounted.as_raw_fd()));
    let error = trial(&inside).unwrap_err().to_string();
    assert!(error.contains("(overlay); use ext4"), "{error}");
    for place in [&upper, &inside] {
        assert!(!place.join("trial").exists());
    }
}

/// Two directories, and so many that their names do not fit in one value of fsconfig(2).
#[test]
fn an_overlay_without_an_upper_stacks_open_directories_and_takes_no_change() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: overlay: needs root");
        return;
    }
    type Way = fn(&[OwnedFd], &Path) -> Result<OwnedFd, OverlayError>;
    for (name, way) in [("mount", mount_read_only as Way), ("joined", read_only::mount_joined as Way)] {
        for count in [2, 127] {
            let case = format!("{name}, {count} directories");
            let dir = tempfile::tempdir().unwrap();
            let (lowers, upper, _) = layers(dir.path(), count);
            let dirs: Vec<OwnedFd> =
                lowers.iter().map(|dir| std::fs::File::open(dir).unwrap().into()).collect();
            let mounted = way(&dirs, &upper).expect(&case);
            let mode = Mode::from_raw_mode(0o644);
            let file = rustix::fs::openat(&mounted, "shared", OFlags::RDONLY, mode).expect(&case);
            let mut text = [0; 16];
            let length = rustix::io::read(file, &mut text).unwrap();
            assert_eq!(&text[..length], b"from 0", "{case}");
            let last = format!("own{}", count - 1);
            assert!(rustix::fs::openat(&mounted, &last, OFlags::RDONLY, mode).is_ok(), "{case}");
            let written = rustix::fs::openat(&mounted, &last, OFlags::WRONLY, mode);
            assert_eq!(written.unwrap_err(), Errno::ROFS, "{case}");
            let here = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert!(!here.contains(dir.path().to_str().unwrap()), "{case}: {here}");
        }
    }
    assert!(matches!(mount_read_only(&[], Path::new("/")), Err(OverlayError::Lowers(0))));
}
