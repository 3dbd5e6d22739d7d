use std::time::Duration;

use berth_image::pull::LayerProgress;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn layer(byte: &str, state: LayerState) -> LayerProgress {
    let digest = format!("sha256:{}", byte.repeat(32)).parse().unwrap();
    LayerProgress { digest, done: 0, total: 9, state }
}

fn progress(layers: Vec<LayerProgress>) -> PullProgress {
    PullProgress { manifest: Some(format!("sha256:{}", "ee".repeat(32)).parse().unwrap()), layers }
}

#[test]
fn a_pull_has_steps_as_it_is_seen() {
    let start = Instant::now();
    let mut steps = Steps::begin(start);
    steps.see(&PullProgress::default(), start + MS);
    let (here, waits) = (layer("aa", LayerState::Exists), layer("bb", LayerState::Waiting));
    steps.see(&progress(vec![here.clone(), waits]), start + 2 * MS);
    steps.see(&progress(vec![here.clone(), layer("bb", LayerState::Downloading)]), start + 3 * MS);
    steps.see(&progress(vec![here.clone(), layer("bb", LayerState::Unpacking)]), start + 4 * MS);
    steps.see(&progress(vec![here, layer("bb", LayerState::Done)]), start + 5 * MS);
    let seen = steps.end(start + 6 * MS);
    let seen: Vec<_> =
        seen.iter().map(|(name, since, until)| (name.as_str(), *since - start, *until - start)).collect();
    assert_eq!(
        seen,
        [
            ("resolve", Duration::ZERO, 2 * MS),
            ("layer bbbbbbbbbbbb", 3 * MS, 5 * MS),
            ("commit", 5 * MS, 6 * MS)
        ]
    );
}

#[test]
fn a_pull_that_fails_has_the_step_that_it_failed_in() {
    let start = Instant::now();
    let only = |steps: Steps| steps.end(start + 9 * MS).pop().unwrap().0;
    assert_eq!(only(Steps::begin(start)), "resolve");
    let mut steps = Steps::begin(start);
    steps.see(&progress(vec![layer("bb", LayerState::Downloading)]), start + MS);
    assert_eq!(only(steps), "layer bbbbbbbbbbbb");
}
