//! The commands, one file for each family.

pub(crate) mod archive;
pub(crate) mod care;
pub(crate) mod change;
pub(crate) mod exec;
pub(crate) mod image;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod oci;
pub(crate) mod play;
pub(crate) mod run;
mod stream;

use std::process::ExitCode;

use crate::api;
use crate::output::complain;

/// The exit status when Berth itself could not do what was asked, as docker's.
pub(crate) const FAILED: u8 = 125;

/// The exit status of a container or process as that of the command line.
fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(FAILED))
}

/// Says what failed of several targets; the others' names go to standard output.
fn outcomes(outcomes: Vec<api::Outcome>) -> ExitCode {
    let mut failed = false;
    for outcome in outcomes {
        if outcome.error.is_empty() {
            crate::output::line(&outcome.target);
        } else {
            complain(&format!("{}: {}", outcome.target, outcome.error));
            failed = true;
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
