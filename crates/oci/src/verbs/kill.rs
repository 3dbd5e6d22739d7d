//! `kill`: a signal for a container's process, or for all in its cgroup. By a descriptor of the process, never by its number.

use std::time::Instant;

use berth_sys::cgroup::{Cgroup, Held};
use berth_sys::signal::named;
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::OciError;
use crate::cli::Kill;
use crate::record::{Phase, Record, Status};
use crate::store::Store;

use super::create::KILL_LIMIT;

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// The first real-time signal that the C library leaves to programs, and the last.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

pub(super) fn kill(store: &Store, options: &Kill) -> Result<(), OciError> {
    let number = parse(&options.signal).ok_or_else(|| {
        OciError::invalid(format!("signal {:?}", options.signal), "there is none of that name")
    })?;
    // Without the lock: who waits in a start or a hook is to be killed too.
    let container = store.open(&options.id)?;
    let record = container.load()?;
    if record.phase == Phase::Creating {
        return Err(not_running(&record, container.status(&record)?));
    }
    let group = record.group()?;
    let signal = named(number);
    // Without a PID namespace of its own nothing else ends with the first process.
    let all = options.all || signal == Some(Signal::KILL) && !record.own_pids;
    let sent = if all { to_all(&group, signal)? } else { to_first(&record, signal)? };
    if !sent {
        return Err(not_running(&record, Status::Stopped));
    }
    // A v1 freezer keeps also what was killed.
    if signal == Some(Signal::KILL) && group.with(Cgroup::is_frozen)? {
        group.with(Cgroup::thaw)?;
    }
    Ok(())
}

fn not_running(record: &Record, status: Status) -> OciError {
    OciError::NotRunning { id: record.id.clone(), status }
}

/// Whether there was a process. No signal only asks.
fn to_first(record: &Record, signal: Option<Signal>) -> Result<bool, OciError> {
    let Some(pidfd) = record.open()? else { return Ok(false) };
    let Some(signal) = signal else { return Ok(true) };
    match pidfd_send_signal(&pidfd, signal) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(e) => Err(OciError::system("signal the container's process")(e)),
    }
}

/// Whether there was any.
fn to_all(group: &Held, signal: Option<Signal>) -> Result<bool, OciError> {
    let seen = group.with(Cgroup::pids)?;
    let Some(signal) = signal else { return Ok(!seen.is_empty()) };
    if signal == Signal::KILL {
        group.with(|group| group.kill_all(Instant::now() + KILL_LIMIT))?;
        return Ok(!seen.is_empty());
    }
    let opened: Vec<_> =
        seen.iter().filter_map(|pid| Some((*pid, pidfd_open(*pid, PidfdFlags::empty()).ok()?))).collect();
    // What is a member now, and was opened before, is the process meant.
    let still = group.with(Cgroup::pids)?;
    let mut any = false;
    for (_, pidfd) in opened.iter().filter(|(pid, _)| still.contains(pid)) {
        match pidfd_send_signal(pidfd, signal) {
            Ok(()) => any = true,
            Err(Errno::SRCH) => {}
            Err(e) => return Err(OciError::system("signal the container's processes")(e)),
        }
    }
    Ok(any)
}

/// A number, 0 too, or a name with or without `SIG`; real-time signals as `RTMIN+3` and `RTMAX-1`.
fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse() {
        return (0..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |base: i32, rest: &str, sign: i32| {
        let offset = if rest.is_empty() { 0 } else { rest.get(1..)?.parse::<i32>().ok()? };
        let number = base.checked_add(offset.checked_mul(sign)?)?;
        let plain = rest.is_empty() || rest.starts_with(if sign > 0 { '+' } else { '-' });
        (plain && (RTMIN..=RTMAX).contains(&number)).then_some(number)
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        real_time(RTMIN, rest, 1)
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        real_time(RTMAX, rest, -1)
    } else {
        let name = match name {
            "IOT" => "ABRT",
            "CLD" => "CHLD",
            "POLL" => "IO",
            name => name,
        };
        Some(i32::try_from(NAMES.iter().position(|known| *known == name)?).ok()? + 1)
    }
}

#[cfg(test)]
mod tests;
