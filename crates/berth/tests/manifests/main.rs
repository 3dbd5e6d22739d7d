//! The corpus of manifests in `tests/manifests`: each does what is kept beside it. One daemon plays all of them.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test program")]

mod case;
#[path = "../cli/home.rs"]
#[allow(dead_code, reason = "shared with the tests of the command line")]
mod home;
mod images;
mod run;

use std::collections::BTreeSet;
use std::sync::Mutex;

use berth_testkit::guard::wait_until;
use berth_testkit::require_root;

use case::Case;
use home::Home;

/// Manifests that are played at the same time.
const WORKERS: usize = 8;

#[test]
fn every_manifest_says_what_it_shows_and_names_no_other_ones_pods() {
    let all = case::all();
    assert!(all.len() >= 80, "{}", all.len());
    let mut names = BTreeSet::new();
    for case in &all {
        for name in case.names() {
            assert!(names.insert(name.clone()), "{}: another manifest has {name}", case.file);
        }
        let shows = &case.expect;
        let texts = shows.refused.len() + shows.fails.len() + shows.logs.len() + shows.calls.len();
        assert!(
            !shows.about.is_empty() && (texts > 0 || !shows.status.is_null()),
            "{}: nothing is expected",
            case.file
        );
    }
}

#[test]
fn every_manifest_does_what_it_says() {
    require_root!();
    // As the Kubernetes documentation writes images.
    let home = Home::start_with(home::program(), &["--short-name-host", "docker.io"]);
    images::publish();
    // By hand: only the files whose names have this in them.
    let only = std::env::var("BERTH_MANIFESTS").unwrap_or_default();
    let all: Vec<Case> = case::all().into_iter().filter(|case| case.file.contains(&only)).collect();
    let queue = Mutex::new(all.iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some(case) = queue.lock().unwrap().next() else { return };
                    if let Err(why) = run::run(&home, case) {
                        failed.lock().unwrap().push(format!("{}: {}\n  {why}", case.file, case.expect.about));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), all.len(), failed.join("\n"));
    home.clean();
}

/// Of `berth run` they are docker's: they go by `--rm` and `rm -v`, and outlive a restart. Those of a manifest go with the pod.
#[test]
fn volumes_of_images_are_there_and_go() {
    require_root!();
    let home = Home::start();
    images::publish();
    let image = "docker.io/corpus/volume:1";
    let count = || home.berth(&["volume", "ls", "-q"]).fine().lines().count();
    let said =
        home.berth(&["run", "--rm", "-q", image, "sh", "-c", "cat /data/file; touch /data/new"]).fine();
    assert_eq!(said, "of the image\n");
    assert!(wait_until(home::LIMIT, || count() == 0), "{}", count());
    home.berth(&["run", "-d", "-q", "--name", "kept", image, "sleep", "1000"]).fine();
    home.berth(&["exec", "kept", "sh", "-c", "echo mine > /data/file"]).fine();
    home.berth(&["restart", "-t", "0", "kept"]).fine();
    assert_eq!(home.berth(&["exec", "kept", "cat", "/data/file"]).fine(), "mine\n");
    assert_eq!(count(), 1);
    home.berth(&["rm", "-f", "-v", "kept"]).fine();
    assert_eq!(count(), 0);
    // What the user mounts there takes its place.
    home.berth(&["run", "-q", "--name", "own", "-v", "named:/data", image, "true"]).fine();
    assert_eq!(home.berth(&["volume", "ls", "-q"]).fine(), "named\n");
    home.berth(&["rm", "own"]).fine();
    let pod = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{containers: [{{name: c, image: {image}, command: [sleep, '1000']}}]}}}}"
    );
    home.feed(&["play", "-q", "-"], pod.as_bytes()).fine();
    assert_eq!(count(), 2);
    home.berth(&["down", "-t", "0", "p"]).fine();
    assert_eq!(home.berth(&["volume", "ls", "-q"]).fine(), "named\n");
    home.clean();
}
