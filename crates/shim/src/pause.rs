//! The process that keeps a pod's scope where systemd manages cgroups: systemd removes a scope, with everything below it, as
//! soon as no process is in it, be it between two containers of a pod or before the end of one was looked into.
//!
//! It holds nothing and can do nothing. It ends with the scope: by SIGTERM, or killed with all else in it.

use std::ffi::CStr;

use rustix::process::DumpableBehavior;

/// The argument that makes this binary one.
pub(crate) const NAME: &CStr = c"berth-pause";

/// Waits to be ended.
pub(crate) fn run() -> std::io::Result<()> {
    // Where that is not allowed it is still the smallest in its pod.
    std::fs::write("/proc/self/oom_score_adj", "-998").ok();
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    crate::init::give_up_rights()?;
    loop {
        // A signal without a handler ends the process, so that only the impossible gets here.
        rustix::event::pause();
    }
}
