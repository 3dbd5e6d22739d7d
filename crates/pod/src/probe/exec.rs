//! A command in the container.

use std::time::Duration;

use berth_engine::EngineError;
use berth_engine::model::ExecOutput;
use berth_types::error::chain;

use super::check::{Answer, Target};

/// Asks by a command, which is killed when the time is over.
pub(super) async fn ask(target: &Target, argv: &[String], timeout: Duration) -> Answer {
    judge(target.engine.exec_sync(&target.container, argv.to_vec(), Some(timeout)).await)
}

/// What a command's end says: one that could not be executed says nothing.
pub(super) fn judge(end: Result<ExecOutput, EngineError>) -> Answer {
    match end {
        Ok(output) if output.code == 0 => Answer::success(text(&output)),
        Ok(output) => Answer::failure(format!("status {}: {}", output.code, text(&output))),
        Err(e @ EngineError::Timeout { .. }) => Answer::failure(chain(&e)),
        Err(e) => Answer::unknown(chain(&e)),
    }
}

/// What it printed, as far as a message goes.
pub(super) fn text(output: &ExecOutput) -> String {
    let one = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]).trim_end().to_owned();
    let (out, err) = (one(&output.stdout), one(&output.stderr));
    if out.is_empty() || err.is_empty() { out + &err } else { format!("{out}\n{err}") }
}

#[cfg(test)]
mod tests {
    use super::super::state::Outcome;
    use super::*;

    #[test]
    fn the_status_decides_and_a_time_out_is_a_failure() {
        let output = |code| Ok(ExecOutput { stdout: b"out\n".into(), stderr: b"err\n".into(), code });
        assert_eq!(judge(output(0)), Answer::success("out\nerr"));
        assert_eq!(judge(output(3)), Answer::failure("status 3: out\nerr"));
        let late = EngineError::Timeout { what: "the command".to_owned(), millis: 1000 };
        assert_eq!(judge(Err(late)).outcome, Outcome::Failure);
        let none = EngineError::NotFound { thing: "container", key: "x".to_owned() };
        assert_eq!(judge(Err(none)).outcome, Outcome::Unknown);
    }
}
