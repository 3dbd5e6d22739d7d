//! Limits of writable layers on a file system with project quotas, and what one without them says.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use berth_image::{Image, Images};
use berth_sys::quota;
use berth_testkit::isolated::{self, Kind as Space};
use berth_types::ContainerId;
use common::{Layer, Tar, add, config, root, store};

const LIMIT: u64 = 4 << 20;

fn container(digit: char) -> ContainerId {
    digit.to_string().repeat(64).parse().unwrap()
}

async fn image(images: &Images) -> std::sync::Arc<Image> {
    let layer = Layer::plain(Tar::new().file("f", "x").finish());
    add(images, &[layer], "example.org/x:1").await.unwrap().0
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    match Command::new(program).args(arguments).output() {
        Ok(said) if said.status.success() => Ok(()),
        Ok(said) => Err(format!("{program}: {}", String::from_utf8_lossy(&said.stderr).trim())),
        Err(e) => Err(format!("{program}: {e}")),
    }
}

/// Runs `body` on an ext4 with project quotas that only it sees; why not, where the kernel has none.
fn on_ext4(body: impl FnOnce(&Path) + Send) -> Result<(), String> {
    let in_namespace = || {
        let dir = tempfile::tempdir().unwrap();
        let (file, at) = (dir.path().join("image"), dir.path().join("at"));
        std::fs::create_dir(&at).unwrap();
        File::create(&file).unwrap().set_len(64 << 20).unwrap();
        let (file, place) = (file.display().to_string(), at.display().to_string());
        run("mkfs.ext4", &["-q", "-O", "quota,project", "-E", "quotatype=prjquota", &file])?;
        let mounted = run("mount", &["-o", "loop,prjquota", &file, &place]);
        mounted
            .map_err(|e| format!("the kernel has no quotas of ext4: {}", e.lines().next().unwrap_or("")))?;
        body(&at);
        run("umount", &[&place])
    };
    isolated::run(&[Space::Mount], in_namespace).unwrap()
}

#[test]
fn a_limit_holds_outlives_the_daemon_and_its_number_is_given_back() {
    let test = "a_limit_holds_outlives_the_daemon_and_its_number_is_given_back";
    if !root(test) {
        return;
    }
    let tested = on_ext4(|at| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let images = Images::open(config(at)).await.unwrap();
            assert!(images.has_limits());
            let image = image(&images).await;
            let one = images.snapshot(&container('1'), &image.id, &[]).await.unwrap();
            let two = images.snapshot(&container('2'), &image.id, &[]).await.unwrap();
            let project = |path: &Path| quota::project_of(File::open(path).unwrap()).unwrap();
            let number = project(&one.upper);
            assert!(number != 0 && number == project(&one.work) && number != project(&two.upper));
            assert!(images.limit_snapshot(&container('1'), LIMIT).await.unwrap());
            std::fs::write(one.upper.join("a"), vec![1; 1 << 20]).unwrap();
            // Counted at once, without a walk.
            let counted = images.last_usage(&container('1'), Duration::ZERO).unwrap();
            assert!(counted.usage.bytes >= 1 << 20 && counted.age == Duration::ZERO, "{counted:?}");
            drop(images);
            let images = Images::open(config(at)).await.unwrap();
            let error = std::fs::write(one.upper.join("b"), vec![1; 4 << 20]).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::QuotaExceeded | ErrorKind::StorageFull), "{error}");
            std::fs::write(two.upper.join("b"), vec![1; 8 << 20]).unwrap();
            // What overlayfs makes in the one it renames into the other.
            std::fs::write(one.work.join("c"), "c").unwrap();
            std::fs::rename(one.work.join("c"), one.upper.join("c")).unwrap();
            let three = images.snapshot(&container('3'), &image.id, &[]).await.unwrap();
            assert!(![number, project(&two.upper)].contains(&project(&three.upper)));
            images.remove_snapshot(&container('1')).await.unwrap();
            let root = File::open(at).unwrap();
            let free = || quota::project(&root, number).unwrap().is_unused();
            assert!(berth_testkit::wait_until(Duration::from_secs(10), free));
            for digit in ['2', '3'] {
                images.remove_snapshot(&container(digit)).await.unwrap();
            }
        });
    });
    if let Err(reason) = tested {
        eprintln!("skipped: {test}: {reason}");
    }
}

#[tokio::test]
async fn without_quotas_a_limit_is_not_set_and_that_is_said() {
    if !root("without_quotas_a_limit_is_not_set_and_that_is_said") {
        return;
    }
    let store = store().await;
    if store.images.has_limits() {
        eprintln!("skipped: without_quotas_a_limit_is_not_set_and_that_is_said: this file system has them");
        return;
    }
    let image = image(&store.images).await;
    assert!(store.images.limit_snapshot(&container('1'), LIMIT).await.is_err(), "there is no snapshot");
    store.images.snapshot(&container('1'), &image.id, &[]).await.unwrap();
    assert!(!store.images.limit_snapshot(&container('1'), LIMIT).await.unwrap());
    assert!(store.images.snapshot_usage(&container('1')).await.unwrap().inodes > 0);
    store.images.remove_snapshot(&container('1')).await.unwrap();
}
