//! A full table of descriptors, which each process has one of: so this is a program of its own. The store is opened and images
//! are added at every number of free descriptors, from none to enough.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use berth_image::Images;
use berth_sys::rlimit;
use berth_types::{Classify, ContainerId, Kind};
use common::{Layer, Store, Tar, add, config, root, store};

/// More descriptors than opening or adding takes.
const ENOUGH: u64 = 60;

fn layer(name: &str) -> Layer {
    Layer::gzip(&Tar::new().dir(name).file(format!("{name}/f"), name).finish())
}

/// The lowest number that no descriptor has.
fn next_descriptor() -> u64 {
    use std::os::fd::{AsFd, AsRawFd};
    let next = rustix::io::dup(std::io::stdout().as_fd()).unwrap();
    u64::try_from(next.as_raw_fd()).unwrap()
}

/// Runs with so many descriptors free.
async fn with_free<F: Future>(free: u64, body: F) -> F::Output {
    let before = rlimit::get(0, rlimit::NOFILE).unwrap();
    let soft = next_descriptor() + free;
    rlimit::set(0, rlimit::NOFILE, rlimit::Limit { soft, ..before }).unwrap();
    let output = body.await;
    rlimit::set(0, rlimit::NOFILE, before).unwrap();
    output
}

#[tokio::test]
async fn a_full_table_fails_cleanly_and_removes_nothing() {
    if !root("a_full_table_fails_cleanly_and_removes_nothing") {
        return;
    }
    let Store { dir, images } = store().await;
    let (image, _) = add(&images, &[layer("a")], "example.org/a:1").await.unwrap();
    let container = ContainerId::from_random([1; 32]);
    let upper = images.snapshot(&container, &image.id, &[]).await.unwrap().upper;
    std::fs::write(upper.join("written"), "by the container").unwrap();
    drop(images);
    let (mut failed, mut opened) = (0, 0);
    for free in 0..ENOUGH {
        match with_free(free, Images::open(config(dir.path()))).await {
            Err(error) => {
                failed += 1;
                assert_eq!(error.kind(), Kind::Exhausted, "{}", berth_types::error::chain(&error));
            }
            Ok(images) => {
                opened += 1;
                assert_eq!((images.list().len(), images.snapshots()), (1, vec![container.clone()]), "{free}");
            }
        }
        assert!(upper.join("written").exists(), "{free}");
    }
    assert!(failed > 0 && opened > 0, "{failed} failed, {opened} opened");
    let store = Store { images: Images::open(config(dir.path())).await.unwrap(), dir };
    let (mut failed, mut added) = (0, 0);
    for free in 0..ENOUGH {
        let layers = [layer("a"), layer("b"), Layer::plain(Tar::new().file("b/implied/f", "x").finish())];
        match with_free(free, add(&store.images, &layers, "example.org/b:1")).await {
            Err(_) => failed += 1,
            Ok(_) => {
                added += 1;
                assert!(store.images.remove("example.org/b:1").await.unwrap());
            }
        }
        // What failed goes in the background.
        let clean = || store.names("layers").len() == 1 && store.names("staging").is_empty();
        assert!(berth_testkit::wait_until(berth_testkit::guard::WAIT_LIMIT, clean), "{free}");
    }
    assert!(failed > 0 && added > 0, "{failed} failed, {added} added");
    store.images.verify(&image.id).await.unwrap();
    assert!(upper.join("written").exists());
}
