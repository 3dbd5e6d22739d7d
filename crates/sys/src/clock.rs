//! The wall clock, in the one form that records and views use.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since 1970.
pub fn now() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}
