use super::*;
use proptest::prelude::*;

/// The table as it was settled, cell by cell: rows are states, columns the events in the order of
/// [`Event::ALL`]. `.` is refused, `=` the same state.
const TABLE: &[(State, &str)] = &[
    //                                        CreateOk CreateFailed Start StartOk StartFailed Exited Stop Remove Removed ShimLost
    (State::Creating, "Created Gone . . . Gone Gone Gone . Unknown"),
    (State::Created, ". . Starting . . Exited Exited Removing . Unknown"),
    (State::Starting, ". . = Running Exited Exited StopExit StopRm . Unknown"),
    (State::Running, ". . . . . Exited StopExit StopRm . Unknown"),
    (State::Stopping { then: After::Exited }, ". . . = Exited Exited = StopRm . Unknown"),
    (State::Stopping { then: After::Removing }, ". . . = Removing Removing = = . Unknown"),
    (State::Exited, ". . . = = = = Removing . ="),
    (State::Unknown, ". . . = = Exited StopExit StopRm . ="),
    (State::Removing, ". . . = = = = = Gone ="),
    (State::Gone, ". . . . . = = = = ="),
];

fn named(name: &str, same: State) -> Option<State> {
    Some(match name {
        "." => return None,
        "=" => same,
        "Created" => State::Created,
        "Starting" => State::Starting,
        "Running" => State::Running,
        "Exited" => State::Exited,
        "Removing" => State::Removing,
        "Unknown" => State::Unknown,
        "Gone" => State::Gone,
        "StopExit" => State::Stopping { then: After::Exited },
        "StopRm" => State::Stopping { then: After::Removing },
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
fn a_refusal_reads_as_a_sentence() {
    let refused = next(State::Exited, Event::Start).unwrap_err();
    assert_eq!(refused.to_string(), "cannot start a container that is exited");
}

#[test]
fn only_what_is_made_and_not_gone_is_listed() {
    for state in State::ALL {
        let hidden = matches!(state, State::Creating | State::Gone);
        assert_eq!(state.listed().is_none(), hidden, "{state:?}");
    }
}

proptest! {
    /// Whatever has happened, a container can be removed: no sequence of events leads to a state
    /// from which Remove, the exit and the end of removal do not reach Gone.
    #[test]
    fn every_container_can_be_removed(events in prop::collection::vec(0..Event::ALL.len(), 0..40)) {
        let mut state = State::Creating;
        for event in events {
            state = next(state, Event::ALL[event]).unwrap_or(state);
        }
        state = next(state, Event::Remove).unwrap();
        state = next(state, Event::Exited).unwrap();
        if state != State::Gone {
            state = next(state, Event::Removed).unwrap();
        }
        prop_assert_eq!(state, State::Gone);
    }

    /// Gone is the end.
    #[test]
    fn nothing_comes_back(event in 0..Event::ALL.len()) {
        prop_assert!(matches!(next(State::Gone, Event::ALL[event]), Ok(State::Gone) | Err(_)));
    }
}
