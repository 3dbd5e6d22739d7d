//! For how long bus or systemd are away, as all calls together see it. Pure.
//!
//! Each call would wait for them by itself otherwise, and many, one after the other, for minutes: a daemon that starts
//! with many orphans on a host without a bus.

use std::time::Duration;

use tokio::time::Instant;

/// The time for which they are waited for.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// A time in which they do not answer.
#[derive(Debug, Default)]
pub(super) struct Outage(Option<Seen>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    first: Instant,
    last: Instant,
}

impl Outage {
    /// They are away now. Until when they are waited for. One that nobody has looked at for as long as that is another one: they
    /// may have answered since.
    pub(super) fn seen(&mut self, now: Instant) -> Instant {
        let first = match self.0 {
            Some(Seen { first, last }) if now < last + LIMIT => first,
            Some(_) | None => now,
        };
        self.0 = Some(Seen { first, last: now });
        first + LIMIT
    }

    /// They have answered.
    pub(super) fn over(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_wait_together_and_for_each_outage_anew() {
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        let mut outage = Outage::default();
        assert_eq!(outage.seen(begin), begin + LIMIT);
        // The next call, and those after the time is over.
        for after in [1, 4, 7, 11, 15] {
            assert_eq!(outage.seen(begin + after * second), begin + LIMIT, "{after}");
        }
        let later = begin + 15 * second + LIMIT;
        assert_eq!(outage.seen(later), later + LIMIT, "nobody has looked for long");
        outage.over();
        let again = later + second;
        assert_eq!(outage.seen(again), again + LIMIT);
    }
}
