//! A disk that is full: one clear error, nothing left behind, and space again for what fits.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::path::Path;

use berth_image::{Images, LayerId};
use berth_testkit::isolated::{self, Kind as Space};
use berth_types::{Classify, Kind};
use common::{Layer, Store, Tar, add, config, root};
use rustix::mount::{MountFlags, UnmountFlags};

/// Runs a test with a store on a file system of its own with these limits.
fn on_small_disk<F: Future<Output = ()>>(options: &str, body: impl FnOnce(Store) -> F + Send) {
    let in_namespace = || {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().to_owned();
        let options = std::ffi::CString::new(options).unwrap();
        rustix::mount::mount("tmpfs", &disk, "tmpfs", MountFlags::empty(), options.as_c_str()).unwrap();
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

fn small() -> Layer {
    Layer::gzip(&Tar::new().dir("d").file("d/f", "small").finish())
}

async fn refused(store: &Store, layer: Layer) {
    let error = add(&store.images, &[small(), layer], "example.org/big:1").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Exhausted, "{}", berth_types::error::chain(&error));
    // What was written of it goes in the background.
    let path = store.images.dir().to_owned();
    let empty = move || names(&path.join("staging")).is_empty() && names(&path.join("layers")).is_empty();
    let wait = move || berth_testkit::wait_until(berth_testkit::guard::WAIT_LIMIT, empty);
    assert!(tokio::task::spawn_blocking(wait).await.unwrap());
    store.assert_empty();
    let (image, _) = add(&store.images, &[small()], "example.org/small:1").await.unwrap();
    assert!(matches!(image.layers[..], [LayerId::Diff(_)]));
    assert!(store.images.remove("example.org/small:1").await.unwrap());
}

fn names(dir: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_layer_that_does_not_fit_is_refused_and_leaves_nothing() {
    if !root("a_layer_that_does_not_fit_is_refused_and_leaves_nothing") {
        return;
    }
    on_small_disk("size=4m", async |store| {
        refused(&store, Layer::gzip(&Tar::new().file("big", vec![7; 12 << 20]).finish())).await;
    });
}

#[test]
fn a_layer_of_too_many_files_is_refused_and_leaves_nothing() {
    if !root("a_layer_of_too_many_files_is_refused_and_leaves_nothing") {
        return;
    }
    on_small_disk("nr_inodes=200", async |store| {
        let many = (0..400).fold(Tar::new(), |tar, n| tar.file(format!("f{n}"), ""));
        refused(&store, Layer::gzip(&many.finish())).await;
    });
}
