use super::*;

#[test]
fn a_container_that_ends_in_one_step_is_told_of() {
    assert_eq!(since(State::Creating, State::Exited, false), [What::Ended]);
    assert_eq!(since(State::Creating, State::Removing, false), [What::Ended]);
    assert_eq!(since(State::Starting, State::Exited, true), [What::Started, What::Ended]);
    assert_eq!(since(State::Starting, State::Exited, false), [What::Ended], "its command never ran");
}

#[test]
fn what_goes_on_or_is_undone_is_no_end() {
    for now in [State::Creating, State::Gone] {
        assert_eq!(since(State::Creating, now, false), []);
    }
    assert_eq!(since(State::Creating, State::Created, false), [What::Created]);
    assert_eq!(since(State::Starting, State::Running, true), [What::Started]);
    assert_eq!(since(State::Running, State::Running, true), []);
    assert_eq!(since(State::Exited, State::Removing, true), []);
}
