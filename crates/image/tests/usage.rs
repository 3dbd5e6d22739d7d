//! What the writable layers of containers take.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::time::Duration;

use berth_testkit::wait_until;
use berth_types::ContainerId;
use common::{Layer, Tar, add, root, store};

fn container(n: u8) -> ContainerId {
    ContainerId::from_random([n; 32])
}

fn layer(name: &str) -> Layer {
    Layer::gzip(&Tar::new().dir(name).file(format!("{name}/f"), name).finish())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writable_layer_is_measured_in_the_background() {
    if !root("a_writable_layer_is_measured_in_the_background") {
        return;
    }
    let store = store().await;
    let (image, _) = add(&store.images, &[layer("a")], "example.org/a:1").await.unwrap();
    let upper = store.images.snapshot(&container(1), &image.id, &[]).await.unwrap().upper;
    let last = |fresh| store.images.last_usage(&container(1), fresh);
    assert_eq!(last(Duration::ZERO), None);
    let limit = berth_testkit::guard::WAIT_LIMIT;
    let never = Duration::from_secs(1 << 20);
    assert!(wait_until(limit, || last(never).is_some()));
    let before = last(never).unwrap().usage;
    assert_eq!(before, store.images.snapshot_usage(&container(1)).await.unwrap());
    std::fs::write(upper.join("more"), vec![1; 1 << 20]).unwrap();
    // Fresh enough: the last measurement is returned, and nothing is walked.
    assert_eq!(last(never).unwrap().usage, before);
    assert!(wait_until(limit, || last(Duration::ZERO).unwrap().usage.inodes == before.inodes + 1));
    store.images.remove_snapshot(&container(1)).await.unwrap();
    assert_eq!(last(never), None);
}
