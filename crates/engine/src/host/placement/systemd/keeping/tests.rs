use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::*;

const WAIT: Duration = Duration::from_secs(20);

fn pod(byte: u8) -> SandboxId {
    SandboxId::from_random([byte; 32])
}

#[test]
fn a_scope_is_made_again_unless_the_pod_had_limits_in_it() {
    let (own, direct) = (format!("pod/{}", "c".repeat(64)), "c".repeat(64));
    let all = [
        // The pause group, the pod's own, the new group.
        (true, true, own.as_str(), Keep::Nothing),
        (true, false, &own, Keep::Nothing),
        (true, true, &direct, Keep::Nothing),
        (true, false, &direct, Keep::Nothing),
        (false, false, &own, Keep::Refused),
        (false, true, &own, Keep::Again),
        (false, false, &direct, Keep::Again),
        (false, true, &direct, Keep::Again),
        // The pod's own group itself is made with its limits.
        (false, false, "pod", Keep::Again),
        (false, false, "podlike/x", Keep::Again),
    ];
    for (has_pause, has_pod, inside, expected) in all {
        assert_eq!(Keep::of(has_pause, has_pod, inside), expected, "{has_pause} {has_pod} {inside}");
    }
}

#[test]
fn pods_do_not_wait_for_each_other() {
    let turns = Turns::default();
    let (done, other) = channel();
    std::thread::scope(|scope| {
        turns.with(&pod(1), || {
            scope.spawn(|| turns.with(&pod(2), || done.send(()).unwrap()));
            other.recv_timeout(WAIT).expect("the other pod waits for this one");
        });
    });
    assert!(lock(&turns.0).is_empty());
}

#[test]
fn a_pod_has_one_turn_at_a_time() {
    let (turns, inside, most) = (Turns::default(), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..100 {
                    turns.with(&pod(1), || {
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            });
        }
    });
    assert_eq!(most.into_inner(), 1);
    assert!(lock(&turns.0).is_empty(), "nothing is kept of pods without work");
}
