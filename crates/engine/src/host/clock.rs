//! The wall clock.
//!
//! A kubelet takes the attempt that was made last by this clock for the newest, and the clock may be set
//! back: [`after`] keeps the order.

pub(crate) use berth_sys::clock::now;

/// Nanoseconds since 1970, and later than `before`, whatever the clock says.
pub(crate) fn after(before: Option<i64>) -> i64 {
    let now = now();
    before.map_or(now, |before| now.max(before.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_does_not_change_the_order() {
        let ahead = now() + 3_600_000_000_000;
        assert_eq!(after(Some(ahead)), ahead + 1);
        assert!(after(Some(1)) > 1_000_000);
        assert!(after(None) > 1_000_000);
    }
}
