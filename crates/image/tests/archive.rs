//! Archives: ours read by others, others' read by us, and hostile ones.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::fs::File;
use std::process::Command;

use berth_image::Images;
use common::{Layer, Tar, add, config, root, store, tool};

fn tar() -> Vec<u8> {
    Tar::new()
        .dir("etc")
        .file("etc/a", "one")
        .file("etc/big", vec![3; 700_000])
        .symlink("etc/l", "a")
        .hard_link("etc/h", "etc/big")
        .pax(&[("mtime", b"5.5")])
        .file("etc/pax", "x")
        .finish()
}

#[tokio::test]
async fn what_is_saved_is_loaded_with_the_same_id() {
    if !root("what_is_saved_is_loaded_with_the_same_id") {
        return;
    }
    let store = store().await;
    let layers = [Layer::gzip(&tar()), Layer::zstd(&Tar::new().file("b", "two").finish())];
    let (image, _) = add(&store.images, &layers, "example.org/app:1").await.unwrap();
    store.images.verify(&image.id).await.unwrap();
    let path = store.dir.path().join("saved.tar");
    store.images.save(&["example.org/app:1".into()], File::create(&path).unwrap()).await.unwrap();
    let other = common::store().await;
    let mut steps = 0;
    let loaded = other.images.load(File::open(&path).unwrap(), |_| steps += 1).await.unwrap();
    assert_eq!((loaded[0].id.clone(), loaded[0].tags.clone()), (image.id.clone(), image.tags.clone()));
    assert!(steps >= 2);
    other.images.verify(&image.id).await.unwrap();
    // Through a pipe.
    let third = common::store().await;
    let mut cat = Command::new("cat").arg(&path).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let pipe = File::from(std::os::fd::OwnedFd::from(cat.stdout.take().unwrap()));
    assert_eq!(third.images.load(pipe, |_| {}).await.unwrap()[0].id, image.id);
    cat.wait().unwrap();
}

#[tokio::test]
async fn a_changed_file_is_found_by_verify() {
    if !root("a_changed_file_is_found_by_verify") {
        return;
    }
    let store = store().await;
    let (image, _) = add(&store.images, &[Layer::gzip(&tar())], "example.org/app:1").await.unwrap();
    std::fs::write(store.tree(&image, 0).join("etc/a"), "two").unwrap();
    let error = store.images.verify(&image.id).await.unwrap_err();
    assert_eq!(berth_types::Classify::kind(&error), berth_types::Kind::Corrupt, "{error}");
}

#[tokio::test]
async fn skopeo_reads_ours_and_we_read_skopeos() {
    const TEST: &str = "skopeo_reads_ours_and_we_read_skopeos";
    if !root(TEST) {
        return;
    }
    let store = store().await;
    let layers = [Layer::gzip(&tar()), Layer::plain(Tar::new().file("b", "two").finish())];
    let (image, _) = add(&store.images, &layers, "example.org/app:1").await.unwrap();
    let path = |name: &str| store.dir.path().join(name).to_str().unwrap().to_owned();
    let ours = path("ours.tar");
    store.images.save(&["example.org/app:1".into()], File::create(&ours).unwrap()).await.unwrap();
    let policy = "--insecure-policy";
    for (from, to) in [
        (
            format!("docker-archive:{ours}"),
            format!("docker-archive:{}:example.org/app:2", path("docker.tar")),
        ),
        (format!("oci-archive:{ours}:1"), format!("oci-archive:{}:example.org/app:3", path("oci.tar"))),
    ] {
        if !tool(TEST, "skopeo", &["copy", policy, &from, &to]) {
            return;
        }
    }
    for (name, tag) in [("docker.tar", "example.org/app:2"), ("oci.tar", "example.org/app:3")] {
        let other = common::store().await;
        let loaded = other.images.load(File::open(path(name)).unwrap(), |_| {}).await.unwrap();
        assert_eq!((loaded[0].tags.as_slice(), loaded.len()), (&[tag.to_owned()][..], 1), "{name}");
        assert_eq!(loaded[0].config.diff_ids, image.config.diff_ids, "{name}");
    }
}

#[tokio::test]
async fn malformed_archives_are_refused_and_leave_nothing() {
    if !root("malformed_archives_are_refused_and_leave_nothing") {
        return;
    }
    let store = store().await;
    let docker = |json: &str| Tar::new().file("manifest.json", json).finish();
    let mut truncated = Tar::new().file("manifest.json", "[]").file("x", vec![0; 4096]).finish();
    truncated.truncate(2500);
    let archives = vec![
        ("nothing", vec![]),
        ("no tar", b"PK\x03\x04 zip?".repeat(200)),
        ("no manifest", Tar::new().file("hello", "x").finish()),
        ("no JSON", docker("{")),
        ("missing config", docker(r#"[{"Config":"c.json","RepoTags":null,"Layers":[]}]"#)),
        ("upwards", docker(r#"[{"Config":"../../etc/passwd","RepoTags":null,"Layers":[]}]"#)),
        ("upwards link", Tar::new().symlink("manifest.json", "../../etc/passwd").finish()),
        ("link in a circle", Tar::new().symlink("manifest.json", "manifest.json").finish()),
        ("a device", Tar::new().node(b'3', "manifest.json", (1, 3)).finish()),
        ("truncated", truncated),
        (
            "a lie about a blob",
            Tar::new()
                .file(
                    "index.json",
                    format!(
                        r#"{{"schemaVersion":2,"manifests":[{{"digest":"sha256:{}","size":2}}]}}"#,
                        "a".repeat(64)
                    ),
                )
                .file(format!("blobs/sha256/{}", "a".repeat(64)), "{}")
                .finish(),
        ),
    ];
    for (what, bytes) in archives {
        let path = store.dir.path().join("bad.tar");
        std::fs::write(&path, bytes).unwrap();
        let result = store.images.load(File::open(&path).unwrap(), |_| {}).await;
        assert!(result.is_err(), "{what}");
        store.assert_empty();
    }
}

/// The same layer unpacked by GNU tar has the same files.
#[tokio::test]
async fn gnu_tar_agrees() {
    const TEST: &str = "gnu_tar_agrees";
    if !root(TEST) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let script = r#"
set -e; mkdir -p src/d/e; cd src
echo hello > d/plain; chmod 4755 d/plain; chown 12:34 d/plain; ln d/plain d/hard; ln -s ../x d/sym
mkfifo d/fifo; mknod d/null c 1 3; truncate -s 3M d/sparse; printf end >> d/sparse
printf 'mid' | dd of=d/sparse bs=1 seek=1000000 conv=notrunc 2>/dev/null
n=$(printf 'n%.0s' $(seq 200)); echo long > "d/e/$n"; chmod 1777 d/e; touch -d '2001-02-03 04:05:06.789' d/plain"#;
    let status = Command::new("sh").args(["-c", script]).current_dir(dir.path()).status().unwrap();
    assert!(status.success());
    for (n, format) in [
        "--format=gnu",
        "--format=pax",
        "--format=gnu --sparse",
        "--format=pax --sparse",
        "--format=pax --sparse --sparse-version=0.0",
        "--format=pax --sparse --sparse-version=0.1",
    ]
    .into_iter()
    .enumerate()
    {
        let archive = path(&format!("{n}.tar"));
        let mut arguments: Vec<&str> = format.split(' ').collect();
        let source = path("src");
        arguments.extend(["--sort=name", "-cf", &archive, "-C", &source, "."]);
        if !tool(TEST, "tar", &arguments) {
            return;
        }
        let theirs = path(&format!("theirs{n}"));
        std::fs::create_dir(&theirs).unwrap();
        tool(TEST, "tar", &["-xpf", &archive, "-C", &theirs]);
        let images = Images::open(config(&dir.path().join(format!("store{n}")))).await.unwrap();
        let layer = Layer::plain(std::fs::read(&archive).unwrap());
        let (image, _) = add(&images, &[layer], "example.org/a:1").await.unwrap();
        let ours = images.dir().join("layers").join(image.layers[0].dir_name()).join("fs");
        assert_eq!(listing(ours.to_str().unwrap()), listing(&theirs), "{format}");
        images.verify(&image.id).await.unwrap();
    }
}

fn listing(dir: &str) -> String {
    let script = r#"find . -printf '%p %y %m %U %G %s %n %l %T@\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum"#;
    let output = Command::new("sh").args(["-c", script]).current_dir(dir).output().unwrap();
    // A directory's size depends on the file system; whole seconds are enough where the format has no more.
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().filter(|l| !l.is_empty()).map(|l| format!("{l}\n")).collect()
}

#[tokio::test]
async fn layers_of_dockers_archives_may_be_links() {
    if !root("layers_of_dockers_archives_may_be_links") {
        return;
    }
    let layer = Tar::new().file("f", "x").finish();
    let diff_id = common::sum(&layer);
    let diff_ids = vec![&diff_id; 4];
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let manifest = serde_json::json!([{
        "Config": "c.json", "RepoTags": ["app:1"],
        "Layers": ["a/layer.tar", "b/layer.tar", "c/layer.tar", "d/layer.tar"],
    }]);
    let archive = Tar::new()
        .file("a/layer.tar", layer)
        .symlink("b/layer.tar", "../a/layer.tar")
        .symlink("c/layer.tar", "a/layer.tar")
        .hard_link("d/layer.tar", "a/layer.tar")
        .file("c.json", config.to_string())
        .file("manifest.json", manifest.to_string())
        .finish();
    let store = store().await;
    let path = store.dir.path().join("docker.tar");
    std::fs::write(&path, archive).unwrap();
    let loaded = store.images.load(File::open(&path).unwrap(), |_| {}).await.unwrap();
    assert_eq!(loaded[0].tags, ["docker.io/library/app:1"]);
    assert_eq!(loaded[0].config.diff_ids.len(), 4);
}
