//! Whole pulls: from a registry into the store.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod sources;

use std::sync::Arc;
use std::time::Duration;

use berth_image::Image;
use berth_image::credentials::{Keyring, RequestAuth, Secret};
use berth_image::pull::{LayerState, Progress, PullError, PullProgress, PullRequest, Puller};
use berth_image::registry::{Config, Registry, Timeouts};
use berth_testkit::image::{Blob, Built, Compression, Content, Format, Image as Builder, Index, Layer};
use berth_testkit::registry::{Auth, Fault, FaultAction, On, Registry as TestRegistry};
use berth_testkit::wait_until;
use berth_types::{Classify, Kind};
use common::{Store, root, store};

fn config() -> Config {
    Config {
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(5),
            stall: Duration::from_millis(500),
            backoff: Duration::from_millis(1),
            backoff_max: Duration::from_millis(20),
        },
        proxy_from_environment: false,
        ..Config::default()
    }
}

struct Scene {
    registry: TestRegistry,
    store: Store,
    puller: Puller,
}

impl Scene {
    async fn new(auth: Auth) -> Self {
        Self::with(auth, config()).await
    }

    async fn with(auth: Auth, config: Config) -> Self {
        let registry = TestRegistry::builder().auth(auth).start().unwrap();
        let store = store().await;
        let puller = Puller::new(Registry::new(config), store.images.clone());
        Self { registry, store, puller }
    }

    fn request(&self, rest: &str) -> PullRequest {
        PullRequest {
            reference: format!("{}/{rest}", self.registry.host()),
            keyring: Keyring::default(),
            platform: None,
            artifact: false,
        }
    }

    async fn pull(&self, rest: &str) -> Result<Arc<Image>, PullError> {
        self.puller.pull(self.request(rest), Progress::none()).await
    }

    /// How often each of the blobs was asked for.
    fn asked(&self, blob: &Blob) -> usize {
        let digest = blob.digest.as_str();
        self.registry.requests().iter().filter(|r| r.method == "GET" && r.path.ends_with(digest)).count()
    }

    fn manifests(&self) -> usize {
        let requests = self.registry.requests();
        requests.iter().filter(|r| r.method == "GET" && r.path.contains("/manifests/")).count()
    }
}

fn layer(name: &str, size: usize) -> Blob {
    // Does not compress: the blob is about as large as the file.
    let mut state = name.len() as u64 + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    let bytes: Vec<u8> = (0..size).map(|_| next()).collect();
    Layer::new().dir("d", 0o755).file(format!("d/{name}"), 0o644, bytes).build(Compression::Gzip).unwrap()
}

fn image(layers: &[Blob]) -> Built {
    layers.iter().fold(Builder::new(Format::Oci), Builder::layer).build()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_with_its_names_and_its_progress_ends_in_done() {
    if !root("an_image_is_pulled_with_its_names_and_its_progress_ends_in_done") {
        return;
    }
    let scene = Scene::new(Auth::Open).await;
    let layers = [layer("a", 300_000), layer("bb", 100)];
    let built = image(&layers);
    let index = Index::new(Format::Oci).image(&built).build();
    scene.registry.push("a/b", "1", &index);
    let (progress, mut watcher) = Progress::channel();
    let seen = tokio::spawn(async move {
        let mut last = PullProgress::default();
        while watcher.changed().await.is_ok() {
            last = watcher.borrow_and_update().clone();
        }
        last
    });
    let pulled = scene.puller.pull(scene.request("a/b:1"), progress).await.unwrap();
    let host = scene.registry.host();
    assert_eq!(Some(&pulled.id), built.id.as_ref());
    assert_eq!(pulled.tags, [format!("{host}/a/b:1")]);
    assert_eq!(pulled.repo_digests, [format!("{host}/a/b@{}", index.digest)]);
    let last = seen.await.unwrap();
    assert_eq!(last.manifest.as_ref(), Some(&built.digest));
    assert_eq!(last.layers.len(), 2);
    for (shown, blob) in last.layers.iter().zip(&layers) {
        assert_eq!((shown.done, shown.total, shown.state), (blob.size, blob.size, LayerState::Done));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_here_costs_one_question() {
    if !root("an_image_that_is_here_costs_one_question") {
        return;
    }
    let scene = Scene::new(Auth::Open).await;
    scene.registry.push("a/b", "1", &image(&[layer("a", 10)]));
    let first = scene.pull("a/b:1").await.unwrap();
    scene.registry.clear_requests();
    assert_eq!(scene.pull("a/b:1").await.unwrap().id, first.id);
    let methods: Vec<String> = scene.registry.requests().into_iter().map(|r| r.method).collect();
    assert_eq!(methods, ["HEAD"]);
    // A tag that moved is noticed.
    let moved = image(&[layer("other", 10)]);
    scene.registry.push("a/b", "1", &moved);
    assert_eq!(Some(&scene.pull("a/b:1").await.unwrap().id), moved.id.as_ref());
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_that_are_here_are_shown_so_and_not_fetched() {
    if !root("layers_that_are_here_are_shown_so_and_not_fetched") {
        return;
    }
    let scene = Scene::new(Auth::Open).await;
    let (shared, own) = (layer("shared", 1000), layer("own", 1000));
    scene.registry.push("a/b", "1", &image(std::slice::from_ref(&shared)));
    scene.registry.push("a/b", "2", &image(&[shared.clone(), own.clone()]));
    scene.pull("a/b:1").await.unwrap();
    let (progress, watcher) = Progress::channel();
    scene.puller.pull(scene.request("a/b:2"), progress).await.unwrap();
    let states: Vec<LayerState> = watcher.borrow().layers.iter().map(|l| l.state).collect();
    assert_eq!(states, [LayerState::Exists, LayerState::Done]);
    assert_eq!((scene.asked(&shared), scene.asked(&own)), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_at_the_same_time_fetch_a_layer_once_and_each_its_manifest() {
    if !root("pulls_at_the_same_time_fetch_a_layer_once_and_each_its_manifest") {
        return;
    }
    let scene = Scene::new(Auth::Open).await;
    let blob = layer("a", 2 << 20);
    scene.registry.push("a/b", "1", &image(std::slice::from_ref(&blob)));
    let slow = FaultAction::Slow(Duration::from_millis(5));
    scene.registry.fault(Fault::new(On::Path(blob.digest.to_string()), slow));
    let pulls = (0..5).map(|_| scene.pull("a/b:1"));
    let images = futures_util::future::try_join_all(pulls).await.unwrap();
    assert!(images.iter().all(|i| i.id == images[0].id));
    assert_eq!((scene.asked(&blob), scene.manifests()), (1, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_does_not_get_around_the_registrys_refusal() {
    if !root("joining_does_not_get_around_the_registrys_refusal") {
        return;
    }
    let account = ("kim".to_owned(), "s3cret".to_owned());
    let scene = Scene::new(Auth::Bearer { account: Some(account) }).await;
    let blob = layer("a", 2 << 20);
    scene.registry.push("a/b", "1", &image(std::slice::from_ref(&blob)));
    let slow = FaultAction::Slow(Duration::from_millis(5));
    scene.registry.fault(Fault::new(On::Path(blob.digest.to_string()), slow));
    let auth =
        RequestAuth { username: "kim".into(), password: Secret::new("s3cret"), ..RequestAuth::default() };
    let mut request = scene.request("a/b:1");
    request.keyring = Keyring { request: Some(auth), files: None };
    let allowed = scene.puller.pull(request, Progress::none());
    let refused = async {
        let asked = || scene.asked(&blob) > 0;
        tokio::task::block_in_place(|| assert!(wait_until(Duration::from_secs(10), asked)));
        scene.pull("a/b:1").await
    };
    let (allowed, refused) = tokio::join!(allowed, refused);
    allowed.unwrap();
    assert_eq!(refused.unwrap_err().kind(), Kind::Denied);
    // Nor does an image that is here already.
    assert_eq!(scene.pull("a/b:1").await.unwrap_err().kind(), Kind::Denied);
}

/// contract 42
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_changes_nothing() {
    if !root("a_client_that_goes_away_changes_nothing") {
        return;
    }
    let scene = Scene::new(Auth::Open).await;
    let blob = layer("a", 1 << 20);
    scene.registry.push("a/b", "1", &image(std::slice::from_ref(&blob)));
    let slow = FaultAction::Slow(Duration::from_millis(5));
    scene.registry.fault(Fault::new(On::Path(blob.digest.to_string()), slow));
    let pull = scene.pull("a/b:1");
    tokio::select! {
        // The pull has to begin before it is waited for.
        biased;
        _ = pull => panic!("the pull ended before the client went away"),
        () = async {
            let asked = || scene.asked(&blob) > 0;
            tokio::task::block_in_place(|| assert!(wait_until(Duration::from_secs(10), asked)));
        } => {}
    }
    let name = format!("{}/a/b:1", scene.registry.host());
    let here = || scene.store.images.find(&name).unwrap().is_some();
    tokio::task::block_in_place(|| assert!(wait_until(Duration::from_secs(10), here)));
    assert_eq!(scene.asked(&blob), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_fails_leaves_nothing_and_the_next_succeeds() {
    if !root("a_pull_that_fails_leaves_nothing_and_the_next_succeeds") {
        return;
    }
    let blob = layer("a", 500_000);
    for action in [
        FaultAction::WrongBytes,
        FaultAction::TooLong(10),
        FaultAction::ResetAfter(1000),
        FaultAction::StallAfter(0),
        FaultAction::TruncateAfter(1000),
        FaultAction::Status(500, None),
        FaultAction::Status(404, None),
    ] {
        let mut config = config();
        config.timeouts.stall = Duration::from_millis(50);
        let scene = Scene::with(Auth::Open, config).await;
        scene.registry.push("a/b", "1", &image(&[layer("small", 10), blob.clone()]));
        scene.registry.fault(Fault::new(On::Path(blob.digest.to_string()), action.clone()));
        let error = scene.pull("a/b:1").await.unwrap_err();
        let text = berth_types::error::chain(&error);
        assert!(text.contains("a/b:1"), "{action:?}: {text}");
        assert!(scene.store.images.list().is_empty());
        scene.store.assert_empty();
        scene.registry.clear_faults();
        scene.pull("a/b:1").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_of_another_kind_is_named_before_anything_is_fetched() {
    if !root("a_layer_of_another_kind_is_named_before_anything_is_fetched") {
        return;
    }
    let scene = Scene::new(Auth::Open).await;
    let blob = layer("a", 10);
    let mut built = image(std::slice::from_ref(&blob));
    let text = String::from_utf8(built.manifest.to_vec()).unwrap();
    let text = text.replace("tar+gzip", "tar+gzip+encrypted");
    let changed = Built::raw(&built.media_type, text.into_bytes().into());
    built.manifest = changed.manifest;
    built.digest = changed.digest;
    scene.registry.push("a/b", "1", &built);
    let error = scene.pull("a/b:1").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("encrypted"), "{error}");
    assert_eq!(scene.asked(&blob), 0);
    scene.store.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_that_wait_for_the_same_layers_block_no_other_pull() {
    if !root("pulls_that_wait_for_the_same_layers_block_no_other_pull") {
        return;
    }
    let mut config = config();
    config.timeouts.stall = Duration::from_secs(60);
    let scene = Scene::with(Auth::Open, config).await;
    let layers = [layer("a", 1000), layer("bb", 1000), layer("ccc", 1000)];
    scene.registry.push("slow", "1", &image(&layers));
    for blob in &layers {
        scene.registry.fault(Fault::new(On::Path(blob.digest.to_string()), FaultAction::StallAfter(10)));
    }
    scene.registry.push("quick", "1", &image(&[layer("quick", 1000)]));
    for _ in 0..8 {
        let (puller, request) = (scene.puller.clone(), scene.request("slow:1"));
        tokio::spawn(async move { puller.pull(request, Progress::none()).await });
    }
    let all_wait = || scene.manifests() >= 8 && layers.iter().all(|blob| scene.asked(blob) == 1);
    tokio::task::block_in_place(|| assert!(wait_until(Duration::from_secs(10), all_wait)));
    let quick = scene.pull("quick:1");
    tokio::time::timeout(Duration::from_secs(10), quick).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_another_platform_is_not_taken_for_ones_own() {
    if !root("an_image_of_another_platform_is_not_taken_for_ones_own") {
        return;
    }
    let scene = Scene::new(Auth::Open).await;
    let layers = [layer("a", 10)];
    let own = image(&layers);
    let other = layers.iter().fold(Builder::new(Format::Oci).architecture("s390x"), Builder::layer).build();
    scene.registry.push("a/b", "1", &Index::new(Format::Oci).image(&own).image(&other).build());
    let request = PullRequest { platform: Some("linux/s390x".parse().unwrap()), ..scene.request("a/b:1") };
    let pulled = scene.puller.pull(request, Progress::none()).await.unwrap();
    assert_eq!(Some(&pulled.id), other.id.as_ref());
    assert_eq!(Some(&scene.pull("a/b:1").await.unwrap().id), own.id.as_ref());
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_without_content_and_layers_that_stand_twice_are_pulled() {
    if !root("layers_without_content_and_layers_that_stand_twice_are_pulled") {
        return;
    }
    let scene = Scene::new(Auth::Open).await;
    let nothing = Blob::from_tar(&[], Compression::Plain).unwrap();
    let empty = Blob::from_tar(&[0; 1024], Compression::Gzip).unwrap();
    let own = layer("own", 10);
    assert_eq!(nothing.size, 0);
    let layers = [&empty, &nothing, &own, &empty, &own, &nothing].map(Blob::clone);
    scene.registry.push("a/b", "1", &image(&layers));
    let pulled = scene.pull("a/b:1").await.unwrap();
    assert_eq!(pulled.config.diff_ids.len(), 6);
    assert_eq!((scene.asked(&empty), scene.asked(&nothing), scene.asked(&own)), (1, 1, 1));
    let file = scene.store.images.read_file(&pulled.id, "/d/own", 100).await.unwrap();
    assert_eq!(file.map(|bytes| bytes.len()), Some(10));
    assert!(scene.store.images.remove(&pulled.id.to_string()).await.unwrap());
    scene.store.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_layers_is_one() {
    if !root("an_image_without_layers_is_one") {
        return;
    }
    let scene = Scene::new(Auth::Open).await;
    scene.registry.push("a/b", "1", &image(&[]));
    let pulled = scene.pull("a/b:1").await.unwrap();
    let images = &scene.store.images;
    assert_eq!(images.read_file(&pulled.id, "/etc/passwd", 100).await.unwrap(), None);
    images.verify(&pulled.id).await.unwrap();
    let container = "ab".repeat(32).parse().unwrap();
    let snapshot = images.snapshot(&container, &pulled.id, &[]).await.unwrap();
    let overlay = berth_sys::overlay::Overlay {
        lowers: &snapshot.lowers,
        upper: &snapshot.upper,
        work: &snapshot.work,
    };
    drop(berth_sys::overlay::mount(&overlay).unwrap());
    images.remove_snapshot(&container).await.unwrap();
    let saved = scene.store.dir.path().join("saved.tar");
    images.save(&[pulled.id.to_string()], std::fs::File::create(&saved).unwrap()).await.unwrap();
    assert!(images.remove(&pulled.id.to_string()).await.unwrap());
    let loaded = images.load(std::fs::File::open(&saved).unwrap(), |_| {}).await.unwrap();
    assert_eq!(loaded[0].id, pulled.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_removals_and_snapshots_at_the_same_time_lose_nothing() {
    if !root("pulls_removals_and_snapshots_at_the_same_time_lose_nothing") {
        return;
    }
    let scene = Arc::new(Scene::new(Auth::Open).await);
    let shared = layer("shared", 2000);
    for tag in ["1", "2"] {
        scene.registry.push("a/b", tag, &image(&[shared.clone(), layer(&format!("own{tag}"), 2000)]));
    }
    let worker = |n: u8| {
        let scene = scene.clone();
        tokio::spawn(async move {
            for round in 0..12_u8 {
                let name = format!("a/b:{}", 1 + (n + round) % 2);
                let pulled = scene.pull(&name).await.unwrap();
                let container = format!("{n:02x}{round:02x}").repeat(16).parse().unwrap();
                let images = &scene.store.images;
                match images.snapshot(&container, &pulled.id, &[]).await {
                    // Whatever the others remove: the layers of a snapshot exist.
                    Ok(snapshot) => {
                        assert!(snapshot.lowers.iter().all(|dir| dir.join("d").is_dir()), "{snapshot:?}");
                        images.remove(&pulled.id.to_string()).await.unwrap();
                        assert!(snapshot.lowers.iter().all(|dir| dir.join("d").is_dir()), "{snapshot:?}");
                        images.remove_snapshot(&container).await.unwrap();
                    }
                    Err(error) => assert_eq!(error.kind(), Kind::NotFound, "{error}"),
                }
            }
        })
    };
    for worker in [0, 1, 2, 3].map(worker) {
        worker.await.unwrap();
    }
    for image in scene.store.images.list() {
        scene.store.images.remove(&image.id.to_string()).await.unwrap();
    }
    scene.store.assert_empty();
}
