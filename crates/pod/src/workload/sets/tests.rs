use super::*;
use crate::workload::model::seconds;
use proptest::prelude::*;

const NOW: i64 = 1_000_000_000_000;

fn pod(name: &str, revision: &str, state: State) -> Seen {
    Seen {
        name: name.into(),
        revision: revision.into(),
        index: None,
        created_at: 0,
        state,
        restarts: 0,
        ended_at: 0,
    }
}

fn rolling(replicas: u32, surge: u32, unavailable: u32) -> Set {
    Set { replicas, roll: Roll::Rolling { surge, unavailable }, min_ready: 0 }
}

/// The actions as one line: `+` for each pod that is made, `-NAME` for each that is removed.
fn actions(set: &Set, pods: &[Seen]) -> String {
    words(&decide(set, "new", pods, NOW))
}

fn words(decision: &Decision) -> String {
    let word = |action: &Action| match action {
        Action::Create(None) => "+".to_owned(),
        Action::Remove(name) => format!("-{name}"),
        other => format!("{other:?}"),
    };
    decision.actions.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn as_many_pods_are_made_and_removed_as_wanted() {
    let ready = State::Ready(0);
    for (replicas, pods, wanted) in [
        (0, vec![], ""),
        (3, vec![], "+ + +"),
        (3, vec![("a", State::Pending), ("b", ready)], "+"),
        // One that leaves is none.
        (2, vec![("a", State::Leaving), ("b", ready)], "+"),
        // Those that do not serve go first.
        (1, vec![("a", ready), ("b", State::Running)], "-b"),
        (0, vec![("a", ready)], "-a"),
        // What has ended is replaced.
        (1, vec![("a", State::Failed)], "-a +"),
    ] {
        let pods: Vec<_> = pods.iter().map(|(name, state)| pod(name, "new", *state)).collect();
        for roll in [Roll::Never, Roll::Recreate, Roll::Rolling { surge: 0, unavailable: 1 }] {
            let set = Set { replicas, roll, min_ready: 0 };
            assert_eq!(actions(&set, &pods), wanted, "{roll:?} {pods:?}");
        }
    }
}

#[test]
fn old_pods_are_replaced_within_what_may_be_missing_or_too_many() {
    let ready = State::Ready(0);
    let old = |n: usize| (0..n).map(|i| pod(&format!("o{i}"), "old", ready)).collect::<Vec<_>>();
    let with = |n: usize, new: &[State]| {
        let new = new.iter().enumerate().map(|(i, state)| pod(&format!("n{i}"), "new", *state));
        old(n).into_iter().chain(new).collect::<Vec<_>>()
    };
    // None may be missing, one may be too many: one new one comes, and then an old one goes.
    let set = rolling(2, 1, 0);
    assert_eq!(actions(&set, &old(2)), "+");
    assert_eq!(actions(&set, &with(2, &[State::Pending])), "");
    assert_eq!(actions(&set, &with(2, &[State::Running])), "");
    assert_eq!(actions(&set, &with(2, &[ready])), "-o0");
    assert_eq!(actions(&set, &with(1, &[ready])), "+");
    assert_eq!(actions(&set, &with(1, &[ready, ready])), "-o0");
    // One may be missing, none too many: first an old one goes.
    let set = rolling(2, 0, 1);
    assert_eq!(actions(&set, &old(2)), "-o0");
    assert_eq!(actions(&set, &with(1, &[])), "+");
    assert_eq!(actions(&set, &with(1, &[State::Running])), "");
    assert_eq!(actions(&set, &with(1, &[ready])), "-o0");
    // Fewer are wanted than there are.
    assert_eq!(actions(&rolling(1, 1, 0), &with(2, &[ready])), "-o0 -o1");
    // All at once where all may be missing and too many.
    assert_eq!(actions(&rolling(2, 2, 2), &old(2)), "-o0 -o1 + +");
    assert_eq!(actions(&rolling(0, 1, 0), &old(2)), "-o0 -o1");
}

#[test]
fn an_old_pod_that_does_not_serve_is_not_waited_for() {
    let set = rolling(2, 0, 1);
    let pods = [pod("o0", "old", State::Running), pod("o1", "old", State::Ready(0))];
    assert_eq!(actions(&set, &pods), "-o0");
    // A new one that does not get ready is replaced by the next template, and the old one stays.
    let stuck = [pod("o0", "old", State::Ready(0)), pod("s0", "older", State::Running)];
    assert_eq!(actions(&set, &stuck), "-s0");
}

#[test]
fn recreate_ends_all_old_pods_before_the_first_new_one() {
    let set = Set { replicas: 2, roll: Roll::Recreate, min_ready: 0 };
    let old = |state| pod("o", "old", state);
    assert_eq!(actions(&set, &[old(State::Ready(0)), pod("n", "new", State::Running)]), "-o");
    assert_eq!(actions(&set, &[old(State::Leaving)]), "");
    assert_eq!(actions(&set, &[]), "+ +");
    let never = Set { roll: Roll::Never, ..set };
    assert_eq!(actions(&never, &[old(State::Ready(0))]), "+");
}

#[test]
fn a_pod_counts_when_it_was_ready_for_long_enough() {
    let set = Set { min_ready: 10, ..rolling(1, 1, 0) };
    let since = NOW - seconds(9);
    let pods = [pod("o", "old", State::Ready(0)), pod("n", "new", State::Ready(since))];
    let decision = decide(&set, "new", &pods, NOW);
    assert_eq!((words(&decision).as_str(), decision.wake), ("", Some(since + seconds(10))));
    let later = decide(&set, "new", &pods, NOW + seconds(1));
    assert_eq!((words(&later).as_str(), later.wake), ("-o", None));
}

/// A roll from any state comes to its end, and on its way keeps its promises.
fn rolls(set: Set, mut pods: Vec<Seen>) -> Result<(), TestCaseError> {
    let Roll::Rolling { surge, unavailable } = set.roll else { unreachable!() };
    let (least, most) = (set.replicas.saturating_sub(unavailable), set.replicas + surge);
    let serving = |pods: &[Seen]| as_u32(pods.iter().filter(|p| matches!(p.state, State::Ready(_))).count());
    let begun = (serving(&pods), as_u32(pods.len()));
    for round in 0..200 {
        let decision = decide(&set, "new", &pods, NOW);
        if decision.actions.is_empty() {
            let Some(next) = pods.iter_mut().find(|pod| pod.state == State::Pending) else { break };
            next.state = State::Ready(0);
            continue;
        }
        for action in decision.actions {
            match action {
                Action::Create(None) => {
                    pods.push(pod(&format!("n{round}-{}", pods.len()), "new", State::Pending))
                }
                Action::Remove(name) => pods.retain(|pod| pod.name != name),
                other => panic!("{other:?}"),
            }
        }
        prop_assert!(serving(&pods) >= least.min(begun.0), "too few: {:?}", pods);
        prop_assert!(as_u32(pods.len()) <= most.max(begun.1), "too many: {:?}", pods);
    }
    prop_assert_eq!(as_u32(pods.len()), set.replicas);
    prop_assert!(
        pods.iter().all(|pod| pod.revision == "new" && matches!(pod.state, State::Ready(_))),
        "{:?}",
        pods
    );
    Ok(())
}

proptest! {
    #[test]
    fn every_roll_ends_and_keeps_its_promises(
        replicas in 0_u32..6, surge in 0_u32..4, unavailable in 0_u32..4,
        states in prop::collection::vec((any::<bool>(), any::<bool>()), 0..8),
    ) {
        let unavailable = if surge + unavailable == 0 { 1 } else { unavailable };
        let pods = states.iter().enumerate().map(|(i, (new, ready))| {
            let state = if *ready { State::Ready(0) } else { State::Pending };
            pod(&format!("p{i}"), if *new { "new" } else { "old" }, state)
        });
        rolls(rolling(replicas, surge, unavailable), pods.collect())?;
    }
}
