//! What the child reported as failed, as an error.

use rustix::io::Errno;

use super::gate::{ENTER, EXECVE, PROFILE, RLIMIT, STEP};
use super::op::describe;
use super::{ExecFailure, RunError};
use crate::plan::{Plan, ProcessPlan, Step};

/// What the indexes in a child's report refer to.
#[derive(Debug)]
pub(super) struct Names<'a> {
    pub(super) plan: Option<&'a Plan>,
    /// The namespaces that are entered.
    pub(super) entered: Vec<String>,
    pub(super) process: &'a ProcessPlan,
}

/// The error for a step of the child.
pub(super) fn failure(names: &Names<'_>, what: &str, index: u32, errno: Errno) -> RunError {
    let at = usize::try_from(index).unwrap_or(usize::MAX);
    let step = match what {
        EXECVE => return exec_failure(names.process, errno),
        STEP => names.plan.and_then(|p| p.steps.get(at)).map(|step| match (step, errno) {
            (Step::Mount(_), Errno::XDEV) => {
                format!("{}: a link leads it onto a procfs, where nothing is mounted", describe(step))
            }
            _ => describe(step),
        }),
        RLIMIT => names
            .process
            .rlimits
            .get(at)
            .map(|l| format!("set rlimit {} to {}:{}", l.resource, l.soft, l.hard)),
        ENTER => names.entered.get(at).map(|name| format!("enter {name}")),
        PROFILE => names.process.apparmor.as_ref().map(|name| match errno {
            Errno::NOENT => format!("{PROFILE} {name:?}, which is not loaded"),
            _ => format!("{PROFILE} {name:?}"),
        }),
        "enter the working directory" => {
            Some(format!("enter the working directory {}", String::from_utf8_lossy(&names.process.cwd)))
        }
        _ => None,
    };
    RunError::Step { step: step.unwrap_or_else(|| what.to_owned()), source: errno.into() }
}

fn exec_failure(process: &ProcessPlan, errno: Errno) -> RunError {
    let failure = match errno {
        Errno::NOENT | Errno::NOTDIR => ExecFailure::NotFound,
        Errno::ACCESS | Errno::PERM | Errno::ISDIR => ExecFailure::Denied,
        Errno::NOEXEC | Errno::LIBBAD | Errno::INVAL => ExecFailure::Format,
        _ => ExecFailure::Other,
    };
    let command = process.args.first().map(|a| String::from_utf8_lossy(a).into_owned()).unwrap_or_default();
    RunError::Exec { command, failure, source: errno.into() }
}
