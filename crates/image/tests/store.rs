//! Images in the store: added, shared, found, removed, kept alive by snapshots, opened again.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use berth_image::{Config, Images, LayerId, LayerStep, Names, Removed, StoreError};
use berth_testkit::{executable, wait_until};
use berth_types::ContainerId;
use common::{Layer, Store, Tar, add, config, root, source, store};

fn layer(name: &str) -> Layer {
    Layer::gzip(&Tar::new().dir(name).file(format!("{name}/f"), name).finish())
}

fn container(n: u8) -> ContainerId {
    ContainerId::from_random([n; 32])
}

#[tokio::test]
async fn layers_are_shared_and_removed_with_their_last_image() {
    if !root("layers_are_shared_and_removed_with_their_last_image") {
        return;
    }
    let store = store().await;
    let (base, one, two) = (layer("base"), layer("one"), Layer::zstd(&Tar::new().file("two", "2").finish()));
    let (first, written) = add(&store.images, &[base.clone(), one], "example.org/first:1").await.unwrap();
    assert_eq!(written, 2);
    let (second, written) = add(&store.images, &[base, two], "example.org/second:1").await.unwrap();
    assert_eq!(written, 1);
    assert_eq!(store.names("layers").len(), 3);
    assert_eq!(store.images.list().len(), 2);
    assert!(store.images.usage().bytes > 0);
    assert!(store.images.remove("example.org/first:1").await.unwrap());
    assert_eq!(store.names("layers").len(), 2);
    assert!(store.images.find(first.id.as_str()).unwrap().is_none());
    assert!(store.images.remove(second.id.short()).await.unwrap());
    store.assert_empty();
    assert!(!store.images.remove("example.org/first:1").await.unwrap());
    assert_eq!(store.images.usage().bytes, 0);
}

#[tokio::test]
async fn an_image_is_found_by_everything_it_is_called() {
    if !root("an_image_is_found_by_everything_it_is_called") {
        return;
    }
    let store = store().await;
    let (image, _) = add(&store.images, &[layer("a")], "docker.io/library/busybox:1.36").await.unwrap();
    let names = [
        "docker.io/library/busybox:1.36",
        "busybox:1.36",
        "library/busybox:1.36",
        image.id.as_str(),
        image.id.hex(),
        image.id.short(),
        image.manifest.as_str(),
        image.repo_digests[0].as_str(),
    ];
    for name in names {
        let found = store.images.find(name).unwrap();
        assert_eq!(found.as_ref().map(|i| &i.id), Some(&image.id), "{name}");
    }
    for name in ["busybox", "busybox:1.37", "quay.io/busybox:1.36", "", "..", "zz"] {
        assert!(store.images.find(name).unwrap().is_none(), "{name}");
    }
}

#[tokio::test]
async fn a_tag_moves_and_the_old_image_keeps_its_digest() {
    if !root("a_tag_moves_and_the_old_image_keeps_its_digest") {
        return;
    }
    let store = store().await;
    let tag = "example.org/app:latest";
    let (old, _) = add(&store.images, &[layer("old")], tag).await.unwrap();
    let (new, _) = add(&store.images, &[layer("new")], tag).await.unwrap();
    assert_eq!(store.images.find(tag).unwrap().unwrap().id, new.id);
    let old = store.images.find(old.id.as_str()).unwrap().unwrap();
    assert_eq!((old.tags.len(), old.repo_digests.len()), (0, 1));
    drop(store.images);
    let images = Images::open(config(store.dir.path())).await.unwrap();
    assert_eq!(images.find(tag).unwrap().unwrap().id, new.id);
    assert_eq!(images.list().len(), 2);
}

#[tokio::test]
async fn untag_is_dockers_and_remove_is_the_kubelets() {
    if !root("untag_is_dockers_and_remove_is_the_kubelets") {
        return;
    }
    let store = store().await;
    let (image, _) = add(&store.images, &[layer("a")], "example.org/a:1").await.unwrap();
    let more = Names { tags: vec!["example.org/a:2".into(), "other.org/b:1".into()], repo_digests: vec![] };
    store.images.tag(&image.id, more).await.unwrap();
    let untagged = store.images.untag("example.org/a:2").await.unwrap();
    assert_eq!(untagged, Removed::Untagged("example.org/a:2".into()));
    assert_eq!(store.images.untag("nothing").await.unwrap(), Removed::Nothing);
    store.images.untag("other.org/b:1").await.unwrap();
    // A digest is a name too, however it is written.
    let by_digest = format!("a@{}", image.manifest);
    let untagged = store.images.untag(&by_digest).await.unwrap();
    assert_eq!(untagged, Removed::Untagged(format!("example.org/a@{}", image.manifest)));
    let last = store.images.untag("example.org/a:1").await.unwrap();
    assert_eq!(last, Removed::Image { id: image.id.clone(), tags: vec!["example.org/a:1".into()] });
    store.assert_empty();
    let (image, _) = add(&store.images, &[layer("a")], "example.org/a:1").await.unwrap();
    let more = Names { tags: vec!["other.org/b:1".into()], repo_digests: vec![] };
    store.images.tag(&image.id, more).await.unwrap();
    store.images.pin(&image.id, true).await.unwrap();
    assert!(store.images.find("other.org/b:1").unwrap().unwrap().pinned);
    assert!(store.images.remove("other.org/b:1").await.unwrap());
    store.assert_empty();
}

#[tokio::test]
async fn a_snapshot_keeps_its_layers_when_the_image_goes() {
    if !root("a_snapshot_keeps_its_layers_when_the_image_goes") {
        return;
    }
    let store = store().await;
    let root_dir = Layer::plain(Tar::new().mode(0o700).uid(5).dir("./").finish());
    let twice = layer("twice");
    let layers = [twice.clone(), root_dir, twice];
    let (image, _) = add(&store.images, &layers, "example.org/a:1").await.unwrap();
    let snapshot = store.images.snapshot(&container(1), &image.id, &[]).await.unwrap();
    assert_eq!(snapshot.lowers.len(), 2, "the same layer once");
    let upper = std::fs::metadata(&snapshot.upper).unwrap();
    assert_eq!((upper.mode() & 0o7777, upper.uid()), (0o700, 5));
    let again = store.images.snapshot(&container(1), &image.id, &[]).await;
    assert!(matches!(again, Err(StoreError::SnapshotExists(_))));
    let overlay = berth_sys::overlay::Overlay {
        lowers: &snapshot.lowers,
        upper: &snapshot.upper,
        work: &snapshot.work,
    };
    let mounted = berth_sys::overlay::mount(&overlay).unwrap();
    rustix::fs::statat(&mounted, "twice/f", rustix::fs::AtFlags::empty()).unwrap();
    drop(mounted);
    assert!(store.images.snapshot_usage(&container(1)).await.unwrap().inodes >= 1);
    assert!(store.images.remove(image.id.as_str()).await.unwrap());
    assert_eq!(store.names("layers").len(), 2);
    // The next daemon knows it too.
    drop(store.images);
    let images = Images::open(config(store.dir.path())).await.unwrap();
    assert_eq!((images.snapshots(), images.unreadable_snapshots()), (vec![container(1)], vec![]));
    images.remove_snapshot(&container(1)).await.unwrap();
    images.remove_snapshot(&container(1)).await.unwrap();
    let layers = std::fs::read_dir(images.dir().join("layers")).unwrap().count();
    assert_eq!(layers, 0);
}

#[tokio::test]
async fn implied_directories_take_mode_and_owner_from_below() {
    if !root("implied_directories_take_mode_and_owner_from_below") {
        return;
    }
    let store = store().await;
    let below = |mode| Layer::plain(Tar::new().mode(mode).uid(33).dir("srv").dir("srv/www").finish());
    let implied = Layer::plain(Tar::new().file("srv/www/page", "x").finish());
    let mut modes = Vec::new();
    for (n, mode) in [0o750, 0o711].into_iter().enumerate() {
        let layers = [below(mode), implied.clone()];
        let (image, _) = add(&store.images, &layers, &format!("example.org/a:{n}")).await.unwrap();
        assert!(matches!(image.layers[1], LayerId::Chain(_)));
        let www = std::fs::metadata(store.tree(&image, 1).join("srv/www")).unwrap();
        assert_eq!(www.uid(), 33);
        modes.push(www.mode() & 0o7777);
    }
    assert_eq!(modes, [0o750, 0o711]);
    assert_eq!(store.names("layers").len(), 4);
}

#[tokio::test]
async fn an_implied_directory_does_not_hide_a_symlink_of_a_lower_layer() {
    if !root("an_implied_directory_does_not_hide_a_symlink_of_a_lower_layer") {
        return;
    }
    let store = store().await;
    let below = Layer::plain(Tar::new().dir("usr").dir("usr/lib").symlink("lib", "usr/lib").finish());
    let above = Layer::plain(Tar::new().file("lib/x/a.so", "a").file("usr/lib/b.so", "b").finish());
    let (image, _) = add(&store.images, &[below, above], "example.org/a:1").await.unwrap();
    let tree = store.tree(&image, 1);
    assert!(std::fs::symlink_metadata(tree.join("lib")).is_err());
    let read = async |path: &str| store.images.read_file(&image.id, path, 10).await.unwrap();
    assert_eq!(read("/lib/x/a.so").await.as_deref(), Some(&b"a"[..]));
    assert_eq!(read("/lib/b.so").await.as_deref(), Some(&b"b"[..]));
}

#[tokio::test]
async fn a_hard_link_through_a_symlink_of_a_lower_layer_does_not_hide_it() {
    if !root("a_hard_link_through_a_symlink_of_a_lower_layer_does_not_hide_it") {
        return;
    }
    let store = store().await;
    let below = Tar::new()
        .dir("usr")
        .dir("usr/bin")
        .file("usr/bin/tool", "content")
        .symlink("bin", "usr/bin")
        .finish();
    let above = Layer::plain(Tar::new().dir("sbin").hard_link("sbin/tool", "bin/tool").finish());
    let (image, _) = add(&store.images, &[Layer::plain(below), above], "example.org/a:1").await.unwrap();
    assert!(std::fs::symlink_metadata(store.tree(&image, 1).join("bin")).is_err());
    for path in ["/sbin/tool", "/bin/tool", "/usr/bin/tool"] {
        let content = store.images.read_file(&image.id, path, 10).await.unwrap();
        assert_eq!(content.as_deref(), Some(&b"content"[..]), "{path}");
    }
}

#[tokio::test]
async fn a_hard_link_into_a_lower_layer_copies_it_up() {
    if !root("a_hard_link_into_a_lower_layer_copies_it_up") {
        return;
    }
    let store = store().await;
    let below = Layer::plain(Tar::new().dir("bin").mode(0o755).uid(9).file("bin/tool", "content").finish());
    let above = Layer::plain(Tar::new().dir("sbin").hard_link("sbin/tool", "bin/tool").finish());
    let (image, _) = add(&store.images, &[below.clone(), above], "example.org/a:1").await.unwrap();
    let tree = store.tree(&image, 1);
    let (link, target) = (
        std::fs::metadata(tree.join("sbin/tool")).unwrap(),
        std::fs::metadata(tree.join("bin/tool")).unwrap(),
    );
    assert_eq!((link.ino(), link.uid(), link.mode() & 0o777), (target.ino(), 9, 0o755));
    assert_eq!(std::fs::read(tree.join("sbin/tool")).unwrap(), b"content");
    let bad = Layer::plain(Tar::new().dir("sbin").hard_link("sbin/x", "bin/missing").finish());
    for layers in [&[below, bad.clone()][..], &[bad]] {
        let error = add(&store.images, layers, "example.org/b:1").await.unwrap_err();
        assert!(error.to_string().contains("bin/missing"), "{error}");
        assert_eq!(berth_types::Classify::kind(&error), berth_types::Kind::Corrupt, "{error}");
    }
    assert_eq!(store.images.list().len(), 1);
    assert_eq!(store.names("layers").len(), 2);
}

#[tokio::test]
async fn files_are_read_through_the_layers() {
    if !root("files_are_read_through_the_layers") {
        return;
    }
    let store = store().await;
    let low = Tar::new()
        .dir("etc")
        .file("etc/passwd", "low")
        .file("etc/group", "low")
        .dir("opt")
        .file("opt/x", "hidden")
        .dir("etc/sub")
        .file("etc/sub/gone", "x")
        .finish();
    let high = Tar::new()
        .dir("etc")
        .file("etc/passwd", "high")
        .file("etc/.wh.sub", "")
        .dir("opt")
        .file("opt/.wh..wh..opq", "")
        .symlink("link", "/etc/../etc/group")
        .symlink("circle", "circle")
        .symlink("up", "../../../../etc/passwd")
        .finish();
    let layers = [Layer::plain(low), Layer::plain(high)];
    let (image, _) = add(&store.images, &layers, "example.org/a:1").await.unwrap();
    let read = async |path: &str| store.images.read_file(&image.id, path, 100).await;
    assert_eq!(read("/etc/passwd").await.unwrap().as_deref(), Some(&b"high"[..]));
    assert_eq!(read("etc/group").await.unwrap().as_deref(), Some(&b"low"[..]));
    assert_eq!(read("/link").await.unwrap().as_deref(), Some(&b"low"[..]));
    assert_eq!(read("/up").await.unwrap().as_deref(), Some(&b"high"[..]));
    for gone in ["/etc/sub/gone", "/opt/x", "/nothing", "/etc/passwd/x"] {
        assert_eq!(read(gone).await.unwrap(), None, "{gone}");
    }
    assert!(read("/circle").await.is_err());
    assert!(read("/etc").await.is_err());
    assert!(store.images.read_file(&image.id, "/etc/passwd", 3).await.is_err());
}

#[tokio::test]
async fn what_does_not_match_its_digests_is_refused_and_leaves_nothing() {
    if !root("what_does_not_match_its_digests_is_refused_and_leaves_nothing") {
        return;
    }
    let store = store().await;
    let good = layer("a");
    let mut other_diff = good.clone();
    other_diff.diff_id = common::sum(b"another tar");
    let mut truncated = good.clone();
    truncated.blob.truncate(40);
    let mut garbage = good.clone();
    garbage.blob.extend_from_slice(b"after the last member");
    for (what, bad) in [("diff id", other_diff), ("truncated", truncated), ("garbage", garbage)] {
        let result = add(&store.images, &[layer("base"), bad], "example.org/a:1").await;
        assert!(result.is_err(), "{what}");
        store.assert_empty();
    }
    // The blob is not the announced one: too long, too short, other bytes.
    let ingest = store.images.ingest(source(std::slice::from_ref(&good), "sh")).await.unwrap();
    let LayerStep::Write(mut writer) = ingest.layer(0).await.unwrap() else { panic!() };
    writer.write(&good.blob).await.unwrap();
    assert!(matches!(writer.write(b"more").await, Err(StoreError::Blob { .. })));
    drop(writer);
    for change in [&good.blob[..10], &vec![0; good.blob.len()]] {
        let LayerStep::Write(mut writer) = ingest.layer(0).await.unwrap() else { panic!() };
        let error = match writer.write(change).await {
            Ok(()) => writer.finish().await.unwrap_err(),
            Err(error) => error,
        };
        assert!(matches!(error, StoreError::Blob { .. } | StoreError::Layer { .. }), "{error}");
    }
    // A failure does not poison the next attempt.
    let LayerStep::Write(mut writer) = ingest.layer(0).await.unwrap() else { panic!() };
    writer.write(&good.blob).await.unwrap();
    writer.finish().await.unwrap();
    drop(ingest);
    tokio::task::yield_now().await;
    assert_eq!(store.names("layers"), Vec::<String>::new());
    add(&store.images, &[good], "example.org/a:1").await.unwrap();
}

#[tokio::test]
async fn bombs_are_stopped_by_the_limits() {
    if !root("bombs_are_stopped_by_the_limits") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let limits = berth_image::Limits { bytes: 8 << 20, entries: 50, ratio: 100, ratio_from: 1 << 20 };
    let images = Images::open(berth_image::Config { limits, ..config(dir.path()) }).await.unwrap();
    let zeros = |size: usize| Tar::new().file("zeros", vec![0; size]).finish();
    let many = (0..60).fold(Tar::new(), |tar, n| tar.file(format!("{n}"), "")).finish();
    for (what, bomb) in [
        ("bytes", Layer::plain(zeros(9 << 20))),
        ("ratio, gzip", Layer::gzip(&zeros(4 << 20))),
        ("ratio, zstd", Layer::zstd(&zeros(4 << 20))),
        ("entries", Layer::plain(many)),
    ] {
        let error = add(&images, &[bomb], "example.org/bomb:1").await.expect_err(what);
        assert_eq!(berth_types::Classify::kind(&error), berth_types::Kind::Exhausted, "{what}: {error}");
    }
    assert_eq!(images.usage().bytes, 0);
}

#[tokio::test]
async fn two_pulls_write_a_layer_once() {
    if !root("two_pulls_write_a_layer_once") {
        return;
    }
    let store = store().await;
    let shared = layer("shared");
    let first = store.images.ingest(source(std::slice::from_ref(&shared), "a")).await.unwrap();
    let second = store.images.ingest(source(std::slice::from_ref(&shared), "b")).await.unwrap();
    let LayerStep::Write(mut writer) = first.layer(0).await.unwrap() else { panic!() };
    let waiting = tokio::spawn(async move {
        let step = second.layer(0).await.unwrap();
        (second, step)
    });
    writer.write(&shared.blob).await.unwrap();
    assert!(!waiting.is_finished());
    writer.finish().await.unwrap();
    let (second, step) = waiting.await.unwrap();
    assert!(matches!(step, LayerStep::Present));
    // The first is cancelled; what the second relies on stays.
    drop(first);
    second.commit(Names::default()).await.unwrap();
    // A writer that fails passes the turn on.
    let other = layer("other");
    let third = store.images.ingest(source(std::slice::from_ref(&other), "c")).await.unwrap();
    let fourth = store.images.ingest(source(std::slice::from_ref(&other), "d")).await.unwrap();
    let LayerStep::Write(writer) = third.layer(0).await.unwrap() else { panic!() };
    let waiting = tokio::spawn(async move { matches!(fourth.layer(0).await.unwrap(), LayerStep::Write(_)) });
    drop(writer);
    assert!(waiting.await.unwrap());
}

/// A pull of several layers that fails ends the others wherever they are, so also while the last files are made.
#[tokio::test]
async fn a_cancelled_layer_is_not_deleted_under_its_process() {
    if !root("a_cancelled_layer_is_not_deleted_under_its_process") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // A process that takes its time: until something is written to the pipe.
    let (pipe, slow) = (dir.path().join("pipe"), dir.path().join("slow"));
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let real = config(dir.path()).unpacker;
    let script = format!("#!/bin/sh\nread -r go <{}\nexec {} \"$@\"\n", pipe.display(), real.display());
    executable::script(&slow, script);
    let slow = Config { unpacker: slow, ..config(&dir.path().join("store")) };
    let store = Store { images: Images::open(slow).await.unwrap(), dir };
    let small = layer("small");
    let ingest = store.images.ingest(source(std::slice::from_ref(&small), "a")).await.unwrap();
    let LayerStep::Write(mut writer) = ingest.layer(0).await.unwrap() else { panic!() };
    writer.write(&small.blob).await.unwrap();
    let called_off = tokio::time::timeout(Duration::ZERO, writer.finish()).await;
    assert!(called_off.is_err(), "the process did not wait");
    drop(ingest);
    let empty = || ["layers", "staging"].iter().all(|name| store.names(name).is_empty());
    let early = wait_until(Duration::from_millis(300), empty);
    std::fs::write(&pipe, "go\n").unwrap();
    assert!(!early, "deleted while the process lives");
    assert!(wait_until(Duration::from_secs(60), empty));
}

#[tokio::test]
async fn a_damaged_record_is_said_kept_and_repaired_by_a_pull() {
    if !root("a_damaged_record_is_said_kept_and_repaired_by_a_pull") {
        return;
    }
    let store = store().await;
    let (good, _) = add(&store.images, &[layer("good")], "example.org/good:1").await.unwrap();
    let (bad, _) = add(&store.images, &[layer("bad")], "example.org/bad:1").await.unwrap();
    let record = store.images.dir().join("records").join(bad.id.hex());
    drop(store.images);
    std::fs::write(&record, "half a rec").unwrap();
    let images = Images::open(config(store.dir.path())).await.unwrap();
    assert_eq!(images.list().len(), 1);
    assert!(images.find(good.id.as_str()).unwrap().is_some());
    assert!(images.damaged()[0].contains(bad.id.hex()), "{:?}", images.damaged());
    let layers = || std::fs::read_dir(images.dir().join("layers")).unwrap().count();
    assert_eq!(layers(), 2, "what the damaged record may need stays");
    add(&images, &[layer("bad")], "example.org/bad:1").await.unwrap();
    assert!(images.damaged().is_empty());
    drop(images);
    std::fs::write(&record, "").unwrap();
    let images = Images::open(config(store.dir.path())).await.unwrap();
    assert!(images.remove(bad.id.hex()).await.unwrap());
    assert!(images.damaged().is_empty());
    drop(images);
    let images = Images::open(config(store.dir.path())).await.unwrap();
    assert_eq!(std::fs::read_dir(images.dir().join("layers")).unwrap().count(), 1);
}

#[tokio::test]
async fn one_process_has_the_store() {
    if !root("one_process_has_the_store") {
        return;
    }
    let store = store().await;
    let second = Images::open(config(store.dir.path())).await;
    assert!(matches!(second, Err(StoreError::Locked(_))));
    drop(store.images);
    Images::open(config(store.dir.path())).await.unwrap();
}

#[test]
fn a_directory_that_cannot_be_removed_does_not_keep_the_store_closed() {
    use rustix::mount::{MountFlags, UnmountFlags};
    if !root("a_directory_that_cannot_be_removed_does_not_keep_the_store_closed") {
        return;
    }
    let in_namespace = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let Store { dir, images } = store().await;
            drop(images);
            let busy: Vec<_> = ["trash/0", "staging/0", "layers/unknown"]
                .map(|name| dir.path().join("images").join(name).join("busy"))
                .into();
            for path in &busy {
                std::fs::create_dir_all(path).unwrap();
                rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::empty(), None).unwrap();
            }
            let images = Images::open(config(dir.path())).await.unwrap();
            let store = Store { dir, images };
            add(&store.images, &[layer("a")], "example.org/a:1").await.unwrap();
            assert!(store.images.remove("example.org/a:1").await.unwrap());
            for path in &busy {
                rustix::mount::unmount(path, UnmountFlags::empty()).unwrap();
            }
            let Store { dir, images } = store;
            drop(images);
            let images = Images::open(config(dir.path())).await.unwrap();
            Store { dir, images }.assert_empty();
        });
    };
    berth_testkit::isolated::run(&[berth_testkit::isolated::Kind::Mount], in_namespace).unwrap();
}
