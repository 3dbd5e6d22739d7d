//! The hooks of a bundle: how this program runs them (`berth_container::hook`). A hook without a timeout has as long as it takes; the
//! signals that end a program end it.

use berth_container::hook::{self, Course, Interrupt, Place};
use berth_sys::signal::SignalFd;
use berth_types::hook::{At, Hook};
use std::os::fd::AsFd as _;

use crate::OciError;
use crate::record::State;

/// The signals that interrupt a hook: HUP, INT, QUIT and TERM.
const INTERRUPTS: [i32; 4] = [1, 2, 3, 15];

/// Runs hooks of one kind, one after the other. The first failure ends it, and so do those of `signals` that end a program.
pub(crate) fn run(
    at: At,
    hooks: &[Hook],
    place: Place<'_>,
    state: &State<'_>,
    signals: Option<&SignalFd>,
) -> Result<(), OciError> {
    in_course(state, signals, |course| Ok(hook::run(at, hooks, place, course)?))
}

/// The same where none keeps the others from being run: the failures.
pub(crate) fn run_all(at: At, hooks: &[Hook], state: &State<'_>) -> Result<Vec<OciError>, OciError> {
    in_course(state, None, |course| {
        let failed = hook::run_all(at, hooks, Place::Here, course);
        Ok(failed.into_iter().map(OciError::from).collect())
    })
}

fn in_course<T>(
    state: &State<'_>,
    signals: Option<&SignalFd>,
    work: impl FnOnce(&Course<'_>) -> Result<T, OciError>,
) -> Result<T, OciError> {
    let json = serde_json::to_vec(state).map_err(|e| OciError::invalid("the state", e))?;
    let interrupted = || {
        let Some(signals) = signals else { return Ok(None) };
        while let Some(signal) = signals.next()? {
            // The others are for the container's process, which is not there yet.
            if INTERRUPTS.contains(&signal) {
                return Ok(Some(format!("signal {signal}")));
            }
        }
        Ok(None)
    };
    let interrupt = signals.map(|signals| Interrupt { fd: signals.as_fd(), what: &interrupted });
    work(&Course { state: &json, bundle: state.bundle(), default: None, until: None, interrupt })
}
