use super::*;

fn command(code: i32) -> EngineError {
    EngineError::Command { message: "enter the container".to_owned(), code }
}

#[test]
fn what_an_end_can_cause_is_told_apart() {
    let lost = EngineError::system("reach the shim", std::io::Error::from(std::io::ErrorKind::BrokenPipe));
    for error in [command(126), lost, EngineError::Closed] {
        assert!(error.can_be_of_an_end(), "{error}");
    }
    let slow = EngineError::Timeout { what: "the command".to_owned(), millis: 1 };
    for error in [command(127), slow, EngineError::invalid("cmd", "there is no command")] {
        assert!(!error.can_be_of_an_end(), "{error}");
    }
}
