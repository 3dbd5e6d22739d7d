use super::container::State;
use super::*;
use crate::lifecycle::table;
use crate::lifecycle::tests::{Numbers, compare};

mod random;

const NAMES: &[(&str, &str)] = &[
    ("UpL", "Starting / Lost"),
    ("UpS", "Starting / Silent"),
    ("UxL", "Starting, then NotReady / Lost"),
    ("UxG", "Starting, then NotReady / Gone"),
    ("ReC", "Ready / Connected"),
    ("ReL", "Ready / Lost"),
    ("ReS", "Ready / Silent"),
    ("DnC", "Stopping, then NotReady / Connected"),
    ("DnL", "Stopping, then NotReady / Lost"),
    ("DnS", "Stopping, then NotReady / Silent"),
    ("DnG", "Stopping, then NotReady / Gone"),
];

const CODES: &[(&str, &str)] = &[("T", "take it down"), ("C", "connect again")];

/// Disconnected, Silent, Connected, ShimDied, InitDied.
const SETTLED: &str = "
UpL | UpS   UpS .   UxG   UxL
ReC | ReL:C .   .   DnG:T DnC:T
ReL | .     ReS ReC DnG:T DnL:T
ReS | .     .   ReC DnG:T DnS:T
DnC | DnL   .   .   DnG   .
DnL | .     DnS .   DnG   .
DnS | .     .   .   DnG   .
DnG | .     .   .   .     .
";

#[test]
fn every_cell_is_as_settled() {
    compare(&table::pod(), SETTLED, NAMES, CODES);
}

type P = Pod<Numbers>;
type M = Message<Numbers>;
type ToSandbox = sandbox::Message<Numbers>;
type ToContainer = container::Message<Numbers>;

fn id(n: u8) -> ContainerId {
    ContainerId::from_random([n; 32])
}

fn pod_end(ends: Vec<(ContainerId, Option<i64>, u32)>) -> M {
    M::Down(PodEnd { ends, late: 254, overtaken: "the pod was stopped" })
}

/// A pod that is up with containers that run.
fn up(running: &[u8]) -> P {
    let mut pod = P::starting(0);
    pod.next(M::Sandbox(ToSandbox::Up));
    for n in running {
        pod.next(M::Create(id(*n), 100, "unreachable"));
        pod.next(M::Container(id(*n), ToContainer::Prepared("facts", Outcome::Done)));
        pod.next(M::Container(id(*n), ToContainer::Start(100)));
        pod.next(M::Container(id(*n), ToContainer::Started(7)));
    }
    pod
}

fn state(pod: &P, n: u8) -> Option<State> {
    pod.containers().get(&id(n)).map(|container| container.state())
}

/// The answers among effects: who, and the outcome in a word.
fn answers(effects: &[Effect<Numbers>]) -> Vec<(u32, &'static str)> {
    let word = |outcome: &Outcome<&'static str>| match outcome {
        Outcome::Done => "done",
        Outcome::Refused(_) => "refused",
        Outcome::Failed(error) => error,
    };
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Sandbox(sandbox::Effect::Answer(who, outcome))
            | Effect::Container(_, container::Effect::Answer(who, outcome)) => Some((*who, word(outcome))),
            Effect::Sandbox(_) | Effect::Container(..) | Effect::Prepare(_) | Effect::Connect => None,
        })
        .collect()
}

#[test]
fn a_lost_connection_changes_nothing_and_the_shims_word_counts() {
    let mut pod = up(&[1, 2, 3]);
    let before = format!("{:?}", pod.containers());
    assert!(matches!(pod.next(M::Disconnected)[..], [Effect::Connect]));
    pod.next(M::Silent);
    assert_eq!(format!("{:?}", pod.containers()), before);
    pod.next(M::Connected(vec![
        (id(1), ContainerReport::Lives(Found::Running(7))),
        (id(2), ContainerReport::Ended(Some(7), 3)),
        (id(9), ContainerReport::Ended(None, 1)),
    ]));
    assert_eq!(pod.link(), Link::Connected);
    let states = [1, 2, 3, 9].map(|n| state(&pod, n));
    assert_eq!(states, [Some(State::Running), Some(State::Exited), Some(State::Running), None]);
}

#[test]
fn a_recovered_pod_learns_of_its_containers() {
    let mut pod = P::recovered((1..4).map(|n| (id(n), "facts")).collect());
    assert_eq!(state(&pod, 1), Some(State::Unknown));
    pod.next(M::Connected(vec![
        (id(1), ContainerReport::Lives(Found::Created)),
        (id(2), ContainerReport::Lives(Found::Running(7))),
        (id(3), ContainerReport::Ended(Some(7), 3)),
    ]));
    let states = [1, 2, 3].map(|n| state(&pod, n));
    assert_eq!(states, [Some(State::Created), Some(State::Running), Some(State::Exited)]);
}

#[test]
fn a_dead_shim_takes_its_pod_down() {
    let mut pod = up(&[1, 2]);
    pod.next(M::Disconnected);
    let effects = pod.next(M::ShimDied("dead"));
    assert!(matches!(effects[..], [Effect::Sandbox(sandbox::Effect::TakeDown)]), "{effects:?}");
    assert_eq!([1, 2].map(|n| state(&pod, n)), [Some(State::Unknown); 2]);
    // One is known by its record, of the other nothing is.
    pod.next(pod_end(vec![(id(1), Some(7), 3)]));
    let ends = [1, 2].map(|n| pod.containers()[&id(n)].exit().copied());
    assert_eq!(ends, [Some(3), Some(254)]);
    assert_eq!(pod.containers()[&id(2)].started_at(), Some(7));
    assert!(matches!(pod.sandbox(), Sandbox::NotReady));
}

#[test]
fn a_pod_that_lost_its_shim_before_it_was_up_is_taken_down_or_connected_to() {
    let mut pod = P::starting(0);
    pod.next(M::ShimDied("dead"));
    let effects = pod.next(M::Sandbox(ToSandbox::Up));
    assert_eq!(answers(&effects), [(0, "refused")]);
    assert_eq!(pod.link(), Link::Gone);
    assert!(matches!(pod.sandbox(), Sandbox::Stopping { stage: Stage::Down, .. }));

    let mut pod = P::starting(0);
    pod.next(M::Disconnected);
    let effects = pod.next(M::Sandbox(ToSandbox::Up));
    assert_eq!(answers(&effects), [(0, "done")]);
    assert!(matches!(effects[..], [_, Effect::Connect]));
    assert_eq!(pod.link(), Link::Lost);
}

#[test]
fn a_late_report_that_the_pod_is_up_connects_nothing() {
    let mut pod = up(&[]);
    pod.next(M::Disconnected);
    pod.next(M::Sandbox(ToSandbox::Up));
    assert_eq!(pod.link(), Link::Lost);
}

#[test]
fn a_stop_waits_for_containers_that_are_being_made_and_ends_them() {
    let mut pod = up(&[]);
    pod.next(M::Create(id(1), 1, "unreachable"));
    pod.next(M::Create(id(2), 2, "unreachable"));
    pod.next(M::Sandbox(ToSandbox::Stop(3)));
    assert_eq!(answers(&pod.next(pod_end(vec![]))), []);
    assert!(matches!(pod.sandbox(), Sandbox::Stopping { stage: Stage::Settling, .. }));
    let effects = pod.next(M::Container(id(1), ToContainer::NotPrepared("no space")));
    assert_eq!(answers(&effects), [(1, "no space")]);
    let effects = pod.next(M::Container(id(2), ToContainer::Prepared("facts", Outcome::Done)));
    assert_eq!(answers(&effects), [(2, "refused"), (3, "done")]);
    assert_eq!(pod.containers()[&id(2)].exit(), Some(&254));
}

#[test]
fn a_container_that_is_prepared_during_the_teardown_ends_with_it() {
    let mut pod = up(&[]);
    pod.next(M::Create(id(1), 1, "unreachable"));
    pod.next(M::Sandbox(ToSandbox::Stop(3)));
    let effects = pod.next(M::Container(id(1), ToContainer::Prepared("facts", Outcome::Done)));
    assert_eq!((answers(&effects), state(&pod, 1)), (vec![(1, "refused")], Some(State::Created)));
    let effects = pod.next(M::Container(id(1), ToContainer::Start(4)));
    assert_eq!(answers(&effects), [(4, "refused")]);
    assert_eq!(answers(&pod.next(pod_end(vec![]))), [(3, "done")]);
    assert_eq!(pod.containers()[&id(1)].exit(), Some(&254));
}

#[test]
fn a_start_that_the_end_overtakes_is_answered() {
    let started = |ends: Vec<_>| {
        let mut pod = up(&[]);
        pod.next(M::Create(id(1), 1, "unreachable"));
        pod.next(M::Container(id(1), ToContainer::Prepared("facts", Outcome::Done)));
        pod.next(M::Container(id(1), ToContainer::Start(2)));
        pod.next(M::Sandbox(ToSandbox::Stop(3)));
        let effects = pod.next(pod_end(ends));
        (answers(&effects), pod.containers()[&id(1)].exit().copied(), pod.containers()[&id(1)].started_at())
    };
    let failed = vec![(2, "the pod was stopped"), (3, "done")];
    assert_eq!(started(vec![]), (failed.clone(), Some(254), None));
    assert_eq!(started(vec![(id(1), None, 137)]), (failed, Some(137), None));
    // The record says that it did run.
    assert_eq!(started(vec![(id(1), Some(7), 0)]), (vec![(2, "done"), (3, "done")], Some(0), Some(7)));
}

#[test]
fn a_container_that_is_being_removed_continues_its_removal() {
    let mut pod = up(&[1]);
    pod.next(M::Container(id(1), ToContainer::Remove(4)));
    pod.next(M::Container(id(1), ToContainer::Exited(None, 137)));
    pod.next(M::Sandbox(ToSandbox::Stop(3)));
    assert_eq!(answers(&pod.next(pod_end(vec![(id(1), None, 1)]))), [(3, "done")]);
    assert_eq!(state(&pod, 1), Some(State::Removing));
    assert_eq!(answers(&pod.next(M::Container(id(1), ToContainer::Removed))), [(4, "done")]);
    assert_eq!(state(&pod, 1), None);
}

#[test]
fn the_containers_are_gone_with_their_sandbox() {
    let mut pod = up(&[1, 2]);
    pod.next(M::Sandbox(ToSandbox::Remove(3)));
    pod.next(pod_end(vec![]));
    pod.next(M::Container(id(1), ToContainer::Remove(4)));
    assert_eq!(answers(&pod.next(M::Sandbox(ToSandbox::Cleared))), [(3, "done"), (4, "done")]);
    assert!(pod.containers().is_empty());
    // Their own removal reports late.
    assert!(pod.next(M::Container(id(1), ToContainer::NotRemoved("busy"))).is_empty());
}

#[test]
fn a_call_for_a_container_that_is_gone_is_answered() {
    let mut pod = up(&[]);
    let mut ask = |message| answers(&pod.next(M::Container(id(1), message)));
    assert_eq!(ask(ToContainer::Remove(1)), [(1, "done")]);
    assert_eq!(ask(ToContainer::Stop(std::time::Duration::ZERO, 2)), [(2, "done")]);
    assert_eq!(ask(ToContainer::Start(3)), [(3, "refused")]);
    assert_eq!(ask(ToContainer::Join(4)), [(4, "refused")]);
}

#[test]
fn a_container_is_made_only_where_it_can_live() {
    let create = |pod: &mut P| answers(&pod.next(M::Create(id(5), 1, "unreachable")));
    let mut pod = up(&[1]);
    assert_eq!(create(&mut pod), []);
    pod.next(M::Disconnected);
    // The same again: it waits for the first.
    assert_eq!(create(&mut pod), []);
    pod.next(M::Container(id(5), ToContainer::NotPrepared("no space")));
    assert_eq!(create(&mut pod), [(1, "unreachable")]);
    pod.next(M::Silent);
    assert_eq!(create(&mut pod), [(1, "unreachable")]);
    assert!(matches!(pod.sandbox(), Sandbox::Ready), "something lives in it");
    pod.next(M::Container(id(1), ToContainer::Exited(None, 0)));
    assert_eq!(create(&mut pod), [(1, "unreachable")]);
    assert!(matches!(pod.sandbox(), Sandbox::Stopping { .. }), "nothing lives in it");
    assert_eq!(create(&mut pod), [(1, "refused")]);
}

#[test]
fn a_stop_that_failed_can_be_tried_again() {
    let mut pod = up(&[1]);
    pod.next(M::Sandbox(ToSandbox::Stop(3)));
    assert_eq!(answers(&pod.next(M::Sandbox(ToSandbox::NotDown("busy")))), [(3, "busy")]);
    assert_eq!(state(&pod, 1), Some(State::Running));
    pod.next(M::Sandbox(ToSandbox::Stop(4)));
    assert_eq!(answers(&pod.next(pod_end(vec![(id(1), None, 9)]))), [(4, "done")]);
    assert_eq!(state(&pod, 1), Some(State::Exited));
}
