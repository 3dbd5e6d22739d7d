//! What a test needs to say about the machine: root, programs, deadlines, free ports.
//!
//! A test that cannot run here calls [`require_root!`](crate::require_root) or
//! [`require!`](crate::require): they print `skipped: NAME: REASON` and return from the test. The
//! runner (`cargo xtask test`) counts those lines, so a skip is never silent.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

/// The longest a test waits for something that should happen at once. Generous, since it costs
/// time only when the test fails.
pub const WAIT_LIMIT: Duration = Duration::from_secs(20);

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(2);

/// A point in time that a test does not wait beyond.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// So far from now.
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// Whether it has passed.
    pub fn passed(self) -> bool {
        Instant::now() >= self.0
    }

    /// What is left of it.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// Waits until the condition holds; false when it did not within `limit`. The condition is a
/// state, not an event: it is looked at again and again, and cannot be missed.
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    wait_for(limit, || condition().then_some(())).is_some()
}

/// Waits until `look` finds something; None when it did not within `limit`.
pub fn wait_for<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Deadline::after(limit);
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if deadline.passed() {
            return None;
        }
        std::thread::park_timeout(INTERVAL);
    }
}

/// Whether crun makes containers in this host's control groups: not while it has both versions of them and cgroup2 has a
/// controller. `cargo xtask test` takes it the last one.
pub fn takes_crun() -> bool {
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers");
    controllers.map_or(true, |names| names.trim().is_empty())
}

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a program of this name is on the PATH.
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(name).is_file())
}

/// A port of the loopback address that nothing listened on a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback address has free ports");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Says that the running test is skipped, for the runner to count.
#[allow(clippy::print_stderr, reason = "this line is the interface to the runner")]
pub fn skipped(reason: &str) {
    let thread = std::thread::current();
    eprintln!("skipped: {}: {reason}", thread.name().unwrap_or("test"));
}

/// Returns from a test that needs root when it has not.
#[macro_export]
macro_rules! require_root {
    () => {
        $crate::require!($crate::guard::is_root(), "needs root")
    };
}

/// Returns from a test, with a counted skip, when the condition does not hold.
#[macro_export]
macro_rules! require {
    ($condition:expr, $reason:expr) => {
        if !$condition {
            $crate::guard::skipped($reason);
            return;
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_the_condition_or_the_limit() {
        let mut looks = 0;
        assert!(wait_until(WAIT_LIMIT, || {
            looks += 1;
            looks == 3
        }));
        assert!(!wait_until(Duration::ZERO, || false));
        assert_eq!(wait_for(WAIT_LIMIT, || Some(5)), Some(5));
    }

    #[test]
    fn a_deadline_passes_and_has_nothing_left() {
        let deadline = Deadline::after(Duration::ZERO);
        assert!(deadline.passed());
        assert_eq!(deadline.left(), Duration::ZERO);
    }

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(has_program("ls"));
        assert!(!has_program("no-such-program"));
    }
}
