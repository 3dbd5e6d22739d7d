//! When a process takes on its seccomp filter: as early as what it still has to do passes.

use berth_sys::process::{SIBLING, call};

/// The architecture as filters see it; 0 where it is not known, and no filter is taken to let anything pass.
const AUDIT: u32 = if cfg!(target_arch = "x86_64") {
    0xc000_003e
} else if cfg!(target_arch = "aarch64") {
    0xc000_00b7
} else {
    0
};

/// When the filter is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Before the process that is visible in the container's PID namespace is made: without no_new_privs it takes a right
    /// that the container has not.
    BeforeSibling,
    /// Before the process waits for its start.
    BeforeWait,
    /// Last, for a filter that forbids what is still to be done.
    Last,
}

/// What it depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// Whether the process goes on as a sibling.
    pub(super) sibling: bool,
    pub(super) terminal: bool,
    /// Whether it waits at a door for its start.
    pub(super) door: bool,
    pub(super) no_new_privileges: bool,
}

/// When a filter is loaded in this case.
pub(super) fn when(filter: &[u64], case: Case) -> When {
    let passes = |number: u32| passes(filter, number, 0);
    let waits = [call::READ, call::SENDMSG, call::SENDTO, call::EXIT].into_iter().all(passes)
        && (!case.door || [call::ACCEPT4, call::DUP3, call::CLOSE].into_iter().all(passes));
    if case.no_new_privileges {
        return if waits { When::BeforeWait } else { When::Last };
    }
    // The right to load it is given up afterwards.
    let waits = waits && passes(call::CAPSET);
    if !case.sibling {
        return if waits { When::BeforeWait } else { When::Last };
    }
    let moves = [call::SETSID, call::PRLIMIT, call::WRITE, call::CLOSE_RANGE].into_iter().all(passes)
        && self::passes(filter, call::CLONE, SIBLING)
        && (!case.terminal || passes(call::IOCTL));
    if waits && moves { When::BeforeSibling } else { When::Last }
}

/// Whether a filter allows this call, with the first argument given and all others 0. What cannot be determined counts as no.
fn passes(filter: &[u64], number: u32, first: u64) -> bool {
    const ALLOW: u32 = 0x7fff_0000;
    const LOG: u32 = 0x7ffc_0000;
    let word = |offset: u32| match offset {
        0 => Some(number),
        4 => Some(AUDIT),
        16 => u32::try_from(first & 0xffff_ffff).ok(),
        20 => u32::try_from(first >> 32).ok(),
        8 | 12 | 24..=60 => Some(0),
        _ => None,
    };
    if AUDIT == 0 {
        return false;
    }
    let (mut accumulator, mut at) = (0u32, 0usize);
    // A filter has no loops: each instruction is met once at most.
    while let Some(instruction) = filter.get(at) {
        // The eight bytes of struct sock_filter: code, two jumps, a constant.
        let bytes = instruction.to_ne_bytes();
        let code = u16::from_ne_bytes([bytes[0], bytes[1]]);
        let constant = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let branch = |yes: bool| usize::from(if yes { bytes[2] } else { bytes[3] });
        at += 1;
        match code {
            0x20 => match word(constant) {
                Some(value) => accumulator = value,
                None => return false,
            },
            0x54 => accumulator &= constant,
            0x05 => at += usize::try_from(constant).unwrap_or(usize::MAX / 2),
            0x15 => at += branch(accumulator == constant),
            0x25 => at += branch(accumulator > constant),
            0x35 => at += branch(accumulator >= constant),
            0x45 => at += branch(accumulator & constant != 0),
            0x06 => return constant == ALLOW || constant == LOG,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests;
