//! Filters of system calls in the words of gVisor, which reads fewer than runc: `runsc/specutils/seccomp`. Pure.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction};
use rustix::io::Errno;

/// The same filter, or what it says that gVisor cannot do.
///
/// gVisor gives EPERM whatever number is asked for. ENOSYS is what a call gives that is to be traced where nothing traces, as on
/// Linux; the default profile has it for clone3, from which a C library falls back then.
pub(super) fn translated(mut filter: LinuxSeccomp) -> Result<LinuxSeccomp, String> {
    let default = action(filter.default_action(), filter.default_errno_ret())?;
    filter.set_default_action(default).set_default_errno_ret(None);
    let mut calls = filter.syscalls().clone().unwrap_or_default();
    for call in &mut calls {
        let translated = action(call.action(), call.errno_ret())?;
        call.set_action(translated).set_errno_ret(None);
    }
    filter.set_syscalls(Some(calls));
    Ok(filter)
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<LinuxSeccompAction, String> {
    use LinuxSeccompAction as Action;
    let number = |errno: Errno| errno.raw_os_error().unsigned_abs();
    match (action, errno) {
        (Action::ScmpActErrno, None) => Ok(Action::ScmpActErrno),
        (Action::ScmpActErrno, Some(given)) if given == number(Errno::PERM) => Ok(Action::ScmpActErrno),
        (Action::ScmpActErrno, Some(given)) if given == number(Errno::NOSYS) => Ok(Action::ScmpActTrace),
        (Action::ScmpActErrno, Some(given)) => Err(format!("a call is to fail with error {given}")),
        // The older word for the same.
        (Action::ScmpActKill | Action::ScmpActKillThread, _) => Ok(Action::ScmpActKill),
        (Action::ScmpActAllow | Action::ScmpActTrap | Action::ScmpActTrace, _) => Ok(action),
        (Action::ScmpActKillProcess | Action::ScmpActLog | Action::ScmpActNotify, _) => {
            Err(format!("a call has the action {action}"))
        }
    }
}

#[cfg(test)]
mod tests;
