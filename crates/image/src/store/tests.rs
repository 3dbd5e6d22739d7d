//! Crashes: what is on disk at every step is copied, and each copy is opened as the next process would.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use berth_types::{ContainerId, Digest};

use super::*;
use crate::{LayerSource, LayerStep};

/// Looks at the store at a step.
pub(crate) struct Hook(Box<dyn FnMut(&'static str) + Send>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

impl Hook {
    pub(crate) fn reach(&mut self, name: &'static str) {
        (self.0)(name);
    }
}

/// The unpacking process, built beside the test program for the tests in `tests/`.
fn config(root: &Path) -> Config {
    let program = std::env::current_exe().unwrap();
    let unpacker = program.parent().unwrap().parent().unwrap().join("berth-unpack");
    assert!(unpacker.exists(), "{} is not built: run `cargo test` for the whole package", unpacker.display());
    Config { unpacker, ..Config::new(root) }
}

fn root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: {test}: needs root");
    }
    root
}

/// A tar with one file, made by GNU tar.
fn tar(name: &str, implied: bool) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(name)).unwrap();
    std::fs::write(dir.path().join(name).join("file"), name).unwrap();
    let path = if implied { format!("{name}/file") } else { name.to_owned() };
    let output = Command::new("tar").arg("-C").arg(dir.path()).args(["-cf", "-", &path]).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn source(tars: &[Vec<u8>]) -> Source {
    let diff_ids: Vec<_> = tars.iter().map(|tar| record::sum(tar)).collect();
    let config = serde_json::json!({"rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = serde_json::to_vec(&config).unwrap();
    let layers =
        tars.iter().map(|tar| LayerSource { digest: record::sum(tar), size: tar.len() as u64 }).collect();
    Source { manifest: [b"manifest of ", &config[..]].concat(), config, layers }
}

async fn add(images: &Images, tars: &[Vec<u8>], tag: &str) -> Arc<Image> {
    let ingest = images.ingest(source(tars)).await.unwrap();
    for (index, tar) in tars.iter().enumerate() {
        if let LayerStep::Write(mut writer) = ingest.layer(index).await.unwrap() {
            writer.write(tar).await.unwrap();
            writer.finish().await.unwrap();
        }
    }
    let names = Names { tags: vec![tag.to_owned()], repo_digests: Vec::new() };
    ingest.commit(names).await.unwrap()
}

/// Copies the root at each step from now on; returns where the copies go.
fn copy_at_steps(images: &Images, root: &Path, copies: &Path) -> Arc<Mutex<Vec<(&'static str, PathBuf)>>> {
    let made: Arc<Mutex<Vec<(&'static str, PathBuf)>>> = Arc::default();
    let (log, root, copies) = (made.clone(), root.to_owned(), copies.to_owned());
    let hook = Hook(Box::new(move |step| {
        let mut log = lock(&log);
        let copy = copies.join(log.len().to_string());
        let status = Command::new("cp").arg("-a").arg(&root).arg(&copy).status().unwrap();
        assert!(status.success());
        log.push((step, copy));
    }));
    *lock(&images.inner.on_step) = Some(hook);
    made
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names = layout::names(dir).unwrap();
    names.sort();
    names
}

/// Everything in the store is complete, and nothing is there that is not used.
async fn assert_sound(images: &Images, step: &str) {
    assert!(images.damaged().is_empty(), "{step}: {:?}", images.damaged());
    let layout = images.layout();
    assert!(names_in(&layout.staging()).is_empty(), "{step}");
    assert!(names_in(&layout.trash()).is_empty(), "{step}");
    let mut layers: Vec<String> = Vec::new();
    let mut blobs: Vec<String> = Vec::new();
    for image in images.list() {
        images.verify(&image.id).await.unwrap();
        layers.extend(image.layers.iter().map(LayerId::dir_name));
        blobs.extend([image.id.hex().to_owned(), image.manifest.hex().to_owned()]);
    }
    for container in images.snapshots() {
        let layers_of = &images.state().snapshots[&container].layers;
        layers.extend(layers_of.iter().map(|l| l.id.dir_name()));
    }
    for names in [&mut layers, &mut blobs] {
        names.sort();
        names.dedup();
    }
    assert_eq!(names_in(&layout.layers()), layers, "{step}");
    assert_eq!(names_in(&layout.blobs()), blobs, "{step}");
}

#[tokio::test]
async fn a_crash_at_any_step_leaves_a_sound_store() {
    if !root("a_crash_at_any_step_leaves_a_sound_store") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (root, copies) = (dir.path().join("root"), dir.path().join("copies"));
    std::fs::create_dir(&copies).unwrap();
    let images = Images::open(config(&root)).await.unwrap();
    let tag = "example.org/a:1";
    let old = add(&images, &[tar("base", false), tar("old", false)], tag).await;
    let made = copy_at_steps(&images, &root, &copies);
    let new = add(&images, &[tar("base", false), tar("new", false), tar("implied", true)], tag).await;
    let container = ContainerId::from_random([1; 32]);
    images.snapshot(&container, &new.id, &[]).await.unwrap();
    images.remove(old.id.as_str()).await.unwrap();
    images.remove(new.id.as_str()).await.unwrap();
    let made = std::mem::take(&mut *lock(&made));
    let steps: Vec<_> = made.iter().map(|(step, _)| *step).collect();
    for wanted in [
        "layer begun",
        "layer unpacked",
        "layer kept",
        "blobs written",
        "synced",
        "record written",
        "tags moved",
        "snapshot recorded",
        "record removed",
    ] {
        assert!(steps.contains(&wanted), "{wanted} is not among {steps:?}");
    }
    for (step, copy) in made {
        let images = Images::open(config(&copy)).await.unwrap();
        assert_sound(&images, step).await;
        let tagged = images.find(tag).unwrap();
        let allowed: &[Option<&Digest>] = match step {
            "record removed" => &[Some(&new.id), None],
            "record written" | "tags moved" | "snapshot recorded" => &[Some(&new.id)],
            _ => &[Some(&old.id)],
        };
        assert!(allowed.contains(&tagged.as_ref().map(|i| &i.id)), "{step}: {tagged:?}");
        // The next attempt is not poisoned.
        let tars = [tar("base", false), tar("new", false), tar("implied", true)];
        add(&images, &tars, tag).await;
        assert_sound(&images, step).await;
    }
}

#[tokio::test]
async fn a_killed_unpacker_is_an_error_that_leaves_nothing() {
    if !root("a_killed_unpacker_is_an_error_that_leaves_nothing") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let images = Images::open(config(dir.path())).await.unwrap();
    let tars = [tar("a", false)];
    let ingest = images.ingest(source(&tars)).await.unwrap();
    let LayerStep::Write(mut writer) = ingest.layer(0).await.unwrap() else { panic!() };
    writer.kill_unpacker();
    let error = match writer.write(&tars[0]).await {
        Ok(()) => writer.finish().await.unwrap_err(),
        Err(error) => {
            drop(writer);
            error
        }
    };
    assert!(error.to_string().contains("signal 9"), "{error}");
    drop(ingest);
    assert_sound(&images, "killed").await;
    add(&images, &tars, "example.org/a:1").await;
}

#[test]
fn chains_are_as_the_specification_says() {
    let digests: Vec<Digest> = ["a", "b"].iter().map(|text| record::sum(text.as_bytes())).collect();
    assert_eq!(ingest::chain_id(&digests[..1]), digests[0]);
    let text = format!("{} {}", digests[0], digests[1]);
    assert_eq!(ingest::chain_id(&digests), record::sum(text.as_bytes()));
}

#[test]
fn a_record_is_read_back_or_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    record::write(&path, &vec!["a"], Durability::Process).unwrap();
    assert_eq!(record::read::<Vec<String>>(&path).unwrap(), ["a"]);
    let good = std::fs::read(&path).unwrap();
    let mut changed = good.clone();
    *changed.last_mut().unwrap() = b'X';
    for bad in [&b""[..], b"no line", &good[..good.len() - 1], &changed] {
        std::fs::write(&path, bad).unwrap();
        let error = record::read::<Vec<String>>(&path).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}
