//! Transfers from a registry that breaks off, stalls and sends wrong data.

use std::sync::Mutex;
use std::time::Duration;

use berth_testkit::image::{Content, digest_of};
use berth_testkit::registry::{Fault, FaultAction, On, Registry as TestRegistry};
use berth_types::Digest;
use bytes::Bytes;

use super::*;
use crate::credentials::Keyring;
use crate::registry::tests::{config, source};
use crate::registry::{Config, Ranges};

/// A sink that keeps everything.
#[derive(Default)]
pub(crate) struct Memory(Vec<u8>);

impl Memory {
    pub(crate) fn digest(&self) -> Digest {
        digest_of(&self.0)
    }
}

impl Sink for Memory {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
    fn written(&self) -> u64 {
        self.0.len() as u64
    }
}

/// Bytes of which no two parts are alike.
fn content(size: usize) -> Bytes {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..size).map(|_| next()).collect::<Vec<u8>>().into()
}

struct Scene {
    registry: TestRegistry,
    blob: Descriptor,
    config: Config,
}

impl Scene {
    fn new(size: usize) -> Self {
        let registry = TestRegistry::start().unwrap();
        let bytes = content(size);
        let digest = digest_of(&bytes);
        registry.put_blob("a/b", &digest, Content::Memory(bytes));
        let blob = Descriptor { media_type: "x/y".into(), digest, size: size as u64 };
        Self { registry, blob, config: config() }
    }

    fn with(self, fault: Fault) -> Self {
        self.registry.fault(fault);
        self
    }

    async fn fetch(&self) -> (Memory, Result<usize, FetchError>) {
        let source = source(&self.registry, "a/b:1", self.config.clone(), Keyring::default());
        let mut sink = Memory::default();
        let transfer = Transfer { source: &source, blob: &self.blob, progress: |_| {} };
        let result = transfer.run(0, &mut sink).await.map(|served| served.by).map_err(|(_, error)| error);
        (sink, result)
    }

    async fn arrives(&self) {
        let (sink, result) = self.fetch().await;
        result.unwrap();
        assert_eq!(sink.digest(), self.blob.digest);
    }

    async fn fails(&self) -> HostError {
        match self.fetch().await.1.unwrap_err() {
            FetchError::Registry(RegistryError::AllHosts { mut tried, .. }) => tried.remove(0).error,
            other => panic!("{other:?}"),
        }
    }

    fn ranges(&self) -> Vec<Option<String>> {
        self.registry.requests().into_iter().map(|r| r.range).collect()
    }
}

fn blobs(action: FaultAction) -> Fault {
    Fault::new(On::Blobs, action)
}

#[tokio::test]
async fn a_blob_arrives_whole_whatever_its_size() {
    for size in [0, 1, 100_000, 3 << 20] {
        let scene = Scene::new(size);
        scene.arrives().await;
        assert_eq!(scene.ranges(), [None]);
    }
}

#[tokio::test]
async fn progress_ends_at_the_size_and_never_goes_back() {
    let scene = Scene::new(2 << 20).with(blobs(FaultAction::ResetAfter(700_000)).once());
    let source = source(&scene.registry, "a/b:1", scene.config.clone(), Keyring::default());
    let seen = Mutex::new(vec![0]);
    let transfer =
        Transfer { source: &source, blob: &scene.blob, progress: |done| seen.lock().unwrap().push(done) };
    transfer.run(0, &mut Memory::default()).await.map_err(|(_, e)| e).unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(seen.is_sorted());
    assert_eq!(seen.last(), Some(&scene.blob.size));
}

#[tokio::test]
async fn a_reset_transfer_goes_on_where_it_broke() {
    // How much is lost with the connection is up to the kernel: what counts is the whole.
    let scene = Scene::new(1 << 20).with(blobs(FaultAction::ResetAfter(300_000)).times(2));
    scene.arrives().await;
    assert_eq!(scene.ranges().len(), 3);
}

#[tokio::test]
async fn an_answer_that_ends_early_without_a_length_goes_on() {
    let scene = Scene::new(1 << 20).with(blobs(FaultAction::TruncateAfter(500_000)).once());
    scene.arrives().await;
    assert_eq!(scene.ranges(), [None, Some("bytes=500000-".into())]);
}

#[tokio::test]
async fn a_stalled_transfer_is_resumed() {
    let scene = Scene::new(1 << 20).with(blobs(FaultAction::StallAfter(400_000)).once());
    scene.arrives().await;
    assert_eq!(scene.ranges(), [None, Some("bytes=400000-".into())]);
}

#[tokio::test]
async fn a_range_that_is_ignored_costs_time_and_nothing_else() {
    let scene = Scene::new(1 << 20)
        .with(blobs(FaultAction::ResetAfter(300_000)).once())
        .with(blobs(FaultAction::IgnoreRange));
    scene.arrives().await;
}

#[tokio::test]
async fn a_server_or_cache_that_cannot_do_ranges_gives_the_whole_again() {
    for action in [FaultAction::WrongRange, FaultAction::Status(416, None), FaultAction::Status(400, None)] {
        let scene = Scene::new(1 << 20)
            .with(blobs(FaultAction::TruncateAfter(300_000)).once())
            .with(blobs(action).once());
        scene.arrives().await;
        assert_eq!(scene.ranges(), [None, Some("bytes=300000-".into()), None]);
    }
}

#[tokio::test]
async fn a_registry_that_is_started_again_in_the_middle_is_waited_for() {
    let mut scene = Scene::new(8 << 20).with(blobs(FaultAction::Slow(Duration::from_millis(2))));
    // Long enough in total for a busy machine to start the other one.
    (scene.config.timeouts.backoff, scene.config.timeouts.backoff_max) =
        (Duration::from_millis(200), Duration::from_secs(10));
    let address = scene.registry.address();
    let source = source(&scene.registry, "a/b:1", scene.config.clone(), Keyring::default());
    let begun = tokio::sync::Notify::new();
    let blob = scene.blob.clone();
    let mut sink = Memory::default();
    let transfer = Transfer { source: &source, blob: &blob, progress: |_| begun.notify_one() };
    let restart = async {
        begun.notified().await;
        // The old one ends with all its connections.
        let down = TestRegistry::start().unwrap();
        drop(std::mem::replace(&mut scene.registry, down));
        let up = move || {
            let mut again = None;
            let listens = || {
                again = TestRegistry::builder().address(address).start().ok();
                again.is_some()
            };
            assert!(berth_testkit::wait_until(berth_testkit::guard::WAIT_LIMIT, listens));
            again.unwrap()
        };
        let again = tokio::task::spawn_blocking(up).await.unwrap();
        again.put_blob("a/b", &blob.digest, Content::Memory(content(8 << 20)));
        scene.registry = again;
    };
    let (result, ()) = tokio::join!(transfer.run(0, &mut sink), restart);
    result.map_err(|(_, error)| error).unwrap();
    assert_eq!(sink.digest(), blob.digest);
}

#[tokio::test]
async fn a_length_that_is_not_the_descriptors_is_refused_before_a_byte_is_taken() {
    let scene = Scene::new(100_000).with(blobs(FaultAction::TooLong(7)));
    let (sink, result) = scene.fetch().await;
    assert!(result.unwrap_err().to_string().contains("100007"));
    assert_eq!(sink.written(), 0);
}

#[tokio::test]
async fn a_host_that_gives_nothing_is_given_up_after_a_few_attempts() {
    for action in [FaultAction::ResetAfter(0), FaultAction::StallAfter(0), FaultAction::Status(503, None)] {
        let mut scene = Scene::new(100_000).with(blobs(action));
        scene.config.timeouts.stall = Duration::from_millis(30);
        scene.config.timeouts.answer = Duration::from_millis(300);
        let error = scene.fails().await;
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        assert!(scene.registry.requests().len() <= 6 * 2, "{}", scene.registry.requests().len());
    }
}

#[tokio::test]
async fn a_host_that_always_breaks_is_given_up_in_the_end() {
    let scene = Scene::new(4 << 20).with(blobs(FaultAction::TruncateAfter(10)));
    scene.fails().await;
    assert!(scene.registry.requests().len() <= 32);
}

#[tokio::test]
async fn a_missing_blob_is_not_found_at_once() {
    let scene = Scene::new(10);
    scene.registry.remove_blob("a/b", &scene.blob.digest);
    assert!(matches!(scene.fails().await, HostError::NotFound { .. }));
    assert_eq!(scene.registry.requests().len(), 1);
}

fn split(part: u64) -> Config {
    let ranges = Ranges { streams: 3, part, worth: 1 << 20, slow_below: u64::MAX };
    Config { ranges, ..config() }
}

#[tokio::test]
async fn a_slow_stream_is_replaced_by_ranges_in_order() {
    let mut scene = Scene::new((9 << 20) + 77);
    scene.config = split(1 << 20);
    // The first answer comes slowly: the network is what limits.
    scene.registry.fault(blobs(FaultAction::Slow(Duration::from_millis(1))).once());
    scene.arrives().await;
    let ranges = scene.ranges();
    assert!(ranges.len() > 3, "{ranges:?}");
    let ends_open = |r: &Option<String>| r.as_deref().is_some_and(|r| r.ends_with('-'));
    assert!(!ranges.iter().any(ends_open), "{ranges:?}");
}

#[tokio::test]
async fn a_part_that_breaks_is_fetched_again_and_ignored_ranges_fall_back() {
    let slow = || blobs(FaultAction::Slow(Duration::from_millis(1))).once();
    for fault in [
        blobs(FaultAction::ResetAfter(1000)).after(1).times(2),
        blobs(FaultAction::IgnoreRange).after(1),
        blobs(FaultAction::Status(503, None)).after(1).times(3),
    ] {
        let mut scene = Scene::new(9 << 20);
        scene.config = split(1 << 20);
        scene.registry.fault(slow());
        scene.registry.fault(fault);
        scene.arrives().await;
    }
}

#[tokio::test]
async fn a_trickle_is_a_stall() {
    // Far below 4 KiB in the stall time: each byte alone must not keep it alive.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let mut first = [0];
                stream.read_exact(&mut first).await.ok();
                // The attempt to speak TLS comes first.
                if first != *b"G" {
                    return;
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await.ok();
                let mut tick = tokio::time::interval(Duration::from_millis(5));
                while stream.write_all(b"x").await.is_ok() {
                    tick.tick().await;
                }
            });
        }
    });
    let reference = format!("{address}/a/b:1").parse().unwrap();
    let mut config = config();
    config.timeouts.stall = Duration::from_millis(60);
    let source = Source::new(&crate::registry::Registry::new(config), reference, Keyring::default()).unwrap();
    let blob = Descriptor { media_type: "x/y".into(), digest: digest_of(b"x"), size: 100_000 };
    let transfer = Transfer { source: &source, blob: &blob, progress: |_| {} };
    let (_, error) = transfer.run(0, &mut Memory::default()).await.unwrap_err();
    assert!(error.to_string().contains("nothing received within"), "{error}");
    server.abort();
}
