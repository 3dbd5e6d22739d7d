//! The moment of `--since`: a time, or how long ago.

use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{Span, SpanRelativeTo, Timestamp};

/// Nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(i128);

impl Moment {
    /// An RFC 3339 time, or its beginning down to the day; without an offset it is UTC.
    pub(super) fn of(text: &str) -> Option<Self> {
        let in_utc = || {
            // The name of a zone would be passed over.
            let time = text.parse::<DateTime>().ok().filter(|_| !text.contains('['))?;
            Offset::UTC.to_timestamp(time).ok()
        };
        text.parse::<Timestamp>().ok().or_else(in_utc).map(|time| Self(time.as_nanosecond()))
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let now = i128::from(berth_sys::clock::now());
        ago(text).map(|nanos| Self(now - nanos)).or_else(|| Self::of(text)).ok_or_else(|| {
            "expected a time such as 2026-01-31T12:00:00Z, or an age such as 30s, 10m, 1h30m or 2d".to_owned()
        })
    }
}

/// `1h30m`, in nanoseconds. A day has 24 hours.
fn ago(text: &str) -> Option<i128> {
    let span: Span = text.parse().ok()?;
    let nanos = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?.as_nanos();
    (nanos >= 0).then_some(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i128 = 1_000_000_000;

    #[test]
    fn times_in_all_their_forms() {
        let at = |seconds: i128, nanos: i128| Some(Moment(seconds * SECOND + nanos));
        for (text, moment) in [
            ("1970-01-01", at(0, 0)),
            ("1970-01-01T00:00:00Z", at(0, 0)),
            ("2000-02-29T12:34:56Z", at(951_827_696, 0)),
            ("2000-03-01", at(951_868_800, 0)),
            ("2026-11-25T01:02:03.000000004Z", at(1_795_568_523, 4)),
            ("2026-11-25T01:02:03.5", at(1_795_568_523, 500_000_000)),
            ("2026-11-25T03:02:03+02:00", at(1_795_568_523, 0)),
            ("2026-11-24 22:32:03-02:30", at(1_795_568_523, 0)),
            ("2026-11-25T01:02", at(1_795_568_520, 0)),
            ("2026-11-25T01:02[Europe/Berlin]", None),
            ("", None),
            ("-", None),
            ("2026-13-01", None),
            ("2026-11-25T25:00:00Z", None),
            ("2026-11-25T01:02:03:04", None),
            ("2026-11-25x", None),
            ("2026-11-25T01:02:03.1234567890Z", None),
            ("2026-11-2é", None),
        ] {
            assert_eq!(Moment::of(text), moment, "{text}");
        }
    }

    #[test]
    fn how_long_ago() {
        for (text, seconds) in [
            ("30s", Some(30)),
            ("1h30m", Some(5400)),
            ("2d", Some(172_800)),
            ("", None),
            ("5", None),
            ("s", None),
            ("-5s", None),
            ("5y", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(ago(text), seconds.map(|s| s * SECOND), "{text}");
        }
    }
}
