use Effect::*;
use Event::*;
use Kind::*;
use Outcome::*;

use super::*;
use crate::probe::Check;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Every 10 seconds, up to 3 failures.
fn spec() -> Spec {
    Spec {
        check: Check::Exec(vec!["true".into()]),
        delay: Duration::ZERO,
        period: at(10),
        timeout: at(1),
        successes: 1,
        failures: 3,
        grace: None,
    }
}

fn only(kind: Kind, spec: Spec) -> Probes {
    let mut probes = Probes::default();
    match kind {
        Startup => probes.startup = Some(spec),
        Readiness => probes.readiness = Some(spec),
        Liveness => probes.liveness = Some(spec),
    }
    probes
}

fn all() -> Probes {
    Probes { startup: Some(spec()), readiness: Some(spec()), liveness: Some(spec()) }
}

fn new(probes: &Probes) -> State {
    State::new(probes, Duration::ZERO, 0.0, Duration::ZERO)
}

#[test]
fn what_a_result_does_in_every_cell() {
    // Kind, thresholds (successes, failures), answers one period apart, what follows the last of them.
    type Row = (Kind, u32, u32, &'static [Outcome], &'static [Effect]);
    let rows: &[Row] = &[
        (Startup, 1, 3, &[Success], &[Started, Ready(true)]),
        (Startup, 1, 3, &[Failure], &[]),
        (Startup, 1, 3, &[Failure, Failure], &[]),
        (Startup, 1, 3, &[Failure, Failure, Failure], &[End(Startup)]),
        (Startup, 1, 3, &[Failure, Failure, Success], &[Started, Ready(true)]),
        (Startup, 1, 1, &[Failure], &[End(Startup)]),
        (Startup, 1, 1, &[Unknown], &[]),
        (Startup, 1, 3, &[Failure, Failure, Unknown, Failure], &[End(Startup)]),
        (Liveness, 1, 3, &[Success], &[]),
        (Liveness, 1, 3, &[Failure, Failure], &[]),
        (Liveness, 1, 3, &[Failure, Failure, Failure], &[End(Liveness)]),
        (Liveness, 1, 3, &[Failure, Failure, Success, Failure, Failure], &[]),
        (Liveness, 1, 3, &[Failure, Failure, Success, Failure, Failure, Failure], &[End(Liveness)]),
        (Liveness, 1, 3, &[Failure, Unknown, Failure, Unknown, Failure], &[End(Liveness)]),
        (Liveness, 1, 1, &[Unknown], &[]),
        (Readiness, 1, 3, &[Success], &[Ready(true)]),
        (Readiness, 1, 3, &[Failure], &[]),
        (Readiness, 1, 3, &[Success, Success], &[]),
        (Readiness, 2, 3, &[Success], &[]),
        (Readiness, 2, 3, &[Success, Success], &[Ready(true)]),
        (Readiness, 2, 3, &[Success, Failure, Success], &[]),
        (Readiness, 2, 3, &[Success, Unknown, Success], &[Ready(true)]),
        (Readiness, 1, 3, &[Success, Failure, Failure], &[]),
        (Readiness, 1, 3, &[Success, Failure, Failure, Failure], &[Ready(false)]),
        (Readiness, 1, 3, &[Success, Failure, Failure, Failure, Failure], &[]),
        (Readiness, 1, 1, &[Success, Failure, Success], &[Ready(true)]),
        (Readiness, 1, 1, &[Unknown], &[]),
    ];
    for (kind, successes, failures, answers, expected) in rows {
        let spec = Spec { successes: *successes, failures: *failures, ..spec() };
        let mut state = new(&only(*kind, spec));
        let mut last = Vec::new();
        for (round, outcome) in answers.iter().enumerate() {
            let now = at(10 * round as u64);
            assert_eq!(state.step(now, Tick), [Ask(*kind)], "{kind:?} {answers:?} {round}");
            last = state.step(now, Answer(*kind, *outcome));
        }
        assert_eq!(last, *expected, "{kind:?} {successes} {failures} {answers:?}");
    }
}

#[test]
fn it_is_asked_after_its_delay_and_then_every_period() {
    let mut state = new(&only(Liveness, Spec { delay: at(25), ..spec() }));
    assert_eq!(state.wake(), Some(at(25)));
    assert_eq!(state.step(at(24), Tick), []);
    assert_eq!(state.step(at(25), Tick), [Ask(Liveness)]);
    // Nothing is asked twice at a time.
    assert_eq!(state.wake(), None);
    assert_eq!(state.step(at(35), Tick), []);
    // An answer that took longer than the period: at once, and then in the old rhythm.
    assert_eq!(state.step(at(49), Answer(Liveness, Success)), [Ask(Liveness)]);
    assert_eq!(state.step(at(50), Answer(Liveness, Success)), []);
    assert_eq!(state.wake(), Some(at(55)));
    // A clock that was late makes no burst.
    assert_eq!(state.step(at(500), Tick), [Ask(Liveness)]);
    assert_eq!(state.step(at(500), Answer(Liveness, Success)), []);
    assert_eq!(state.wake(), Some(at(505)));
}

#[test]
fn a_container_that_was_found_running_is_asked_for_the_rest_of_its_delay() {
    let probes = only(Liveness, Spec { delay: at(25), ..spec() });
    for (age, spread, first) in [(20, 0.0, 5), (100, 0.0, 0), (100, 0.5, 5), (0, 0.5, 25), (100, 7.0, 10)] {
        let state = State::new(&probes, at(age), spread, at(1000));
        assert_eq!(state.wake(), Some(at(1000 + first)), "{age} {spread}");
    }
}

#[test]
fn others_wait_for_the_start() {
    let mut state = new(&all());
    assert!(!state.started() && !state.ready());
    assert_eq!(state.step(at(0), Tick), [Ask(Startup)]);
    assert_eq!(state.step(at(1), Answer(Startup, Failure)), []);
    assert_eq!(state.wake(), Some(at(10)));
    assert_eq!(state.step(at(10), Tick), [Ask(Startup)]);
    // Readiness is asked at once, liveness in its rhythm; the start never again.
    assert_eq!(state.step(at(11), Answer(Startup, Success)), [Started, Ask(Readiness)]);
    assert!(state.started() && !state.ready());
    assert_eq!(state.step(at(12), Answer(Readiness, Success)), [Ready(true)]);
    assert!(state.ready());
    assert_eq!(state.wake(), Some(at(20)));
    assert_eq!(state.step(at(20), Tick), [Ask(Liveness)]);
    assert_eq!(state.step(at(21), Tick), [Ask(Readiness)]);
    // What no probe was begun for is no answer.
    assert_eq!(state.step(at(22), Answer(Startup, Failure)), []);
    assert!(state.started());
}

#[test]
fn a_delay_that_is_longer_than_the_start_counts_on() {
    let mut probes = all();
    for probe in [&mut probes.readiness, &mut probes.liveness] {
        probe.as_mut().unwrap().delay = at(100);
    }
    let mut state = new(&probes);
    assert_eq!(state.step(at(0), Tick), [Ask(Startup)]);
    assert_eq!(state.step(at(1), Answer(Startup, Success)), [Started]);
    assert_eq!(state.wake(), Some(at(100)));
    assert_eq!(state.step(at(100), Tick), [Ask(Readiness), Ask(Liveness)]);
}

#[test]
fn what_failed_is_not_asked_again_unless_it_could_not_be_ended() {
    for kind in [Startup, Liveness] {
        let mut state = new(&only(kind, Spec { failures: 1, ..spec() }));
        assert_eq!(state.step(at(0), Tick), [Ask(kind)]);
        assert_eq!(state.step(at(1), Answer(kind, Failure)), [End(kind)]);
        assert_eq!(state.wake(), None);
        assert_eq!(state.step(at(100), Tick), []);
        assert_eq!(state.step(at(101), Lives(kind)), []);
        assert_eq!(state.wake(), Some(at(110)));
        assert_eq!(state.step(at(110), Tick), [Ask(kind)]);
        assert_eq!(state.step(at(111), Answer(kind, Failure)), [End(kind)]);
    }
}

#[test]
fn without_probes_it_has_started_and_is_ready() {
    let state = new(&Probes::default());
    assert!(state.started() && state.ready());
    assert_eq!(state.wake(), None);
    assert!(new(&only(Liveness, spec())).ready());
    assert!(!new(&only(Readiness, spec())).ready());
    assert!(!new(&only(Startup, spec())).ready());
}
