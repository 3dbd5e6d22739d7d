//! Collecting images on a file system that is really full, and what it passes over.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use berth_image::collect::Policy;
use berth_image::{Image, Images, Names};
use berth_testkit::isolated::{self, Kind as Space};
use berth_types::ContainerId;
use common::{Layer, Store, Tar, add, config, root, source, store};
use rustix::mount::{MountFlags, UnmountFlags};

const MIB: usize = 1 << 20;
/// 64 MiB: a percent is 655 KiB.
const DISK: &std::ffi::CStr = c"size=64m";

fn policy(high: u8, low: u8) -> Policy {
    Policy { high, low, minimum_age: Duration::ZERO }
}

/// A store on a file system of its own.
fn on_disk<F: Future<Output = ()>>(body: impl FnOnce(Store) -> F + Send) {
    let in_namespace = || {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().to_owned();
        rustix::mount::mount("tmpfs", &disk, "tmpfs", MountFlags::empty(), DISK).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let images = Images::open(config(&disk)).await.unwrap();
            body(Store { dir, images }).await;
        });
        drop(runtime);
        rustix::mount::unmount(&disk, UnmountFlags::DETACH).ok();
    };
    isolated::run(&[Space::Mount], in_namespace).unwrap();
}

/// An image with a layer of so many MiB, over a layer that all have.
async fn image(store: &Store, name: &str, mib: usize) -> Arc<Image> {
    let base = Layer::plain(Tar::new().file("base", vec![1; MIB]).finish());
    let own = Layer::gzip(&Tar::new().file(name, vec![2; mib * MIB]).finish());
    add(&store.images, &[base, own], &format!("example.org/{name}:1")).await.unwrap().0
}

fn there(store: &Store) -> Vec<String> {
    let mut tags: Vec<_> = store.images.list().iter().flat_map(|image| image.tags.clone()).collect();
    tags.sort();
    tags
}

fn container(digit: char) -> ContainerId {
    digit.to_string().repeat(64).parse().unwrap()
}

#[test]
fn a_full_disk_loses_the_least_recently_used_images() {
    if !root("a_full_disk_loses_the_least_recently_used_images") {
        return;
    }
    on_disk(async |store| {
        let images = &store.images;
        let mut made = Vec::new();
        for name in ["a", "b", "c", "d"] {
            made.push(image(&store, name, 12).await);
        }
        // 49 of 64 MiB: 76 or 77 percent, with the records.
        let done = images.collect_by(policy(85, 80), HashSet::new()).await.unwrap();
        assert!(done.images.is_empty() && (76..79).contains(&done.before), "{done:?}");
        // a is used again, so b goes; 70 percent are 44.8 MiB.
        images.snapshot(&container('1'), &made[0].id, &[]).await.unwrap();
        images.remove_snapshot(&container('1')).await.unwrap();
        let done = images.collect_by(policy(75, 70), HashSet::new()).await.unwrap();
        assert_eq!(done.images, [(made[1].id.clone(), "example.org/b:1".to_owned())]);
        assert_eq!(done.bytes, 12 * MIB as u64);
        assert!((57..60).contains(&done.after) && done.missing == 0, "{done:?}");
        assert_eq!(there(&store), ["example.org/a:1", "example.org/c:1", "example.org/d:1"]);
        // The order outlives the daemon: c is the next, not a, which came first.
        let dir = images.dir().parent().unwrap().to_owned();
        let Store { dir: kept, images } = store;
        drop(images);
        let store = Store { dir: kept, images: Images::open(config(&dir)).await.unwrap() };
        let done = store.images.collect_by(policy(50, 45), HashSet::new()).await.unwrap();
        assert_eq!(done.images[0].1, "example.org/c:1");
        assert_eq!(there(&store), ["example.org/a:1", "example.org/d:1"]);
    });
}

#[test]
fn what_is_used_pinned_young_or_on_its_way_stays_on_a_full_disk() {
    if !root("what_is_used_pinned_young_or_on_its_way_stays_on_a_full_disk") {
        return;
    }
    on_disk(async |store| {
        let images = &store.images;
        let (a, b) = (image(&store, "a", 4).await, image(&store, "b", 4).await);
        let (c, d) = (image(&store, "c", 4).await, image(&store, "d", 4).await);
        images.snapshot(&container('1'), &a.id, std::slice::from_ref(&b.id)).await.unwrap();
        images.pin(&c.id, true).await.unwrap();
        // Another pull of d, which finds its layers.
        let layers = [
            Layer::plain(Tar::new().file("base", vec![1; MIB]).finish()),
            Layer::gzip(&Tar::new().file("d", vec![2; 4 * MIB]).finish()),
        ];
        let pull = images.ingest(source(&layers, "sh")).await.unwrap();
        let all = policy(1, 0);
        let done = images.collect_by(all, HashSet::new()).await.unwrap();
        assert!(done.images.is_empty() && done.missing > 0 && done.after == done.before, "{done:?}");
        drop(pull);
        assert_eq!(images.reclaimable(), 4 * MIB as u64, "d's own layer");
        let old = Policy { minimum_age: Duration::from_secs(3600), ..all };
        assert!(images.collect_by(old, HashSet::new()).await.unwrap().images.is_empty());
        let keep = HashSet::from([d.id.clone()]);
        assert!(images.collect_by(all, keep).await.unwrap().images.is_empty());
        let done = images.collect_by(all, HashSet::new()).await.unwrap();
        assert_eq!(done.images.len(), 1, "{done:?}");
        assert_eq!(there(&store), ["example.org/a:1", "example.org/b:1", "example.org/c:1"]);
        // The volume of a container is no less in use than its root; a removed image leaves its layers with it.
        images.remove(b.id.as_str()).await.unwrap();
        assert!(images.collect_by(all, HashSet::new()).await.unwrap().images.is_empty());
        images.remove_snapshot(&container('1')).await.unwrap();
        images.pin(&c.id, false).await.unwrap();
        assert_eq!(images.collect_by(all, HashSet::new()).await.unwrap().images.len(), 2);
        store.assert_empty();
    });
}

/// A machine's clock says nothing: what was committed in the future or the past is as old as this process knows it.
#[tokio::test]
async fn a_store_whose_order_is_lost_or_damaged_works() {
    if !root("a_store_whose_order_is_lost_or_damaged_works") {
        return;
    }
    let store = store().await;
    let one = image(&store, "a", 1).await;
    let off = policy(100, 0);
    store.images.collect_by(off, HashSet::new()).await.unwrap();
    let path = store.images.dir().join("uses");
    assert!(path.exists());
    std::fs::write(&path, "damaged").unwrap();
    let Store { dir, images } = store;
    drop(images);
    let images = Images::open(config(dir.path())).await.unwrap();
    images.collect_by(off, HashSet::new()).await.unwrap();
    images.tag(&one.id, Names::default()).await.unwrap();
    assert_eq!(images.list().len(), 1);
}
