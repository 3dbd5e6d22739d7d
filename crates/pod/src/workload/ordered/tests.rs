use super::*;

const NOW: i64 = 1_000_000_000_000;
const READY: State = State::Ready(0);

fn pods(given: &[(u32, &str, State)]) -> Vec<Seen> {
    let pod = |(index, revision, state): &(u32, &str, State)| Seen {
        name: format!("web-{index}"),
        revision: (*revision).to_owned(),
        index: Some(*index),
        created_at: 0,
        state: *state,
        restarts: 0,
        ended_at: 0,
    };
    given.iter().map(pod).collect()
}

fn actions(set: &Ordered, given: &[(u32, &str, State)]) -> String {
    let word = |action: &Action| match action {
        Action::Create(Some(number)) => format!("+{number}"),
        Action::Remove(name) => format!("-{name}"),
        other => format!("{other:?}"),
    };
    decide(set, "new", &pods(given), NOW).actions.iter().map(word).collect::<Vec<_>>().join(" ")
}

const THREE: Ordered = Ordered { replicas: 3, first: 0, parallel: false, partition: Some(0), min_ready: 0 };

#[test]
fn each_waits_for_those_before_it() {
    for (given, wanted) in [
        (vec![], "+0"),
        (vec![(0, "new", State::Pending)], ""),
        (vec![(0, "new", State::Running)], ""),
        (vec![(0, "new", READY)], "+1"),
        (vec![(0, "new", READY), (1, "new", READY)], "+2"),
        (vec![(0, "new", READY), (2, "new", READY)], "+1"),
        (vec![(0, "new", State::Failed), (1, "new", READY)], "-web-0"),
        (vec![(0, "new", State::Leaving), (1, "new", READY)], ""),
    ] {
        assert_eq!(actions(&THREE, &given), wanted, "{given:?}");
    }
    let parallel = Ordered { parallel: true, ..THREE };
    assert_eq!(actions(&parallel, &[]), "+0 +1 +2");
    assert_eq!(actions(&Ordered { first: 5, ..parallel }, &[(5, "new", READY)]), "+6 +7");
}

#[test]
fn the_last_goes_first() {
    let one = Ordered { replicas: 1, ..THREE };
    let all = [(0, "new", READY), (1, "new", READY), (2, "new", READY)];
    assert_eq!(actions(&one, &all), "-web-2");
    assert_eq!(actions(&one, &[all[0], all[1], (2, "new", State::Leaving)]), "");
    assert_eq!(actions(&Ordered { parallel: true, ..one }, &all), "-web-2 -web-1");
    assert_eq!(actions(&Ordered { replicas: 0, ..THREE }, &all), "-web-2");
}

#[test]
fn a_new_template_goes_from_the_last_to_the_first() {
    let old = [(0, "old", READY), (1, "old", READY), (2, "old", READY)];
    assert_eq!(actions(&THREE, &old), "-web-2");
    assert_eq!(actions(&THREE, &old[..2]), "+2");
    assert_eq!(actions(&THREE, &[old[0], old[1], (2, "new", State::Running)]), "");
    assert_eq!(actions(&THREE, &[old[0], old[1], (2, "new", READY)]), "-web-1");
    assert_eq!(actions(&Ordered { partition: Some(2), ..THREE }, &[old[0], old[1], (2, "new", READY)]), "");
    assert_eq!(actions(&Ordered { partition: None, ..THREE }, &old), "");
    // What does not serve is not waited for.
    assert_eq!(actions(&THREE, &[old[0], old[1], (2, "old", State::Running)]), "-web-2");
}

#[test]
fn a_pod_counts_when_it_was_ready_for_long_enough() {
    let set = Ordered { min_ready: 10, ..THREE };
    let since = NOW - seconds(5);
    let decision = decide(&set, "new", &pods(&[(0, "new", State::Ready(since))]), NOW);
    assert_eq!((decision.actions.len(), decision.wake), (0, Some(since + seconds(10))));
}
