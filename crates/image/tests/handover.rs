//! Writable layers that go from one container to another.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use berth_image::{Images, StoreError};
use berth_types::ContainerId;
use common::{Layer, Tar, add, config, root, store};

fn container(n: u8) -> ContainerId {
    ContainerId::from_random([n; 32])
}

fn layer(name: &str) -> Layer {
    Layer::gzip(&Tar::new().dir(name).file(format!("{name}/f"), name).finish())
}

#[tokio::test]
async fn a_writable_layer_goes_on_in_another_container_and_comes_back() {
    if !root("a_writable_layer_goes_on_in_another_container_and_comes_back") {
        return;
    }
    let store = store().await;
    let (image, _) = add(&store.images, &[layer("a")], "example.org/a:1").await.unwrap();
    let (other, _) = add(&store.images, &[layer("b")], "example.org/b:1").await.unwrap();
    let mount = |snapshot: &berth_image::Snapshot| {
        let (lowers, upper, work) = (&snapshot.lowers, &snapshot.upper, &snapshot.work);
        berth_sys::overlay::mount(&berth_sys::overlay::Overlay { lowers, upper, work }).unwrap()
    };
    let has = |root: &std::os::fd::OwnedFd, name: &str| {
        rustix::fs::statat(root, name, rustix::fs::AtFlags::empty()).is_ok()
    };
    let first = store.images.snapshot(&container(1), &image.id, &[]).await.unwrap();
    let root = mount(&first);
    rustix::fs::mkdirat(&root, "kept", rustix::fs::Mode::RWXU).unwrap();
    drop(root);

    let wrong = store.images.snapshot_after(&container(2), &other.id, &[], &container(1)).await;
    assert!(matches!(wrong, Err(StoreError::Invalid(_))), "{wrong:?}");
    let none = store.images.snapshot_after(&container(2), &image.id, &[], &container(9)).await;
    assert!(matches!(none, Err(StoreError::NoSnapshot(_))), "{none:?}");
    let second = store.images.snapshot_after(&container(2), &image.id, &[], &container(1)).await.unwrap();
    assert_eq!(second.lowers, first.lowers);
    let root = mount(&second);
    assert!(has(&root, "kept") && has(&root, "a/f"));
    drop(root);
    assert_eq!(store.images.snapshot_usage(&container(1)).await.unwrap().inodes, 0);
    let third = store.images.snapshot_after(&container(3), &image.id, &[], &container(1)).await;
    assert!(third.is_err(), "one layer is one container's: {third:?}");

    // The next daemon knows both, and what goes first gives back.
    drop(store.images);
    let images = Images::open(config(store.dir.path())).await.unwrap();
    let mut known = images.snapshots();
    known.sort();
    assert_eq!((known.len(), images.unreadable_snapshots()), (2, vec![]));
    images.remove_snapshot(&container(2)).await.unwrap();
    let fourth = images.snapshot_after(&container(4), &image.id, &[], &container(1)).await.unwrap();
    assert!(has(&mount(&fourth), "kept"));
    images.remove_snapshot(&container(1)).await.unwrap();
    assert!(fourth.upper.join("kept").exists());
    images.remove_snapshot(&container(4)).await.unwrap();
    assert!(images.snapshots().is_empty());
}
