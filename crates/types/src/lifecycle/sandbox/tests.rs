use super::*;
use proptest::prelude::*;

/// Rows are states, columns the events in the order of [`Event::ALL`]. `.` is refused, `=` the same state.
const TABLE: &[(State, &str)] = &[
    //                                           RunOk RunFailed Stop Stopped StopFailed Remove Removed ShimLost
    (State::Starting, "Ready Gone Stop . . StopRm . Stop"),
    (State::Ready, ". . Stop . . StopRm . Stop"),
    (State::Stopping { then: After::NotReady }, ". . = NotReady StopFailed StopRm . ="),
    (State::Stopping { then: After::Removing }, ". . = Removing StopFailed = . ="),
    (State::StopFailed, ". . Stop . . StopRm . ="),
    (State::NotReady, ". . = . . Removing . ="),
    (State::Removing, ". . = . . = Gone ="),
    (State::Gone, ". . = . . = = ="),
];

fn named(name: &str, same: State) -> Option<State> {
    Some(match name {
        "." => return None,
        "=" => same,
        "Ready" => State::Ready,
        "Stop" => State::Stopping { then: After::NotReady },
        "StopRm" => State::Stopping { then: After::Removing },
        "StopFailed" => State::StopFailed,
        "NotReady" => State::NotReady,
        "Removing" => State::Removing,
        "Gone" => State::Gone,
        other => panic!("{other} is not a state"),
    })
}

#[test]
fn every_cell_of_the_table() {
    assert_eq!(TABLE.len(), State::ALL.len());
    for (state, row) in TABLE {
        let cells: Vec<_> = row.split(' ').collect();
        assert_eq!(cells.len(), Event::ALL.len(), "{state:?}");
        for (event, cell) in Event::ALL.into_iter().zip(cells) {
            assert_eq!(next(*state, event).ok(), named(cell, *state), "{state:?} {event:?}");
        }
    }
}

#[test]
fn only_a_ready_sandbox_is_listed_ready() {
    for state in State::ALL {
        assert_eq!(state.listed() == Some(Listed::Ready), state == State::Ready, "{state:?}");
    }
}

proptest! {
    /// Whatever has happened, a sandbox can be removed.
    #[test]
    fn every_sandbox_can_be_removed(events in prop::collection::vec(0..Event::ALL.len(), 0..40)) {
        let mut state = State::Starting;
        for event in events {
            state = next(state, Event::ALL[event]).unwrap_or(state);
        }
        state = next(state, Event::Remove).unwrap();
        if let State::Stopping { .. } = state {
            state = next(state, Event::Stopped).unwrap();
        }
        if state != State::Gone {
            state = next(state, Event::Removed).unwrap();
        }
        prop_assert_eq!(state, State::Gone);
    }
}
