//! Archives as other tools make them: OCI layouts with several manifests, with what is not an image beside them, with
//! names in unusual places, and compressed as a whole.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::fs::File;
use std::sync::Arc;

use berth_image::{ArchiveError, Image};
use berth_types::{Classify, Kind};
use common::{Layer, Store, Tar, gzip, root, store, sum, tool, zstd};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const NAME: &str = "io.containerd.image.name";

/// An OCI layout that is put together blob by blob.
#[derive(Default)]
struct Layout {
    tar: Tar,
    manifests: Vec<Value>,
}

impl Layout {
    /// Adds a document or other bytes; gives its descriptor.
    fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = sum(bytes);
        let tar = std::mem::take(&mut self.tar);
        self.tar = tar.file(format!("blobs/sha256/{}", digest.hex()), bytes);
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    fn document(&mut self, media_type: &str, document: &Value) -> Value {
        self.blob(media_type, document.to_string().as_bytes())
    }

    /// An image with one layer, in which there is one file.
    fn image(&mut self, architecture: &str, file: &str) -> Value {
        let layer = Layer::gzip(&Tar::new().file(file, "x").finish());
        let config = json!({
            "architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
        });
        let config = self.document("application/vnd.oci.image.config.v1+json", &config);
        // A layer that is declared as a plain tar and is not.
        let layer = self.blob("application/vnd.oci.image.layer.v1.tar", &layer.blob);
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        self.document(MANIFEST, &manifest)
    }

    /// What is not an image: a signature or an attestation.
    fn artifact(&mut self) -> Value {
        let empty = self.blob("application/vnd.oci.empty.v1+json", b"{}");
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example.sbom",
            "config": empty, "layers": [empty],
        });
        self.document(MANIFEST, &manifest)
    }

    fn list(&mut self, descriptor: Value) {
        self.manifests.push(descriptor);
    }

    fn finish(self) -> Vec<u8> {
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        self.tar.file("index.json", index.to_string()).file("oci-layout", "{}").finish()
    }
}

fn with(mut descriptor: Value, key: &str, value: Value) -> Value {
    descriptor[key] = value;
    descriptor
}

fn named(descriptor: Value, name: &str) -> Value {
    with(descriptor, "annotations", json!({ NAME: name }))
}

fn platform(descriptor: Value, architecture: &str) -> Value {
    with(descriptor, "platform", json!({"os": "linux", "architecture": architecture, "variant": null}))
}

/// This machine's architecture and two others.
fn architectures() -> [&'static str; 3] {
    if cfg!(target_arch = "x86_64") { ["amd64", "arm64", "s390x"] } else { ["arm64", "amd64", "s390x"] }
}

async fn load(store: &Store, archive: &[u8]) -> Result<Vec<Arc<Image>>, ArchiveError> {
    let path = store.dir.path().join("archive");
    std::fs::write(&path, archive).unwrap();
    store.images.load(File::open(&path).unwrap(), |_| {}).await
}

#[tokio::test]
async fn of_manifests_with_one_name_this_machines_is_loaded() {
    if !root("of_manifests_with_one_name_this_machines_is_loaded") {
        return;
    }
    let [own, other, third] = architectures();
    let mut layout = Layout::default();
    for architecture in [other, own, third] {
        let image = layout.image(architecture, architecture);
        layout.list(named(platform(image, architecture), "example.org/a:1"));
    }
    // Without names each is an image of its own, where it is for this machine.
    for (architecture, file) in [(own, "one"), (other, "two"), (own, "three")] {
        let image = layout.image(architecture, file);
        layout.list(platform(image, architecture));
    }
    let store = store().await;
    let loaded = load(&store, &layout.finish()).await.unwrap();
    let shown: Vec<_> = loaded.iter().map(|i| (i.config.architecture.as_str(), i.tags.len())).collect();
    assert_eq!(shown, [(own, 1), (own, 0), (own, 0)]);
}

#[tokio::test]
async fn an_index_is_followed_to_what_is_there_of_it() {
    if !root("an_index_is_followed_to_what_is_there_of_it") {
        return;
    }
    let [own, other, _] = architectures();
    for there in [own, other] {
        let mut layout = Layout::default();
        let entries: Vec<Value> = [own, other]
            .into_iter()
            .map(|architecture| {
                // docker saves the whole index and the blobs of the platforms that it has.
                let mut elsewhere = Layout::default();
                let into = if architecture == there { &mut layout } else { &mut elsewhere };
                platform(into.image(architecture, "x"), architecture)
            })
            .collect();
        let attestation = platform(layout.artifact(), "unknown");
        let attestation = with(attestation, "platform", json!({"os": "unknown", "architecture": "unknown"}));
        let entries: Vec<Value> = std::iter::once(attestation).chain(entries).collect();
        let inner = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
        let inner = layout.document(INDEX, &inner);
        let digest = inner["digest"].as_str().unwrap().to_owned();
        layout.list(named(inner, "example.org/a:1"));
        let store = store().await;
        let loaded = load(&store, &layout.finish()).await.unwrap();
        assert_eq!(loaded[0].config.architecture, there);
        // The name by digest is the one of a registry.
        assert_eq!(loaded[0].repo_digests, [format!("example.org/a@{digest}")]);
    }
}

#[tokio::test]
async fn entries_that_are_not_images_are_skipped_unless_there_is_nothing_else() {
    if !root("entries_that_are_not_images_are_skipped_unless_there_is_nothing_else") {
        return;
    }
    let mut layout = Layout::default();
    let artifact = layout.artifact();
    layout.list(artifact.clone());
    let image = layout.image(architectures()[0], "x");
    // Media types of descriptors are left out by some.
    layout.list(with(named(image, "example.org/a:1"), "mediaType", Value::Null));
    let here = store().await;
    assert_eq!(load(&here, &layout.finish()).await.unwrap().len(), 1);

    let mut layout = Layout::default();
    let artifact = layout.artifact();
    layout.list(artifact);
    let here = store().await;
    let error = load(&here, &layout.finish()).await.unwrap_err();
    assert!(error.to_string().contains("sbom"), "{error}");
    here.assert_empty();
}

#[tokio::test]
async fn without_this_machines_platform_the_error_says_so() {
    if !root("without_this_machines_platform_the_error_says_so") {
        return;
    }
    let [_, other, third] = architectures();
    let mut layout = Layout::default();
    for architecture in [other, third] {
        let image = layout.image(architecture, architecture);
        layout.list(named(platform(image, architecture), "example.org/a:1"));
    }
    let store = store().await;
    let error = load(&store, &layout.finish()).await.unwrap_err();
    assert!(matches!(error, ArchiveError::NoPlatform(_)), "{error}");
    assert_eq!(error.kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_layout_may_have_its_names_in_dockers_list_alone() {
    if !root("a_layout_may_have_its_names_in_dockers_list_alone") {
        return;
    }
    let mut layout = Layout::default();
    let image = layout.image(architectures()[0], "x");
    layout.list(image);
    let config = json!({
        "architecture": architectures()[0], "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [Layer::gzip(&Tar::new().file("x", "x").finish()).diff_id]},
    });
    let config = format!("blobs/sha256/{}", sum(config.to_string().as_bytes()).hex());
    let docker = json!([{"Config": config, "RepoTags": ["app:1", "example.org/app:2"], "Layers": null}]);
    layout.tar = layout.tar.file("manifest.json", docker.to_string());
    let store = store().await;
    let loaded = load(&store, &layout.finish()).await.unwrap();
    assert_eq!(loaded[0].tags, ["docker.io/library/app:1", "example.org/app:2"]);
}

#[tokio::test]
async fn an_archive_may_be_compressed_as_a_whole() {
    if !root("an_archive_may_be_compressed_as_a_whole") {
        return;
    }
    let mut layout = Layout::default();
    let image = layout.image(architectures()[0], "x");
    layout.list(named(image, "example.org/a:1"));
    let tar = layout.finish();
    let store = store().await;
    for archive in [gzip(&tar), zstd(&tar)] {
        assert_eq!(load(&store, &archive).await.unwrap()[0].tags, ["example.org/a:1"]);
        assert_eq!(store.names("staging"), Vec::<String>::new());
    }
    let mut truncated = gzip(&tar);
    truncated.truncate(truncated.len() / 2);
    for (archive, word) in [(truncated, "incomplete"), (b"BZh91AY&SYxxxx".to_vec(), "bzip2")] {
        let error = load(&store, &archive).await.unwrap_err();
        let text = berth_types::error::chain(&error);
        assert!(text.contains(word), "{text}");
        assert_eq!(error.kind(), Kind::Invalid);
        assert_eq!(store.names("staging"), Vec::<String>::new());
    }
}

#[tokio::test]
async fn what_umoci_builds_and_skopeo_converts_is_the_same_image() {
    const TEST: &str = "what_umoci_builds_and_skopeo_converts_is_the_same_image";
    if !root(TEST) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (layout, chunked, docker) = (path("layout"), path("zstd"), path("docker.tar"));
    std::fs::create_dir_all(path("files/etc")).unwrap();
    std::fs::write(path("files/etc/kept"), "kept").unwrap();
    let image = format!("{layout}:app");
    let steps: [&[&str]; 5] = [
        &["init", "--layout", &layout],
        &["new", "--image", &image],
        &["insert", "--image", &image, &path("files"), "/"],
        &["insert", "--image", &image, "--opaque", &path("files/etc"), "/srv"],
        &["insert", "--image", &image, "--whiteout", "/srv/kept"],
    ];
    if !steps.iter().all(|arguments| tool(TEST, "umoci", arguments)) {
        return;
    }
    let (from, policy) = (format!("oci:{image}"), "--insecure-policy");
    let zstd = ["copy", policy, "--dest-compress-format", "zstd", &from, &format!("oci:{chunked}:app")];
    let archive = ["copy", policy, &from, &format!("docker-archive:{docker}:example.org/app:1")];
    if ![&zstd[..], &archive].iter().all(|arguments| tool(TEST, "skopeo", arguments)) {
        return;
    }
    for name in ["layout", "zstd"] {
        // Compressed as a whole too.
        assert!(tool(TEST, "tar", &["-czf", &path(&format!("{name}.tar")), "-C", &path(name), "."]));
    }
    let mut diff_ids = Vec::new();
    for name in ["layout.tar", "zstd.tar", "docker.tar"] {
        let store = store().await;
        let loaded = store.images.load(File::open(path(name)).unwrap(), |_| {}).await.unwrap();
        let [image] = &loaded[..] else { panic!("{name}: {} images", loaded.len()) };
        let read = async |path: &str| store.images.read_file(&image.id, path, 10).await.unwrap();
        assert_eq!(read("/etc/kept").await.as_deref(), Some(&b"kept"[..]), "{name}");
        assert_eq!(read("/srv/kept").await, None, "{name}");
        store.images.verify(&image.id).await.unwrap();
        diff_ids.push(image.config.diff_ids.clone());
    }
    assert!(diff_ids.windows(2).all(|pair| pair[0] == pair[1]));
}
