use std::os::unix::fs::{MetadataExt as _, chown};

use super::super::{mount_read_only_idmapped, read_only};
use super::*;
use crate::user;

/// Ids from 200000 on.
const MAP: [user::Range; 1] = [(0, 200_000, 1000)];

type Way = fn(&Overlay<'_>, BorrowedFd<'_>) -> Result<OwnedFd, OverlayError>;

/// As on this kernel, and as on those before [`FROM_DETACHED`].
fn ways() -> Vec<(&'static str, Way)> {
    let apart: (_, Way) = ("in a mount namespace", |overlay, user| page::mount(overlay, Some(user)));
    let direct: (_, Way) = ("from a detached mount", direct);
    if kernel::version() >= FROM_DETACHED { vec![direct, apart] } else { vec![apart] }
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: idmapped overlay: needs root");
    }
    root
}

fn dirs(dir: &Path, names: &[&str]) -> Vec<PathBuf> {
    let make = |name: &&str| {
        let path = dir.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    names.iter().map(make).collect()
}

#[test]
fn layers_show_mapped_owners_and_keep_theirs_and_the_upper_gets_the_mapped_ones() {
    if !is_root() {
        return;
    }
    for (name, way) in ways() {
        let dir = tempfile::tempdir().unwrap();
        let made = dirs(dir.path(), &["layers/a/fs", "layers/b,:\\/fs", "upper", "work"]);
        let (lowers, upper, work) = (&made[..2], &made[2], &made[3]);
        std::fs::write(lowers[0].join("root"), "1").unwrap();
        std::fs::write(lowers[1].join("web"), "2").unwrap();
        chown(lowers[1].join("web"), Some(33), Some(34)).unwrap();
        std::fs::write(lowers[1].join("far"), "3").unwrap();
        chown(lowers[1].join("far"), Some(5000), Some(0)).unwrap();
        let user = user::namespace(&MAP, &MAP).unwrap();
        let mounted = way(&Overlay { lowers, upper, work }, user.as_fd()).expect(name);
        let shown = |file: &str| {
            let stat = rustix::fs::statat(&mounted, file, rustix::fs::AtFlags::empty()).expect(file);
            (stat.st_uid, stat.st_gid)
        };
        assert_eq!(shown("root"), (200_000, 200_000), "{name}");
        assert_eq!(shown("web"), (200_033, 200_034), "{name}");
        // Outside of the map it is nobody's.
        assert_eq!(shown("far"), (65_534, 200_000), "{name}");
        let flags = OFlags::WRONLY | OFlags::APPEND;
        let file = rustix::fs::openat(&mounted, "web", flags, Mode::empty()).expect(name);
        rustix::io::write(&file, b"!").unwrap();
        let copied = std::fs::metadata(upper.join("web")).unwrap();
        assert_eq!((copied.uid(), copied.gid()), (200_033, 200_034), "{name}");
        let kept = std::fs::metadata(lowers[1].join("web")).unwrap();
        assert_eq!((kept.uid(), kept.len()), (33, 1), "{name}");
        let here = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!here.contains(dir.path().to_str().unwrap()), "{name}: {here}");
    }
}

#[test]
fn many_layers_cost_one_idmapped_mount_and_keep_their_order() {
    if !is_root() {
        return;
    }
    for (name, way) in ways() {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..127).map(|n| format!("layers/{n}")).collect();
        let lowers = dirs(dir.path(), &names.iter().map(String::as_str).collect::<Vec<_>>());
        for (n, lower) in lowers.iter().enumerate() {
            std::fs::write(lower.join("shared"), n.to_string()).unwrap();
            std::fs::write(lower.join(format!("own{n}")), "").unwrap();
        }
        let made = dirs(dir.path(), &["upper", "work"]);
        let user = user::namespace(&MAP, &MAP).unwrap();
        let overlay = Overlay { lowers: &lowers, upper: &made[0], work: &made[1] };
        let mounted = way(&overlay, user.as_fd()).expect(name);
        let mut text = [0; 8];
        let file = rustix::fs::openat(&mounted, "shared", OFlags::RDONLY, Mode::empty()).unwrap();
        let length = rustix::io::read(file, &mut text).unwrap();
        assert_eq!(&text[..length], b"0", "{name}");
        assert!(rustix::fs::statat(&mounted, "own126", rustix::fs::AtFlags::empty()).is_ok(), "{name}");
    }
}

#[test]
fn a_file_system_that_cannot_be_idmapped_is_named() {
    if !is_root() {
        return;
    }
    if kernel::version() < FROM_DETACHED {
        eprintln!(
            "skipped: a_file_system_that_cannot_be_idmapped_is_named: detached mounts are cloned from Linux 6.15 on"
        );
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let made = dirs(dir.path(), &["lower", "upper", "work", "upper2", "work2"]);
    let below =
        super::super::mount(&Overlay { lowers: &made[..1], upper: &made[1], work: &made[2] }).unwrap();
    // An overlay's own mount.
    let inside = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&below)));
    let user = user::namespace(&MAP, &MAP).unwrap();
    let overlay = Overlay { lowers: &[inside], upper: &made[3], work: &made[4] };
    let error = mount_idmapped(&overlay, user.as_fd()).unwrap_err();
    assert!(matches!(&error, OverlayError::Unmappable { kind, .. } if kind == "overlay"), "{error}");
    super::super::trial_idmapped(dir.path(), user.as_fd()).unwrap();
    assert!(!dir.path().join("trial-idmapped").exists());
}

#[test]
fn a_layer_that_is_a_mount_is_not_shown_as_what_it_covers() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let made = dirs(dir.path(), &["layers/a", "layers/b", "upper", "work"]);
    // A thread's own mounts end with it.
    std::thread::scope(|scope| {
        let inside = || {
            crate::namespace::unshare(crate::namespace::MOUNT).unwrap();
            let private = Change { propagation: mount::PRIVATE, recursive: true, ..Change::default() };
            mount::change(CWD, c"/", private).unwrap();
            let flags = rustix::mount::MountFlags::empty();
            rustix::mount::mount("none", &made[1], "tmpfs", flags, None).unwrap();
            let user = user::namespace(&MAP, &MAP).unwrap();
            let overlay = Overlay { lowers: &made[..2], upper: &made[2], work: &made[3] };
            let error = mount_idmapped(&overlay, user.as_fd()).unwrap_err();
            assert!(matches!(&error, OverlayError::Step { step: "find", .. }), "{error}");
        };
        scope.spawn(inside).join().unwrap();
    });
}

#[test]
fn the_deepest_directory_above_all_is_found() {
    for (dirs, want) in [
        (&["/a/b/c"][..], "/a/b/c"),
        (&["/a/b/c", "/a/b/d"], "/a/b"),
        (&["/a/b", "/a/b/d"], "/a/b"),
        (&["/a/bc", "/a/b"], "/a"),
        (&["/x", "/a/b"], "/"),
        (&[], "/"),
    ] {
        let dirs: Vec<PathBuf> = dirs.iter().map(PathBuf::from).collect();
        assert_eq!(common(&dirs), Path::new(want), "{dirs:?}");
    }
}

/// As image volumes of pods with a user namespace.
#[test]
fn directories_that_nothing_is_written_to_show_mapped_owners() {
    if !is_root() {
        return;
    }
    type Way = fn(&[OwnedFd], &Path, BorrowedFd<'_>) -> Result<OwnedFd, OverlayError>;
    let apart: Way = |dirs, place, user| page::in_thread(|| read_only::mapped_apart(dirs, place, user));
    for (name, way) in [("mount", mount_read_only_idmapped as Way), ("in a mount namespace", apart)] {
        let dir = tempfile::tempdir().unwrap();
        let made = dirs(dir.path(), &["layers/a/fs/sub", "layers/b/fs/sub", "layers/empty"]);
        std::fs::write(made[0].join("root"), "1").unwrap();
        std::fs::write(made[1].join("web"), "2").unwrap();
        chown(made[1].join("web"), Some(33), Some(34)).unwrap();
        let opened: Vec<OwnedFd> = made.iter().map(|dir| std::fs::File::open(dir).unwrap().into()).collect();
        let user = user::namespace(&MAP, &MAP).unwrap();
        let mounted = way(&opened, &made[2], user.as_fd()).expect(name);
        for (file, owner) in [("root", (200_000, 200_000)), ("web", (200_033, 200_034))] {
            let stat = rustix::fs::statat(&mounted, file, rustix::fs::AtFlags::empty()).expect(file);
            assert_eq!((stat.st_uid, stat.st_gid), owner, "{name}: {file}");
        }
        let written = rustix::fs::openat(&mounted, "web", OFlags::WRONLY, Mode::empty());
        assert_eq!(written.unwrap_err(), rustix::io::Errno::ROFS, "{name}");
        let here = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!here.contains(dir.path().to_str().unwrap()), "{name}: {here}");
    }
}
