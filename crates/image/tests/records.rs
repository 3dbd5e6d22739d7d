//! Records of other versions, damaged ones and those that cannot be read now: nothing that a container may be using is
//! removed.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use berth_image::{Images, StoreError};
use berth_types::{Classify, ContainerId};
use common::{Layer, Store, Tar, add, config, root, store, sum};

fn container(n: u8) -> ContainerId {
    ContainerId::from_random([n; 32])
}

fn layer(name: &str) -> Layer {
    Layer::gzip(&Tar::new().dir(name).file(format!("{name}/f"), name).finish())
}

/// Every path below a directory with what it is and holds.
fn listing(dir: &Path) -> String {
    let output = Command::new("find").arg(dir).args(["-printf", "%P %y %s %i\n"]).output().unwrap();
    assert!(output.status.success());
    let mut lines: Vec<_> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// A store of a version, as its program left it, in a directory of its own.
fn fixture(version: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(version).join(".");
    let copied = Command::new("cp").arg("-r").args([&from, dir.path()]).status().unwrap();
    assert!(copied.success());
    // git keeps no empty directories, and no owner.
    let work = dir.path().join("snapshots").join(container(1).as_str()).join("work/work");
    std::fs::create_dir_all(work).unwrap();
    assert!(Command::new("chown").args(["-R", "0:0"]).arg(dir.path()).status().unwrap().success());
    dir
}

#[tokio::test]
async fn a_store_of_every_version_is_read() {
    if !root("a_store_of_every_version_is_read") {
        return;
    }
    for version in ["v1"] {
        let dir = fixture(version);
        let images = Images::open(config(dir.path())).await.unwrap();
        assert_eq!((images.damaged(), images.unreadable_snapshots()), (vec![], vec![]), "{version}");
        let image = images.find("example.org/fixture:1").unwrap().unwrap();
        assert_eq!((image.layers.len(), image.pinned, image.inodes), (2, true, 8));
        // The recipe of each layer still makes the tar of its diff id.
        images.verify(&image.id).await.unwrap();
        assert_eq!(images.snapshots(), [container(1)]);
        let upper = dir.path().join("snapshots").join(container(1).as_str()).join("upper");
        assert_eq!(std::fs::read(upper.join("written")).unwrap(), b"by the container\n");
        // A pull of the same layers finds them, and what is removed is removed whole.
        images.remove_snapshot(&container(1)).await.unwrap();
        assert!(images.remove(image.id.as_str()).await.unwrap());
        Store { dir, images }.assert_empty();
    }
}

/// Writes a record as [`berth_image`] does, with any text.
fn write_record(path: &Path, json: &str) {
    std::fs::write(path, format!("{}\n{json}", sum(json.as_bytes()).hex())).unwrap();
}

fn json_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap().split_once('\n').unwrap().1.to_owned()
}

/// A store with an image and a container that wrote a file.
struct Running {
    store: PathBuf,
    _dir: tempfile::TempDir,
    record: PathBuf,
    written: PathBuf,
    image: String,
    snapshot: berth_image::Snapshot,
}

async fn running() -> Running {
    let Store { dir, images } = store().await;
    let (image, _) = add(&images, &[layer("a")], "example.org/a:1").await.unwrap();
    let snapshot = images.snapshot(&container(1), &image.id, &[]).await.unwrap();
    let written = snapshot.upper.join("written");
    std::fs::write(&written, "by the container").unwrap();
    std::fs::create_dir(snapshot.work.join("work")).unwrap();
    let record = snapshot.upper.with_file_name("record");
    let store = dir.path().to_owned();
    Running { store, _dir: dir, record, written, image: image.id.to_string(), snapshot }
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_is_kept_with_its_layers() {
    if !root("a_snapshot_that_cannot_be_read_is_kept_with_its_layers") {
        return;
    }
    type Fault = fn(&Path);
    let faults: [(&str, Fault); 7] = [
        ("cut to nothing", |record| std::fs::write(record, "").unwrap()),
        ("garbage", |record| std::fs::write(record, [0xff; 4096]).unwrap()),
        ("missing", |record| std::fs::remove_file(record).unwrap()),
        ("an error of the disk", |record| {
            // Reading a directory fails with an error that is neither "not there" nor damage.
            std::fs::remove_file(record).unwrap();
            std::fs::create_dir(record).unwrap();
        }),
        ("another container's", |record| {
            let other = json_of(record).replace(container(1).as_str(), container(2).as_str());
            write_record(record, &other);
        }),
        ("without a field", |record| {
            write_record(record, &json_of(record).replace("\"diff_id\"", "\"other\""));
        }),
        ("without its work directory", |record| {
            std::fs::remove_dir_all(record.with_file_name("work")).unwrap();
        }),
    ];
    for (what, fault) in faults {
        let run = running().await;
        let good = std::fs::read(&run.record).unwrap();
        fault(&run.record);
        let images = Images::open(config(&run.store)).await.unwrap();
        assert_eq!(images.snapshots(), [container(1)], "{what}");
        assert_eq!(images.unreadable_snapshots().len(), 1, "{what}");
        assert!(images.snapshot_usage(&container(1)).await.unwrap().inodes >= 2, "{what}");
        // Neither the removal of its image nor a pull of the same layer removes the layer below it.
        let tree = std::fs::read_dir(run.store.join("images/layers")).unwrap().next().unwrap().unwrap();
        let file = std::fs::File::open(tree.path().join("fs/a/f")).unwrap();
        let links = || std::os::unix::fs::MetadataExt::nlink(&file.metadata().unwrap());
        assert!(images.remove(&run.image).await.unwrap());
        add(&images, &[layer("a")], "example.org/a:1").await.unwrap();
        assert!(images.remove("example.org/a:1").await.unwrap());
        assert_eq!(std::fs::read(&run.written).unwrap(), b"by the container", "{what}");
        assert_eq!(links(), 1, "{what}");
        // The next daemon leaves it too; what is repaired is used again.
        drop(images);
        let mut images = Images::open(config(&run.store)).await.unwrap();
        assert_eq!((std::fs::read(&run.written).unwrap().len(), links()), (16, 1), "{what}");
        if !run.record.is_dir() && run.record.with_file_name("work").exists() {
            std::fs::write(&run.record, good).unwrap();
            drop(images);
            images = Images::open(config(&run.store)).await.unwrap();
            assert_eq!(images.unreadable_snapshots().len(), 0, "{what}");
        }
        images.remove_snapshot(&container(1)).await.unwrap();
        assert_eq!(images.snapshots(), [], "{what}");
        drop(images);
        let images = Images::open(config(&run.store)).await.unwrap();
        assert_eq!(std::fs::read_dir(images.dir().join("layers")).unwrap().count(), 0, "{what}");
    }
}

#[tokio::test]
async fn a_snapshot_outlives_the_loss_of_a_layer() {
    if !root("a_snapshot_outlives_the_loss_of_a_layer") {
        return;
    }
    let run = running().await;
    std::fs::remove_dir_all(run.store.join("images/layers")).unwrap();
    let images = Images::open(config(&run.store)).await.unwrap();
    assert_eq!(images.snapshots(), [container(1)]);
    assert!(run.written.exists());
}

#[tokio::test]
async fn what_was_never_mounted_is_removed() {
    if !root("what_was_never_mounted_is_removed") {
        return;
    }
    let Store { dir, images } = store().await;
    let (image, _) = add(&images, &[layer("a")], "example.org/a:1").await.unwrap();
    let upper = images.snapshot(&container(1), &image.id, &[]).await.unwrap().upper;
    let record = upper.with_file_name("record");
    drop(images);
    let half = |n: u8| dir.path().join("snapshots").join(container(n).as_str());
    for n in 2..6 {
        std::fs::create_dir(half(n)).unwrap();
    }
    std::fs::copy(&record, half(3).join("record.1.tmp")).unwrap();
    let json = json_of(&record).replace(container(1).as_str(), container(4).as_str());
    write_record(&half(4).join("record"), &json);
    std::fs::create_dir(half(5).join("upper")).unwrap();
    let foreign = dir.path().join("snapshots/lost+found");
    std::fs::create_dir(&foreign).unwrap();
    let images = Images::open(config(dir.path())).await.unwrap();
    assert_eq!((images.snapshots(), images.unreadable_snapshots()), (vec![container(1)], vec![]));
    for n in 2..6 {
        assert!(!half(n).exists(), "{n}");
    }
    assert!(foreign.exists(), "what is no snapshot is left alone");
}

#[tokio::test]
async fn a_newer_store_is_read_as_far_as_it_allows_or_refused_untouched() {
    if !root("a_newer_store_is_read_as_far_as_it_allows_or_refused_untouched") {
        return;
    }
    let run = running().await;
    let image = run.store.join("images/records").join(run.image.trim_start_matches("sha256:"));
    let format = run.store.join("images/format");
    let raise = |path: &Path, to: &str| {
        let json = json_of(path).replace("\"version\":1,\"min_reader\":1", to);
        assert!(json.contains(to));
        write_record(path, &json);
    };
    // Fields that are not known, in records that this version may read.
    for path in [&image, &run.record, &format] {
        raise(path, "\"version\":7,\"min_reader\":1,\"later\":[{}]");
    }
    let images = Images::open(config(&run.store)).await.unwrap();
    assert_eq!((images.damaged(), images.unreadable_snapshots()), (vec![], vec![]));
    assert_eq!((images.list().len(), images.snapshots()), (1, vec![container(1)]));
    drop(images);
    // Leftovers of a killed pull, which a successful open would remove.
    std::fs::create_dir(run.store.join("images/staging/1.0")).unwrap();
    for path in [&image, &run.record, &format] {
        let good = std::fs::read(path).unwrap();
        for newer in [r#"{"version":9,"min_reader":8,"record":{"other":1}}"#, r#"{"version":2,"record":{}}"#]
        {
            write_record(path, newer);
            let before = listing(&run.store);
            let error = Images::open(config(&run.store)).await.unwrap_err();
            assert!(matches!(error, StoreError::Newer { known: 1, .. }), "{error}");
            assert!(error.hint().unwrap().contains("nothing was changed"));
            assert_eq!(listing(&run.store), before);
        }
        std::fs::write(path, good).unwrap();
    }
    Images::open(config(&run.store)).await.unwrap();
}

/// What another user of the host finds in a store: paths that it may read, enter or execute.
fn seen_by_others(store: &Path) -> String {
    use std::os::unix::process::CommandExt;
    let output = Command::new("find")
        .arg(store)
        .args(["-mindepth", "1", "(", "-readable", "-o", "-executable", "-o", "-writable", ")"])
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn another_user_of_the_host_finds_nothing_in_the_store() {
    use std::os::unix::fs::PermissionsExt;
    if !root("another_user_of_the_host_finds_nothing_in_the_store") {
        return;
    }
    let open_to_all = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let run = running().await;
    // The root directory has other things in it that users may reach; a container made a program that runs as root.
    open_to_all(&run.store);
    let setuid = run.written.with_file_name("setuid");
    std::fs::copy("/bin/true", &setuid).unwrap();
    std::fs::set_permissions(&setuid, std::fs::Permissions::from_mode(0o4755)).unwrap();
    assert_eq!(seen_by_others(&run.store), "");
    // The directories of an older store are closed to others when it is opened.
    for name in ["images", "images/layers", "images/records", "snapshots"] {
        open_to_all(&run.store.join(name));
    }
    open_to_all(run.record.parent().unwrap());
    assert!(seen_by_others(&run.store).contains("setuid"));
    let images = Images::open(config(&run.store)).await.unwrap();
    assert_eq!(seen_by_others(&run.store), "");
    for name in ["images", "images/layers", "images/records", "images/blobs", "images/empty", "snapshots"] {
        let mode = std::fs::metadata(run.store.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700, "{name}");
    }
    for record in [&run.record, &run.store.join("images/format")] {
        assert_eq!(std::fs::metadata(record).unwrap().permissions().mode() & 0o7777, 0o600);
    }
    // The kernel resolves the layers with the rights of the mounting process.
    assert_eq!(images.snapshots(), [container(1)]);
    let overlay = berth_sys::overlay::Overlay {
        lowers: &run.snapshot.lowers,
        upper: &run.snapshot.upper,
        work: &run.snapshot.work,
    };
    let mounted = berth_sys::overlay::mount(&overlay).unwrap();
    rustix::fs::statat(&mounted, "written", rustix::fs::AtFlags::empty()).unwrap();
}
