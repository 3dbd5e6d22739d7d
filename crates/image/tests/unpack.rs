//! How the entries of a layer are unpacked.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use common::{Tar, root, store};

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

fn is_whiteout(path: &Path) -> bool {
    let meta = std::fs::symlink_metadata(path).unwrap();
    meta.file_type().is_char_device() && meta.rdev() == 0
}

const OPAQUE: &str = "trusted.overlay.opaque";

#[tokio::test]
async fn files_keep_mode_owner_time_and_content() {
    if !root("files_keep_mode_owner_time_and_content") {
        return;
    }
    let store = store().await;
    let tar = Tar::new()
        .dir("bin")
        .mode(0o4755)
        .uid(1000)
        .file("bin/su", "setuid")
        .mode(0o600)
        .uid(0)
        .pax(&[("mtime", b"12345.678901234"), ("uid", b"100000")])
        .file("bin/x", vec![7; 100_000])
        .symlink("bin/link", "/etc/passwd")
        .hard_link("bin/hard", "bin/x")
        .node(b'6', "fifo", (0, 0))
        .node(b'3', "null", (1, 3))
        .finish();
    let tree = store.unpack(tar).await.unwrap();
    let su = std::fs::metadata(tree.join("bin/su")).unwrap();
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.mtime()), (0o4755, 1000, 1000, 1_000_000_000));
    let x = std::fs::metadata(tree.join("bin/x")).unwrap();
    assert_eq!(
        (x.uid(), x.mtime(), x.mtime_nsec(), x.nlink(), x.len()),
        (100_000, 12345, 678_901_234, 2, 100_000)
    );
    assert_eq!(std::fs::read_link(tree.join("bin/link")).unwrap(), Path::new("/etc/passwd"));
    assert!(std::fs::symlink_metadata(tree.join("fifo")).unwrap().file_type().is_fifo());
    let null = std::fs::symlink_metadata(tree.join("null")).unwrap();
    assert!(null.file_type().is_char_device());
    assert_eq!(null.rdev(), rustix::fs::makedev(1, 3));
    assert_eq!(std::fs::metadata(tree.join("bin")).unwrap().mtime(), 1_000_000_000);
}

#[tokio::test]
async fn file_capabilities_survive_another_owner_and_foreign_attributes_do_not() {
    if !root("file_capabilities_survive_another_owner_and_foreign_attributes_do_not") {
        return;
    }
    let store = store().await;
    // cap_net_raw+ep, version 2.
    let capability = b"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let tar = Tar::new()
        .uid(7)
        .pax(&[
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.note", b"kept"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.security.selinux", b"system_u"),
        ])
        .file("ping", "x")
        .finish();
    let ping = store.unpack(tar).await.unwrap().join("ping");
    assert_eq!(xattr(&ping, "security.capability").as_deref(), Some(&capability[..]));
    assert_eq!(xattr(&ping, "user.note").as_deref(), Some(&b"kept"[..]));
    for name in ["trusted.overlay.redirect", OPAQUE, "user.overlay.opaque", "security.selinux"] {
        assert_eq!(xattr(&ping, name), None, "{name}");
    }
}

#[tokio::test]
async fn whiteouts_and_opaque_directories_come_in_any_order() {
    if !root("whiteouts_and_opaque_directories_come_in_any_order") {
        return;
    }
    let store = store().await;
    let tar = Tar::new()
        .dir("a")
        .file("a/.wh.gone", "")
        .file("a/kept", "1")
        .file("a/.wh..wh..opq", "")
        .dir("b")
        .file("b/.wh..wh..opq", "")
        .file("b/kept", "2")
        // A directory that was removed and made again hides the old one, in both orders.
        .file(".wh.c", "")
        .dir("c")
        .dir("d")
        .file(".wh.d", "")
        .file("e", "first a file")
        .dir("e")
        .file("a/.wh..wh.plnk", "aufs")
        .dir(".wh..wh.plnk")
        .file(".wh..wh.plnk/12.34", "aufs")
        .file(".wh..wh.aufs", "aufs")
        .finish();
    let tree = store.unpack(tar).await.unwrap();
    assert!(is_whiteout(&tree.join("a/gone")));
    assert_eq!(std::fs::read(tree.join("a/kept")).unwrap(), b"1");
    assert_eq!(std::fs::read(tree.join("b/kept")).unwrap(), b"2");
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!(xattr(&tree.join(name), OPAQUE).as_deref(), Some(&b"y"[..]), "{name}");
    }
    assert_eq!(std::fs::read_dir(tree.join("a")).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(&tree).unwrap().count(), 5);
}

#[tokio::test]
async fn the_last_of_several_entries_for_a_path_wins() {
    if !root("the_last_of_several_entries_for_a_path_wins") {
        return;
    }
    let store = store().await;
    let tar = Tar::new()
        .file("f", "old")
        .file("f", "new")
        .dir("d")
        .file("d/x", "")
        .file("d", "a file now")
        .symlink("s", "f")
        .file("s", "not through the link")
        .symlink("t", "d2")
        .dir("d2")
        .dir("t")
        .finish();
    let tree = store.unpack(tar).await.unwrap();
    assert_eq!(std::fs::read(tree.join("f")).unwrap(), b"new");
    assert_eq!(std::fs::read(tree.join("d")).unwrap(), b"a file now");
    assert_eq!(std::fs::read(tree.join("s")).unwrap(), b"not through the link");
    assert!(std::fs::symlink_metadata(tree.join("t")).unwrap().is_dir());
}

#[tokio::test]
async fn a_path_through_a_symlink_stays_inside() {
    if !root("a_path_through_a_symlink_stays_inside") {
        return;
    }
    let store = store().await;
    let tar = Tar::new()
        .symlink("lib", "usr/lib")
        .file("lib/a.so", "a")
        .symlink("abs", "/usr/lib")
        .file("abs/b.so", "b")
        .symlink("up", "../../../../../../usr")
        .file("up/c", "c")
        .symlink("out", "/etc")
        .file("out/berth-escaped", "never outside")
        .finish();
    let tree = store.unpack(tar).await.unwrap();
    for (name, text) in [("usr/lib/a.so", "a"), ("usr/lib/b.so", "b"), ("usr/c", "c")] {
        assert_eq!(std::fs::read_to_string(tree.join(name)).unwrap(), text);
    }
    assert!(!Path::new("/etc/berth-escaped").exists());
}

#[tokio::test]
async fn hostile_entries_are_refused_and_leave_nothing() {
    if !root("hostile_entries_are_refused_and_leave_nothing") {
        return;
    }
    let store = store().await;
    let hostile: Vec<(&str, Vec<u8>)> = vec![
        ("upwards", Tar::new().file("../x", "").finish()),
        ("upwards inside", Tar::new().file("a/../../x", "").finish()),
        ("link upwards", Tar::new().hard_link("x", "../../etc/passwd").finish()),
        ("link to a directory", Tar::new().dir("d").hard_link("x", "d").finish()),
        ("link to a missing file", Tar::new().hard_link("x", "nothing").finish()),
        ("link to what is whited out", Tar::new().file(".wh.gone", "").hard_link("x", "gone").finish()),
        ("a circle of symlinks", Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", "").finish()),
        ("below a file", Tar::new().file("a", "").file("a/x", "").finish()),
        ("whiteout of nothing", Tar::new().file(".wh.", "").finish()),
        ("whiteout of the parent", Tar::new().file(".wh...", "").finish()),
        ("a file for the root", Tar::new().file("./", "x").finish()),
        ("empty symlink", Tar::new().symlink("x", "").finish()),
        ("sizes disagree", Tar::new().pax(&[("size", b"5")]).file("x", "12345678").finish()),
        ("a directory with contents", {
            let tar = Tar::new();
            let header = tar.header(b'5', b"d", b"", 512, (0, 0));
            tar.raw(&header).raw(&[b'x'; 512]).finish()
        }),
        ("an unknown type", Tar::new().node(b'M', "x", (0, 0)).finish()),
        ("data after the end", Tar::new().file("x", "").raw(&[0; 1024]).file("y", "").finish()),
        ("a truncated file", {
            let mut tar = Tar::new().file("x", vec![1; 5000]).finish();
            tar.truncate(3000);
            tar
        }),
        ("a bad checksum", {
            let mut tar = Tar::new().file("x", "").finish();
            tar[0] = b'y';
            tar
        }),
        ("a name too long", Tar::new().file(vec![b'n'; 300], "").finish()),
        ("a path too long", Tar::new().file(("d".repeat(200) + "/").repeat(21) + "f", "").finish()),
        ("no tar at all", vec![b'?'; 4096]),
    ];
    for (what, tar) in hostile {
        let error = store.unpack(tar).await.expect_err(what);
        let text = berth_types::error::chain(&error);
        assert!(!text.contains("signal"), "{what}: {text}");
        store.assert_empty();
    }
}

#[tokio::test]
async fn long_names_are_bytes() {
    if !root("long_names_are_bytes") {
        return;
    }
    use std::os::unix::ffi::OsStrExt;
    let store = store().await;
    let mut long = b"d/".to_vec();
    long.extend([0xff; 120]);
    let pax = [&b"p/"[..], &[0xe9; 200]].concat();
    let target = vec![b't'; 300];
    let tar = Tar::new()
        .dir("d")
        .dir("p")
        .file(&long, "gnu")
        .pax(&[("path", &pax)])
        .file("short", "pax")
        .symlink("link", &target)
        .finish();
    let tree = store.unpack(tar).await.unwrap();
    let path = |name: &[u8]| tree.join(std::ffi::OsStr::from_bytes(name));
    assert_eq!(std::fs::read(path(&long)).unwrap(), b"gnu");
    assert_eq!(std::fs::read(path(&pax)).unwrap(), b"pax");
    assert_eq!(std::fs::read_link(tree.join("link")).unwrap().as_os_str().as_bytes(), target);
}

#[tokio::test]
async fn devices_are_made_where_the_last_entry_wants_them() {
    if !root("devices_are_made_where_the_last_entry_wants_them") {
        return;
    }
    let store = store().await;
    let tar = Tar::new()
        .dir("dev")
        .mode(0o1620)
        .uid(5)
        .node(b'4', "dev/sda", (8, 1))
        .mode(0o644)
        .uid(0)
        .hard_link("dev/again", "dev/sda")
        .node(b'3', "dev/file", (1, 3))
        .file("dev/file", "a file now")
        .node(b'3', "gone/null", (1, 3))
        .file("gone", "a file now")
        .file("dev/node", "first a file")
        .node(b'3', "dev/node", (4095, 1_048_575))
        .finish();
    let tree = store.unpack(tar).await.unwrap();
    for name in ["dev/sda", "dev/again"] {
        let device = std::fs::symlink_metadata(tree.join(name)).unwrap();
        assert!(device.file_type().is_block_device(), "{name}");
        assert_eq!(
            (device.rdev(), device.mode() & 0o7777, device.uid(), device.mtime()),
            (rustix::fs::makedev(8, 1), 0o1620, 5, 1_000_000_000)
        );
    }
    let node = std::fs::symlink_metadata(tree.join("dev/node")).unwrap();
    assert_eq!(
        (node.file_type().is_char_device(), node.rdev()),
        (true, rustix::fs::makedev(4095, 1_048_575))
    );
    for name in ["dev/file", "gone"] {
        assert_eq!(std::fs::read(tree.join(name)).unwrap(), b"a file now");
    }
    assert_eq!(std::fs::metadata(tree.join("dev")).unwrap().mtime(), 1_000_000_000);
    let bad = [
        ("a number that is none", Tar::new().node(b'3', "x", (4096, 0))),
        ("below a device", Tar::new().node(b'3', "null", (1, 3)).file("null/x", "")),
        ("devices without end", (0..4097).fold(Tar::new(), |tar, n| tar.node(b'4', format!("{n}"), (8, 0)))),
    ];
    for (what, tar) in bad {
        assert!(store.unpack(tar.finish()).await.is_err(), "{what}");
    }
}
