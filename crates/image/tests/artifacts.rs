//! OCI artifacts: pulled as images of one file for each blob.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;

use berth_image::Image;
use berth_image::credentials::Keyring;
use berth_image::pull::{Progress, PullError, PullRequest, Puller};
use berth_image::registry::{Config, Registry};
use berth_testkit::image::{Built, Content, Index, digest_of};
use berth_testkit::registry::{Fault, FaultAction, On, Registry as TestRegistry};
use berth_types::{Classify, Kind};
use common::{Store, root, store};
use serde_json::json;

/// Files with their titles, as `oras push` packs them.
fn artifact(files: &[(Option<&str>, &[u8])]) -> Built {
    let layer = |(title, bytes): &(Option<&str>, &[u8])| {
        let annotations = title.map(|title| json!({ "org.opencontainers.image.title": title }));
        json!({
            "mediaType": "application/vnd.example.file", "digest": digest_of(bytes).to_string(), "size": bytes.len(),
            "annotations": annotations,
        })
    };
    let layers: Vec<_> = files.iter().map(layer).collect();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": kind, "artifactType": "application/vnd.example", "layers": layers,
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}").to_string(), "size": 2,
        },
    });
    let mut built = Built::document(kind, &manifest);
    built.blobs = files.iter().map(|(_, b)| (digest_of(b), Content::Memory(b.to_vec().into()))).collect();
    built
}

struct Scene {
    registry: TestRegistry,
    store: Store,
}

impl Scene {
    async fn new() -> Self {
        Self { registry: TestRegistry::start().unwrap(), store: store().await }
    }

    async fn pull(&self, rest: &str) -> Result<Arc<Image>, PullError> {
        let config = Config { proxy_from_environment: false, ..Config::default() };
        let puller = Puller::new(Registry::new(config), self.store.images.clone());
        let reference = format!("{}/{rest}", self.registry.host());
        let request = PullRequest { reference, keyring: Keyring::default(), platform: None, artifact: false };
        puller.pull(request, Progress::none()).await
    }

    fn blobs_asked(&self) -> usize {
        self.registry.requests().iter().filter(|r| r.method == "GET" && r.path.contains("/blobs/")).count()
    }
}

/// contract 27 and 38: an artifact has an id, a digest, a size and a tag like any image.
#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_is_pulled_once_shares_its_files_and_is_removed() {
    if !root("an_artifact_is_pulled_once_shares_its_files_and_is_removed") {
        return;
    }
    let scene = Scene::new().await;
    let weights: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    let first = artifact(&[
        (Some("model/weights"), &weights),
        (Some("readme"), b"1"),
        (None, b"no title"),
        (Some("none"), b""),
    ]);
    scene.registry.push("a/b", "1", &first);
    scene.registry.push("a/b", "2", &artifact(&[(Some("model/weights"), &weights), (Some("readme"), b"2")]));
    let one = scene.pull("a/b:1").await.unwrap();
    assert_eq!(one.config.artifact, "application/vnd.example");
    assert_eq!(one.repo_digests, [format!("{}/a/b@{}", scene.registry.host(), first.digest)]);
    assert_eq!(one.manifest, first.digest);
    assert_eq!(one.size, weights.len() as u64 + 1 + 8);
    for (path, expected) in [
        ("model/weights", &weights[..]),
        ("readme", b"1"),
        (digest_of(b"no title").hex(), b"no title"),
        ("none", b""),
    ] {
        let found = scene.store.images.read_file(&one.id, path, 1 << 30).await.unwrap();
        assert!(found.as_deref() == Some(expected), "{path}");
    }
    let asked = scene.registry.requests().len();
    assert_eq!(scene.pull("a/b:1").await.unwrap().id, one.id);
    assert_eq!(scene.registry.requests().len(), asked + 1, "one question");
    let blobs = scene.blobs_asked();
    let two = scene.pull("a/b:2").await.unwrap();
    assert_ne!(two.id, one.id);
    assert_eq!(scene.blobs_asked(), blobs + 1, "only the file that differs");
    let archive = std::fs::File::create(scene.store.dir.path().join("saved")).unwrap();
    let refused = scene.store.images.save(&[one.id.to_string()], archive).await;
    assert!(refused.unwrap_err().to_string().contains("artifact"));
    for image in [&one, &two] {
        assert!(scene.store.images.remove(image.id.as_str()).await.unwrap());
    }
    scene.store.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_its_digest_or_has_no_good_name_leaves_nothing() {
    if !root("a_file_that_is_not_its_digest_or_has_no_good_name_leaves_nothing") {
        return;
    }
    let scene = Scene::new().await;
    let built = artifact(&[(Some("a"), b"right"), (Some("b"), b"wrong")]);
    scene.registry.push("a/b", "1", &built);
    scene.registry.fault(Fault::new(On::Path(digest_of(b"wrong").to_string()), FaultAction::WrongBytes));
    let error = scene.pull("a/b:1").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    scene.store.assert_empty();
    scene.registry.clear_faults();
    let asked = scene.blobs_asked();
    for title in ["../../../../etc/cron.d/x", "/etc/x", "a/../../x", "..", "."] {
        scene.registry.push("a/b", "2", &artifact(&[(Some("fine"), b"right"), (Some(title), b"x")]));
        let error = scene.pull("a/b:2").await.unwrap_err();
        let text = berth_types::error::chain(&error);
        assert!(text.contains("is not the name of a file in it"), "{text}");
        assert_eq!(error.kind(), Kind::Invalid, "{text}");
    }
    assert_eq!(scene.blobs_asked(), asked, "nothing is fetched");
    scene.store.assert_empty();
    scene.pull("a/b:1").await.unwrap();
}

/// A file in the way of a directory: the later blob hides the earlier, as layers do.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_files_of_one_name_the_later_counts() {
    if !root("of_two_files_of_one_name_the_later_counts") {
        return;
    }
    let scene = Scene::new().await;
    scene.registry.push(
        "a/b",
        "1",
        &artifact(&[(Some("x"), b"1"), (Some("x"), b"2"), (Some("y/z"), b"3"), (Some("y"), b"4")]),
    );
    let image = scene.pull("a/b:1").await.unwrap();
    for (path, expected) in [("x", Some(&b"2"[..])), ("y", Some(b"4")), ("y/z", None)] {
        let found = scene.store.images.read_file(&image.id, path, 10).await.unwrap();
        assert_eq!(found.as_deref(), expected, "{path}");
    }
}

/// Of an index an artifact has no platform.
#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_is_found_in_an_index_without_platforms() {
    if !root("an_artifact_is_found_in_an_index_without_platforms") {
        return;
    }
    let scene = Scene::new().await;
    let built = artifact(&[(Some("x"), b"1")]);
    let mut index = Index::new(berth_testkit::image::Format::Oci).build();
    let kind = index.media_type.clone();
    let document = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": [
        { "mediaType": built.media_type, "digest": built.digest.to_string(), "size": built.manifest.len() },
    ]});
    index = Built { children: vec![built.clone()], ..Built::document(&kind, &document) };
    scene.registry.push("a/b", "1", &index);
    let image = scene.pull("a/b:1").await.unwrap();
    assert_eq!(image.manifest, built.digest);
    assert_eq!(image.repo_digests, [format!("{}/a/b@{}", scene.registry.host(), index.digest)]);
}
